"""What a run will take, in time and memory, by what a few of its rows took. Pure arithmetic.

A forward pass costs a fixed time (reading the weights, starting the operators) and a time for each
of its tokens. Both are had from waves of rows of different sizes. How many passes a run needs
follows from how many rows decode together and how many tokens they answer with.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_AUTO_ROWS = (64, 256)
"""Rows that ``batch_size="auto"`` may mean, where the waves were too small to show it."""
_NOISE = 0.15
"""How far two measurements of the same rows may lie apart on a machine with other work."""
_LATER = 0.1
"""A wave shorter than this share of the longest one says more of starting than of computing."""
_WARM_S = 1.0
"""From here on a first wave's own costs of starting do not matter."""
_ROW_BYTES = 100
"""What a result keeps of a row beside its text."""


class Estimate(NamedTuple):
    """A likely value, and between which ones it should lie."""

    low: float
    likely: float
    high: float


class Wave(NamedTuple):
    """Rows that were computed in one go, and what that took."""

    rows: int
    seconds: float
    given_tokens: int
    """The tokens of their prompts."""
    prompt_tokens: int
    """Those of them that were computed, and not shared between rows."""
    padding_tokens: int
    new_tokens: int
    longest: int
    """The most new tokens of a row."""
    forwards: int
    """Forward passes; 0 where the engine does not count them."""
    together: int
    """The most rows in one of them."""
    memory_bytes: int
    """The most memory of the process."""
    device_bytes: int | None = None
    """The most memory allocated on the accelerator."""
    whole: bool = True
    """Whether all rows were finished; if not, the tokens are those until it was ended."""

    @property
    def tokens(self) -> int:
        """All tokens that were computed, padding included."""
        return self.prompt_tokens + self.padding_tokens + self.new_tokens

    @property
    def held(self) -> float:
        """The tokens whose keys and values are in memory at the same time."""
        return self.together * (self.given_tokens + self.new_tokens) / self.rows


