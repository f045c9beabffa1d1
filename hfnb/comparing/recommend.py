"""`hfnb.recommend`: which backend, weight format and batch size to use here, by measuring them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from hfnb.comparing.candidates import Candidate, candidates_of
from hfnb.comparing.compare import Counter, keep_speeds
from hfnb.comparing.comparison import Comparison, Outcome
from hfnb.comparing.measuring import Measured
from hfnb.comparing.plan import Plan, check_rows
from hfnb.comparing.process import Failed, measured
from hfnb.comparing.recommendation import Recommendation
from hfnb.errors import ModelError, OptionError
from hfnb.frame.probe import spread
from hfnb.frame.progress import Progress, display_for, number
from hfnb.loading import check_load
from hfnb.machine import devices
from hfnb.options import is_number, is_whole
from hfnb.show import size

_ALIKE = 0.9
"""How like the plain model's a candidate's answers must be, by characters, to be recommended."""
_FASTER = 1.1
"""How many times as fast a batch size must be to be worth setting."""
_BATCHES = (8, 32)
_FORMATS = (None, "int8", "int4")


def recommend(
    df: Any,
    prompt: Any,
    model: str | os.PathLike[str],
    *,
    seconds: float = 180.0,
    sample: int = 48,
    reference: str | Mapping[str, str] | None = None,
    device: str | int | None = None,
    progress: bool | Literal["auto"] | Callable[[Progress], Any] = "auto",
    cancel: threading.Event | None = None,
    **options: Any,
) -> Recommendation:
    """Measure the ways in which this machine can run a model, and say which one to use.

    A sample of the rows goes through PyTorch, OpenVINO in the model's own precision, int8 and int4,
    and then through the fastest with other batch sizes; each in a process of its own, as
    `hfnb.compare` does it. The fastest is recommended whose answers are the plain model's: at least
    90% alike by characters or, where there is a reference, right as often.

    Args:
        df: The rows, as in `hfnb.run`.
        prompt: As in `hfnb.compare`.
        model: A model's name.
        seconds: The time for all of it. A way to run the model gets an even share of what is left
            for it and those after it, so that a slow one takes no other's time; what is not
            measured by then is left out, and said.
        sample: How many rows, spread over all of them.
        reference: As in `hfnb.compare`.
        device: As in `hfnb.load`, for PyTorch; OpenVINO is measured on its CPU.
        progress: As in `hfnb.run`.
        cancel: Set by another thread to end it; then what was measured decides.
        **options: Further arguments of `hfnb.compare`, such as ``schema`` and ``max_new_tokens``.

    Returns:
        A `Recommendation` with ``options`` for `hfnb.load`, ``why``, ``comparison``, ``code`` and
        ``load()``.

    Raises:
        ModelError: None of the ways works, with the reasons.
        OptionError: An option is wrong.

    Example:
        >>> import hfnb, pandas as pd
        >>> df = pd.DataFrame({"i": range(500)})
        >>> found = hfnb.recommend(df, "What is the number {i} in french?", "hfnb/numbers-fr")
        >>> found.options["model"]
        'hfnb/numbers-fr'
    """
    if not is_number(seconds) or seconds <= 0:
        raise OptionError(f"seconds is the time for all of it, above 0; not {seconds!r}.")
    if not is_whole(sample) or sample < 1:
        raise OptionError(f"sample is a number of rows, 1 or more; not {sample!r}.")
    frame = check_rows(df, prompt)
    rows = frame.iloc[spread(len(frame), sample)]
    search = _Search(rows, prompt, reference, options, progress, seconds, cancel)
    search.measure(_ways(os.fspath(model), device))
    best = search.best()
    if best is not None:
        search.measure(_batches(best, len(rows)))
    search.close()
    return search.recommendation()


def _ways(model: str, device: str | int | None) -> list[dict[str, Any]]:
    """Return the arguments of `hfnb.load` to try, the plain ones first."""
    told = {} if device is None else {"device": device}
    ways: list[dict[str, Any]] = [{"model": model, **told}]
    if any(each.backend == "openvino" for each in devices()):
        for weight_format in _FORMATS:
            kept = {} if weight_format is None else {"weight_format": weight_format}
            ways.append({"model": model, "backend": "openvino", **kept})
    for each in ways:
        check_load(**each)
    return ways


def _batches(best: Candidate, rows: int) -> list[dict[str, Any]]:
    return [{**(best.options or {}), "batch_size": each} for each in _BATCHES if each < rows]


class _Search:
    """Measures one candidate after the other, until the time is up, and chooses."""

    def __init__(
        self,
        rows: Any,
        prompt: Any,
        reference: str | Mapping[str, str] | None,
        options: Mapping[str, Any],
        progress: Any,
        seconds: float,
        cancel: threading.Event | None,
    ) -> None:
        self._rows, self._prompt, self._reference = rows, prompt, reference
        running = {name: options[name] for name in _RUNNING if name in options}
        self._running = {**_RUNNING, **running}
        self._options = {name: each for name, each in options.items() if name not in _RUNNING}
        self._display = display_for(progress)
        self._counter = Counter(0, self._display)
        self._seconds = seconds
        self._until = time.perf_counter() + seconds
        self._cancel = threading.Event() if cancel is None else cancel
        self._tried: list[Candidate] = []
        self._outcomes: dict[str, Outcome] = {}
        self._plan: Plan | None = None
        self._made: Comparison | None = None

    def measure(self, ways: Sequence[Mapping[str, Any]]) -> None:
        """Measure candidates in turn, each in an even share of the time that is left."""
        before = [each.options or {} for each in self._tried]
        every = candidates_of([*before, *ways], self._prompt)
        plan = Plan(self._rows, every, self._running, self._options, self._reference, 1)
        # Labels say what differs, and may have become longer: outcomes keep their places.
        self._outcomes = {
            new.label: self._outcomes[old.label]
            for old, new in zip(self._tried, every, strict=False)
            if old.label in self._outcomes
        }
        counter = self._counter
        counter.expect(plan.rows * len(ways))
        for waiting, each in zip(range(len(ways), 0, -1), every[len(before) :], strict=True):
            left = self._until - time.perf_counter()
            if left <= 0 or self._cancel.is_set():
                why = f"the {self._seconds:,.0f} s were over" if left <= 0 else "it was cancelled"
                outcome: Outcome = Failed(why, cancelled=True)
            else:
                job = plan.jobs[each.label]
                outcome = plan.held(measured(job, counter.tell, self._cancel, left / waiting))
            self._outcomes[each.label] = outcome
            counter.next(plan.rows, isinstance(outcome, Failed))
        self._tried, self._plan, self._made = every, plan, None

    def close(self) -> None:
        """Draw how far it came, for the last time."""
        self._display.close(self._counter.progress())

    def best(self) -> Candidate | None:
        """Return the fastest candidate whose answers are good; ``None`` where none was measured."""
        fine = [each for each in self._tried if self._is_good(each)]
        return max(fine, key=self._speed, default=None)

    def recommendation(self) -> Recommendation:
        """Return what to use, and why.

        Raises:
            ModelError: No candidate was measured.
        """
        comparison = self._comparison()
        best = self.best()
        if best is None:
            stats = comparison.stats
            told = stats[stats["status"].ne("ok")]["reason"]
            reasons = "; ".join(f"{label}: {reason}" for label, reason in told.items())
            late = any(isinstance(e, Failed) and e.cancelled for e in self._outcomes.values())
            more = (
                " Give it more time (seconds=...), or fewer rows (sample=...)."
                if late and not self._cancel.is_set()
                else ""
            )
            raise ModelError(f"No way to run the model could be measured. {reasons}.{more}")
        keep_speeds(comparison)
        plain = [each for each in self._tried if "batch_size" not in (each.options or {})]
        without = max(filter(self._is_good, plain), key=self._speed, default=best)
        if best is not without and self._speed(best) < _FASTER * self._speed(without):
            best = without
        return Recommendation(best.options or {}, self._why(best, comparison), comparison)

    def _is_good(self, each: Candidate) -> bool:
        found = self._outcomes.get(each.label)
        if not isinstance(found, Measured) or found.cancelled or not found.stats["ok"]:
            return False
        return self._quality(each)[0] >= self._needed()

    def _quality(self, each: Candidate) -> tuple[float, str]:
        """Return how good a candidate's answers are, 0 to 1, and what that means."""
        meaning, of_candidate = self._comparison().quality
        return of_candidate.get(each.label, 0.0), meaning

    def _needed(self) -> float:
        """Return the least quality: with a reference, what the plain model surely reaches."""
        if self._reference is None:
            return _ALIKE
        table = self._comparison().agreement
        return float(table["exact_match_low"].iloc[0]) if len(table) else 0.0

    def _comparison(self) -> Comparison:
        """Return all that was measured, as a comparison that is made once."""
        if self._made is None:
            assert self._plan is not None
            self._made = Comparison(self._plan.given, self._tried, [self._outcomes])
        return self._made

    def _speed(self, each: Candidate) -> float:
        found = self._outcomes[each.label]
        return float(found.stats["rows_per_s"]) if isinstance(found, Measured) else 0.0

    def _why(self, best: Candidate, comparison: Comparison) -> str:
        stats = comparison.stats
        first = self._tried[0]
        own: Any = stats.loc[best.label]
        plain: Any = stats.loc[first.label]
        said = [
            f"{best.label} answered {number(own['rows_per_s'])} rows a second with "
            f"{size(int(own['peak_rss_bytes']))} of memory"
        ]
        if best is not first and plain["rounds"]:
            times = own["rows_per_s"] / plain["rows_per_s"]
            quality, meaning = self._quality(best)
            said.append(
                f"{times:.1f} times as fast as {first.label} ({number(plain['rows_per_s'])} rows a "
                f"second, {size(int(plain['peak_rss_bytes']))}); {meaning} {quality:.0%}"
            )
        for each in self._tried:
            if each is best:
                continue
            outcome = self._outcomes.get(each.label)
            if isinstance(outcome, Failed):
                said.append(f"not measured: {each.label} ({outcome.reason})")
            elif outcome is None or outcome.cancelled:
                said.append(f"not measured to its end: {each.label}")
            elif not self._is_good(each) and self._speed(each) > own["rows_per_s"]:
                quality, meaning = self._quality(each)
                said.append(
                    f"{each.label} was faster still ({number(self._speed(each))} rows a second), "
                    f"but {meaning} is {quality:.0%}"
                )
        return "; ".join(said)


_RUNNING: dict[str, Any] = {
    "chat": None,
    "system": None,
    "nulls": "skip",
    "too_long": "error",
    "batch_size": None,
    "limit": None,
    "schema": None,
    "nested": "columns",
    "probabilities": False,
    "describe_schema": False,
}
"""The arguments of `hfnb.run` that all candidates have, as they are where nothing is said."""
