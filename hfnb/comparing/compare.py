"""`hfnb.compare`: check what it was given, measure each candidate in a process of its own."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from hfnb import speeds
from hfnb.comparing.candidates import candidates_of
from hfnb.comparing.comparison import Comparison, Outcome
from hfnb.comparing.plan import Plan
from hfnb.comparing.process import Failed, measured
from hfnb.errors import OptionError
from hfnb.frame.progress import Display, Progress, display_for
from hfnb.options import is_whole

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
    reference: str | Mapping[str, str] | None = None,
    repeat: int = 1,
    schema: Any = None,
    nested: Literal["columns", "objects"] = "columns",
    probabilities: bool = False,
    describe_schema: bool = False,
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
        reference: The column with the right answers. With a schema of several fields a dictionary
            of fields and their columns, such as ``{"tone": "right_tone"}``.
        repeat: Rounds. In each the candidates come in another order, and are loaded anew; the
            figures are medians.
        schema: As in `hfnb.run`; each candidate then has typed columns, and they are compared field
            by field.
        nested: As in `hfnb.run`.
        probabilities: As in `hfnb.run`.
        describe_schema: As in `hfnb.run`.
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
        OptionError: A candidate or an option is wrong, or a right answer is none of the schema's.
        TemplateError: A prompt does not fit the frame's columns.
        MissingExtraError: A package that schemas need is not installed.
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
        "schema": schema,
        "nested": nested,
        "probabilities": probabilities,
        "describe_schema": describe_schema,
    }
    every = candidates_of(candidates, prompt)
    plan = Plan(df, every, {**running, "limit": limit}, options, reference, int(repeat))
    return follow(plan, display_for(progress), cancel)


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
                outcome = plan.held(measured(job, counter.tell, cancel))
                outcomes[candidate.label] = outcome
                counter.next(plan.rows, isinstance(outcome, Failed))
    except BaseException as problem:  # an interrupt, or what the user's function has raised
        if (partial := getattr(problem, "outcome", None)) is not None:
            outcomes[candidate.label] = plan.held(partial)
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

    def expect(self, rows: int) -> None:
        """Note that so many rows more are to be computed."""
        self._total += rows

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
        return Progress(
            done,
            self._total,
            self._failed,
            time.perf_counter() - self._began,
            answered=done - self._failed,
        )


def keep_speeds(found: Comparison) -> None:
    """Keep how fast the backends were with a model on the CPU, for what loading says of them."""
    stats = found.stats
    fine = stats[(stats["status"] == "ok") & stats["device"].str.lower().eq("cpu")]
    for model, lines in fine.groupby("model"):
        best = lines.groupby("backend")["rows_per_s"].max().to_dict()
        if {"pytorch", "openvino"} <= set(best):
            speeds.remember(str(model), {str(name): float(each) for name, each in best.items()})
