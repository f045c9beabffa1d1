"""`hfnb.compare`: check what it was given, measure each candidate in a process of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pandas as pd

from hfnb import speeds
from hfnb.comparing.candidates import Candidate, candidates_of
from hfnb.comparing.comparison import Comparison, Given, Outcome
from hfnb.comparing.measuring import Job
from hfnb.comparing.process import Failed, measured
from hfnb.errors import OptionError, closest, listing
from hfnb.frame.given import read_given
from hfnb.frame.identity import plain
from hfnb.frame.prepare import Checked, check
from hfnb.frame.progress import Display, Progress, display_for
from hfnb.frame.prompts import take_apart
from hfnb.options import is_whole

_INTO = "hfnb_answer"
"""The column of the answers, in the process of a candidate."""
_last: Comparison | None = None


def last_comparison() -> Comparison | None:
    """Return what the last comparison left, also after an interrupt; ``None`` before the first.

    Example:
        >>> import hfnb
        >>> partial = hfnb.last_comparison()
    """
    return _last


def compare(
    df: Any,
    prompt: Any,
    candidates: Sequence[Any],
    *,
    reference: str | None = None,
    repeat: int = 1,
    limit: int | None = None,
    chat: bool | Literal["auto"] | None = None,
    system: str | None = None,
    nulls: Literal["skip", "empty", "raise"] = "skip",
    too_long: Literal["error", "truncate", "skip"] = "error",
    batch_size: int | Literal["auto"] | None = None,
    progress: bool | Literal["auto"] | Callable[[Progress], Any] = "auto",
    cancel: threading.Event | None = None,
    **options: Any,
) -> Comparison:
    """Run the same rows through several models, backends or devices, and measure each.

    Each candidate is loaded, warmed and run in a process of its own, one after the other, so that
    its memory and its speed are its own. What can be wrong with the arguments is found before the
    first one starts; a candidate that then fails is a line with its reason. Nothing comes from the
    journal.

    Args:
        df: The rows, as in `hfnb.run`.
        prompt: As there: text with columns in braces, or a LangChain prompt. No chain.
        candidates: For each a model's name, a dictionary of `hfnb.load`'s arguments, such as
            ``{"model": "gpt2", "backend": "openvino", "weight_format": "int8"}``, or what
            `hfnb.load` has returned, which is loaded again. A dictionary may have a ``prompt`` and
            a ``label`` of its own.
        reference: The column with the right answers.
        repeat: Rounds. In each the candidates come in another order, and are loaded anew; the
            figures are medians.
        limit: Only the first rows, this many.
        chat: As in `hfnb.run`.
        system: As in `hfnb.run`.
        nulls: As in `hfnb.run`.
        too_long: As in `hfnb.run`.
        batch_size: As in `hfnb.run`.
        progress: As in `hfnb.run`; it counts the rows of all candidates and rounds.
        cancel: Set by another thread to end it; what is finished is returned.
        **options: Generation options for all candidates, as in `hfnb.run`.

    Returns:
        A `Comparison` with ``data`` (a column of answers for each), ``stats``, ``agreement``,
        ``differences()``, ``plot()``, and ``to_markdown()``, ``to_html()`` and ``to_json()``.

    Raises:
        OptionError: A candidate or an option is wrong.
        TemplateError: A prompt does not fit the frame's columns.
        ModelNotFoundError: A folder or a packaged model is not there.
        KeyboardInterrupt: As it came; `last_comparison` has what was finished.

    Example:
        >>> import hfnb, pandas as pd
        >>> df = pd.DataFrame({"i": [7, 72], "french": ["sept", "soixante-douze"]})
        >>> two = [{"model": "hfnb/numbers-fr", "dtype": dtype} for dtype in ("float32", "auto")]
        >>> found = hfnb.compare(df, "What is the number {i} in french?", two, reference="french")
        >>> list(found.agreement["exact_match"][:2])
        [1.0, 1.0]
    """
    if not is_whole(repeat) or repeat < 1:
        raise OptionError(f"repeat is a number of rounds, 1 or more; not {repeat!r}.")
    running = {
        "chat": chat,
        "system": system,
        "nulls": nulls,
        "too_long": too_long,
        "batch_size": batch_size,
    }
    every = candidates_of(candidates, prompt)
    plan = Plan(df, every, {**running, "limit": limit}, options, reference, int(repeat))
    plan.manifest["prompt"] = plan.shown
    return follow(plan, display_for(progress), cancel)


class Plan:
    """What is compared: checked, and ready to be measured.

    Args:
        df: The rows.
        candidates: The candidates.
        running: The arguments of `hfnb.run` that are the same for all, ``limit`` among them.
        options: The generation options.
        reference: The column with the right answers.
        repeat: Rounds.
        limit_s: Seconds for each candidate; ``None`` without a limit.

    Raises:
        HfnbError: What is wrong.
    """

    def __init__(
        self,
        df: Any,
        candidates: Sequence[Candidate],
        running: Mapping[str, Any],
        options: Mapping[str, Any],
        reference: str | None,
        repeat: int,
        limit_s: float | None = None,
    ) -> None:
        self.candidates = list(candidates)
        self.repeat = repeat
        self.limit_s = limit_s
        limit = running.get("limit")
        run = {name: value for name, value in running.items() if name != "limit"}
        run |= {"on_error": "keep", "journal": False, "overwrite": True, "into": _INTO}
        checked = [self._checked(df, each, {**run, "limit": limit}, options) for each in candidates]
        first = checked[0]
        frame, given = first.job.frame, first.given
        columns = list(dict.fromkeys(name for one in checked for name in one.job.source.columns))
        _check_reference(reference, frame)
        self.shown = first.job.source.shown
        self.jobs = {
            candidate.label: Job(
                candidate,
                frame[list(one.job.source.columns)].reset_index(drop=True),
                {**run, "limit": None, "options": dict(options)},
            )
            for candidate, one in zip(candidates, checked, strict=True)
        }
        self.rows = len(frame)
        self.manifest: dict[str, Any] = {
            "rows": self.rows,
            "repeat": repeat,
            "reference": reference,
            "options": {name: plain(value) for name, value in options.items()},
            **{name: plain(value) for name, value in running.items()},
        }
        self.given = Given(
            frame if given.table is None else given.table,
            frame,
            tuple(columns),
            reference,
            self.manifest,
        )

    @staticmethod
    def _checked(
        df: Any, each: Candidate, run: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Checked:
        name = str(each.told.get("model", each.label))
        found = check(df, each.prompt, name, options, **run)
        if found.given.source is not None:
            raise OptionError("compare takes rows in memory: read some of the files' rows first.")
        if found.job.after is not None:
            raise OptionError("compare takes a prompt, not a chain: leave its parser out.")
        return found

    def orders(self) -> list[list[Candidate]]:
        """Return the candidates of each round, in another order each."""
        count = len(self.candidates)
        starts = (round_ * max(1, count // self.repeat) % count for round_ in range(self.repeat))
        return [self.candidates[at:] + self.candidates[:at] for at in starts]


def follow(plan: Plan, display: Display, cancel: threading.Event | None = None) -> Comparison:
    """Measure a plan's candidates, round after round, and keep what came of it as the last one.

    Raises:
        KeyboardInterrupt: As it came, with the comparison as its ``result``.
    """
    global _last
    cancel = threading.Event() if cancel is None else cancel
    rounds: list[dict[str, Outcome]] = [{} for _ in range(plan.repeat)]
    counter = Counter(plan.rows * len(plan.candidates) * plan.repeat, display)
    try:
        for outcomes, order in zip(rounds, plan.orders(), strict=True):
            for candidate in order:
                if cancel.is_set():
                    break
                job = plan.jobs[candidate.label]
                outcome = measured(job, counter.tell, cancel, plan.limit_s)
                outcomes[candidate.label] = outcome
                counter.next(plan.rows, isinstance(outcome, Failed))
    except BaseException as problem:  # an interrupt, or what the user's function has raised
        if (partial := getattr(problem, "outcome", None)) is not None:
            outcomes[candidate.label] = partial
        _last = Comparison(plan.given, plan.candidates, rounds)
        problem.result = _last  # type: ignore[attr-defined]
        with contextlib.suppress(BaseException):
            display.close(counter.progress())
        raise
    display.close(counter.progress())
    _last = Comparison(plan.given, plan.candidates, rounds)
    keep_speeds(_last)
    return _last


class Counter:
    """Counts the rows of all candidates, and draws them."""

    def __init__(self, total: int, display: Display) -> None:
        self._began = time.perf_counter()
        self._total, self._display = total, display
        self._before = self._now = self._failed = 0

    def tell(self, done: int) -> None:
        """Note how many rows of the candidate at hand are done."""
        self._now = done
        self._display.update(self.progress())

    def next(self, rows: int, failed: bool) -> None:
        """Note that a candidate has come to its end."""
        self._before += rows
        self._now = 0
        self._failed += rows if failed else 0
        self._display.update(self.progress())

    def progress(self) -> Progress:
        """Return how far all of them are."""
        done = min(self._total, self._before + self._now)
        return Progress(done, self._total, self._failed, time.perf_counter() - self._began)


def keep_speeds(found: Comparison) -> None:
    """Keep how fast the backends were with a model on the CPU, for what loading says of them."""
    stats = found.stats
    fine = stats[(stats["status"] == "ok") & stats["device"].str.lower().eq("cpu")]
    for model, lines in fine.groupby("model"):
        best = lines.groupby("backend")["rows_per_s"].max().to_dict()
        if {"pytorch", "openvino"} <= set(best):
            speeds.remember(str(model), {str(name): float(each) for name, each in best.items()})


def check_rows(df: Any, prompt: Any, reference: str | None) -> pd.DataFrame:
    """Return the rows of a table in memory, for pandas.

    Raises:
        OptionError: There are none in memory, or the reference is no column.
        TemplateError: The prompt does not fit the columns.
    """
    given = read_given(df, take_apart(prompt).source.columns, out=None, limit=None)
    if given.source is not None:
        raise OptionError("compare takes rows in memory: read some of the files' rows first.")
    _check_reference(reference, given.frame)
    return given.frame


def _check_reference(reference: str | None, frame: pd.DataFrame) -> None:
    if reference is not None and reference not in frame.columns:
        raise OptionError(
            f"There is no column {reference!r} with the right answers."
            f"{closest(reference, frame.columns)} The frame has {listing(frame.columns)}."
        )