class Workload(NamedTuple):
    """What there is to compute."""

    rows: int
    prompt_tokens: float
    """The mean of a row."""
    longest_prompts: float
    """The mean of those that are computed first, which are the longest."""
    new_tokens: Estimate
    """The mean of a row."""
    longest: int
    """The most new tokens of a row."""
    most_rows: int | None = None
    """The most rows to compute together; ``None`` for what the engine chooses."""
    held_rows: int = 0
    """The rows whose results are in memory at a time."""
    row_bytes: float = 0.0
    """What one of them takes for its text, in bytes."""


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a run will take from now on. Times are in seconds, memory in bytes."""

    rows: int
    """Rows that the model has to compute: those with an answer already, or none, left out."""
    seconds: Estimate
    memory: Estimate
    """The peak of this process."""
    device_memory: Estimate | None
    """The peak on the accelerator; ``None`` on a CPU."""
    new_tokens: Estimate
    """The mean of a row."""
    waves: tuple[Wave, ...] = dataclasses.field(repr=False)
    """What was measured: the first wave has the shown rows, the others those of the probe."""
    most_rows: int | None = dataclasses.field(default=None, repr=False)
    """What ``batch_size`` said, unless it was ``"auto"``."""

    @property
    def measured_rows(self) -> int:
        """The rows that it is based on."""
        return sum(each.rows for each in self.waves)

    @property
    def measured_s(self) -> float:
        """The time that these took."""
        return sum(each.seconds for each in self.waves)

    @property
    def batch_is_known(self) -> bool:
        """Whether they showed how many rows decode together."""
        if not self.waves:
            return False
        least, _, most = rows_together(self.waves, self.most_rows)
        return least == most


def forecast_of(
    waves: Sequence[Wave], load: Workload, *, memory: int, device: int | None, other_s: float
) -> Forecast:
    """Return a forecast.

    Args:
        waves: What was measured, in order; none only where there is nothing to compute.
        load: What there is to compute.
        memory: The bytes of the process before the first wave.
        device: The bytes on the accelerator then.
        other_s: Seconds for rows that need not be computed.
    """
    computing = seconds_for(waves, load)
    return Forecast(
        rows=load.rows,
        seconds=Estimate(*(each + other_s for each in computing)),
        memory=memory_for(memory, waves, load),
        device_memory=device_memory_for(device or 0, waves, load),
        new_tokens=load.new_tokens,
        waves=tuple(waves),
        most_rows=load.most_rows,
    )


def new_tokens_of(counts: Sequence[int]) -> Estimate:
    """Return the mean of rows' new tokens: of a few rows it is known less well than of many.

    Example:
        >>> new_tokens_of([4, 6])
        Estimate(low=4.0, likely=5.0, high=6.0)
    """
    mean = sum(counts) / len(counts)
    if len(counts) < 8:
        return Estimate(float(min(counts)), mean, float(max(counts)))
    variance = sum((each - mean) ** 2 for each in counts) / (len(counts) - 1)
    error = 2 * math.sqrt(variance / len(counts))
    return Estimate(max(float(min(counts)), mean - error), mean, mean + error)


def seconds_for(waves: Sequence[Wave], load: Workload) -> Estimate:
    """Return the time that rows will take.

    Args:
        waves: What was measured, in order; the first is whole, and has what starting
            costs in it.
        load: What there is to compute.
    """
    if not load.rows:
        return Estimate(0.0, 0.0, 0.0)
    used = _telling(waves)
    whole = next(each for each in reversed(waves) if each.whole)
    likely: list[float] = []
    low: list[float] = []
    high: list[float] = []
    for per_forward, per_token in _costs(used):
        for kept, together, stretch, new in (
            (low, 2, 0, load.new_tokens.low),
            (likely, 1, 1, load.new_tokens.likely),
            (high, 0, 2, load.new_tokens.high),
        ):
            rows = rows_together(waves, load.most_rows)[together]
            passes = _passes(load.rows, new, max(load.longest, new), rows)
            passes *= _stretch(whole)[stretch]
            tokens = load.rows * (load.prompt_tokens * _computed(whole) + new)
            kept.append(per_forward * passes + per_token * tokens)
    middle = math.exp(sum(map(math.log, map(_positive, likely))) / len(likely))
    return Estimate(min(*low, middle) * (1 - _NOISE), middle, max(*high, middle) * (1 + _NOISE))


def memory_for(start: int, waves: Sequence[Wave], load: Workload) -> Estimate:
    """Return the peak memory of the process, in bytes.

    Args:
        start: The bytes in use before the first wave.
        waves: What was measured.
        load: What there is to compute.
    """
    result = load.held_rows * (_ROW_BYTES + load.row_bytes)
    if not waves:
        return Estimate(float(start), start + result, start + 2 * result)
    peaks = [(each.held, each.memory_bytes) for each in waves]
    return _peak(start, peaks, waves, load, result)


def device_memory_for(start: int, waves: Sequence[Wave], load: Workload) -> Estimate | None:
    """Return the peak memory on the accelerator, in bytes; ``None`` where there is none."""
    peaks = [(each.held, each.device_bytes) for each in waves if each.device_bytes is not None]
    return _peak(start, peaks, waves, load, 0.0) if peaks else None


def rows_together(waves: Sequence[Wave], most_rows: int | None) -> tuple[int, int, int]:
    """Return how many rows will decode together: at least, likely, at most."""
    last = max(waves, key=lambda each: each.rows)
    if last.together < last.rows:  # there was room for no more
        return (last.together,) * 3
    if most_rows is not None:
        return (most_rows,) * 3
    return last.together, max(last.together, _AUTO_ROWS[0]), max(last.together, _AUTO_ROWS[1])


def is_full(wave: Wave) -> bool:
    """Whether a wave had so many rows that more of them would be computed in the same way."""
    return wave.rows >= 3 * wave.together


def _telling(waves: Sequence[Wave]) -> list[Wave]:
    """Return the waves that say what computing costs, without what starting does."""
    later = list(waves[1:])
    if len(later) == 1 and waves[0].seconds >= _WARM_S:
        later = list(waves)  # two tell more than one
    longest = max((each.seconds for each in later), default=0.0)
    return [each for each in later if each.seconds >= _LATER * longest] or list(waves[-1:])


def _costs(waves: Sequence[Wave]) -> Iterator[tuple[float, float]]:
    """Yield what a forward pass and a token may cost: in one way, or, if not clear, in two."""
    fitted = _fit(waves) if len(waves) > 1 else None
    if fitted is not None:
        yield fitted
        return
    last = waves[-1]
    yield 0.0, last.seconds / max(last.tokens, 1)
    if last.forwards and not is_full(last):
        yield last.seconds / last.forwards, 0.0


def _fit(waves: Sequence[Wave]) -> tuple[float, float] | None:
    """Return the costs by least squares of the relative errors; neither is below 0."""
    rows = [(each.forwards / each.seconds, each.tokens / each.seconds) for each in waves]
    ff, ft, tt = (sum(a * b for a, b in pairs) for pairs in _products(rows))
    f, t = sum(each[0] for each in rows), sum(each[1] for each in rows)
    determinant = ff * tt - ft * ft
    if determinant <= 1e-9 * ff * tt:  # they all say the same
        return None
    per_forward, per_token = (f * tt - t * ft) / determinant, (t * ff - f * ft) / determinant
    if per_forward < 0:
        return 0.0, t / tt
    return (f / ff, 0.0) if per_token < 0 else (per_forward, per_token)


def _products(rows: Sequence[tuple[float, float]]) -> Iterator[list[tuple[float, float]]]:
    yield [(f, f) for f, _ in rows]
    yield [(f, t) for f, t in rows]
    yield [(t, t) for _, t in rows]


def _passes(rows: float, mean: float, longest: float, together: float) -> float:
    """Return the decoding steps of rows, each of which takes the place of one that has ended."""
    return longest + max(0.0, rows - together) * mean / together


def _stretch(wave: Wave) -> tuple[float, float, float]:
    """Return by how much forward passes outnumber `_passes`: at least, likely, at most.

    A wave that filled the batch several times has shown it. In one that did not, it is not known
    whether a place is filled as soon as it is free, or only when all rows have ended.
    """
    mean = wave.new_tokens / wave.rows
    shown = wave.forwards / max(_passes(wave.rows, mean, wave.longest, wave.together), 1.0)
    if is_full(wave):
        return (shown,) * 3
    most = max(1.0, wave.longest / max(mean, 1.0))
    return shown, shown * math.sqrt(most), shown * most


def _computed(wave: Wave) -> float:
    """Return how many tokens are computed for one of a prompt: padding more, shared ones fewer."""
    return (wave.prompt_tokens + wave.padding_tokens) / max(wave.given_tokens, 1)


def _growth(start: int, peaks: Sequence[tuple[float, int]], load: Workload, rows: float) -> float:
    """Return how many bytes the peak will lie above the highest of those that were measured.

    Args:
        start: The bytes in use before the first wave.
        peaks: Of each wave, the tokens held in memory at a time, and the most bytes in use.
        load: What there is to compute.
        rows: How many rows decode together.
    """
    held, highest = max(peaks, key=lambda each: each[0])[0], max(peak for _, peak in peaks)
    wanted = min(rows, load.rows) * (load.longest_prompts + load.longest)
    return max(0.0, wanted - held) * max(0, highest - start) / max(held, 1.0)


def _peak(
    start: int,
    peaks: Sequence[tuple[float, int]],
    waves: Sequence[Wave],
    load: Workload,
    result: float,
) -> Estimate:
    highest = max(peak for _, peak in peaks)
    _, usual, most = rows_together(waves, load.most_rows)
    # Part of what came on top was for starting, whatever the number of rows.
    likely = highest + _growth(start, peaks, load, usual) / 2 + result
    high = highest + _growth(start, peaks, load, most) + 2 * result
    return Estimate(float(highest), likely, max(high, likely))


def _positive(value: float) -> float:
    return max(value, 1e-9)
