"""Candidates on one workload, timed in turn: medians, spread, ratios, and whether texts agree."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from measure import Timing, in_turn
from rivals import Rival, equal
from workloads import Workload

CLOSE, MORE = 1.35, 2
"""Who takes up to so many times as long as hfnb runs so many times as many rounds more with it."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A name, what is timed, and what is asked of hfnb beside it."""

    name: str
    call: Rival
    target: float | None = None
    """How many times as fast as this hfnb is meant to be."""
    workload: Workload | None = None
    """Where it runs other rows than the rest."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came out; the last candidate is hfnb."""

    workload: Workload
    candidates: Sequence[Candidate]
    timings: Sequence[Timing]
    same: Sequence[int | None]
    """For each candidate, how many of its texts are hfnb's; none where its rows are others."""
    rows: int
    """Rows of all rounds together that all of them ran."""

    def ratio(self, name: str) -> float:
        """Return how many times as fast as a candidate hfnb is."""
        return next(each.median for each in self.timings if each.name == name) / self.mine

    @property
    def mine(self) -> float:
        """Return hfnb's median, in seconds."""
        return self.timings[-1].median

    def table(self) -> str:
        """Return a line on the workload, and a table, as Markdown."""
        lines = [
            self.describe(),
            "",
            "| | median, s | fastest-slowest, s | hfnb is faster by | target | "
            f"of {self.rows} rows, equal to hfnb's |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for candidate, timing, same in zip(self.candidates, self.timings, self.same, strict=True):
            if same is None:  # it had other rows
                continue
            target = "" if candidate.target is None else f"{candidate.target:g}x"
            lines.append(
                f"| {timing.name} | {timing.median:.2f} | {timing.spread} | "
                f"{timing.median / self.mine:.2f}x | {target} | {same} |"
            )
        return "\n".join(lines)

    def describe(self) -> str:
        """Return a sentence on what was run."""
        given = self.workload
        rounds = min(len(each.seconds) for each in self.timings)
        ends = f", or until {' or '.join(map(repr, given.stop))}" if given.stop else ""
        return (
            f"{given.title}, {given.new_tokens} new tokens each{ends}, greedy, "
            f"{given.model_title}, new prompts in each of {rounds} rounds in turn; {MORE * rounds} "
            f"more of hfnb and of what takes at most {CLOSE:g} times as long."
        )


def contest(
    workload: Workload, candidates: Sequence[Candidate], rounds: int, *, warm_up: int = 8
) -> Outcome:
    """Time candidates on the same rows, in turn.

    Args:
        workload: What they run.
        candidates: The last of them is hfnb.
        rounds: How often; each round has new rows.
        warm_up: How many rows of another round each candidate runs before.
    """
    print(f" {workload.title}", flush=True)
    for each in candidates:
        each.call((each.workload or workload).prompts(99)[:warm_up])

    def timed(each: Candidate) -> tuple[str, Callable[[Any], object]]:
        given = each.workload or workload
        return each.name, lambda seed: each.call(given.prompts(seed))

    texts: dict[str, list[Any]] = {}
    runs = [timed(each) for each in candidates]
    timings = in_turn(runs, range(rounds), texts)
    timings = _closer(runs, timings, range(rounds, rounds + MORE * rounds))
    mine = texts[candidates[-1].name]
    same = [None if each.workload else equal(texts[each.name], mine) for each in candidates]
    return Outcome(workload, candidates, timings, same, sum(map(len, mine)))


def _closer(
    candidates: Sequence[tuple[str, Callable[[Any], object]]],
    timings: Sequence[Timing],
    inputs: Sequence[Any],
) -> list[Timing]:
    """Time those again that are near hfnb, the last: what tells them apart is small."""
    most = CLOSE * timings[-1].median
    near = {each.name for each in timings if each.median <= most}
    again = {each.name: each for each in in_turn([c for c in candidates if c[0] in near], inputs)}
    return [
        Timing(each.name, each.seconds + again[each.name].seconds) if each.name in near else each
        for each in timings
    ]


def overhead(of: str, outcome: Outcome, most: float) -> str:
    """Say what hfnb takes beyond the candidate before it, which runs other rows of the same kind.

    Args:
        of: What that candidate is.
        outcome: What came out.
        most: Per cent that are asked for.
    """
    beside, mine = outcome.timings[-2:]
    more = mine.median / beside.median - 1
    pairs = [own / its - 1 for own, its in zip(mine.seconds, beside.seconds, strict=False)]
    return (
        f"{beside.name}: {beside.median:.2f} s ({beside.spread}). What hfnb takes beyond {of}: "
        f"{more:+.1%} by the medians, {statistics.median(pairs):+.1%} by the median of "
        f"{len(pairs)} rounds of their own ({min(pairs):+.1%} to {max(pairs):+.1%}; target: at "
        f"most {most:g}%)."
    )
