"""Add up what several runs measured: how each figure of `RunStats` goes together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from hfnb.frame.stats import RunStats

_BINS_PER_FACTOR = 1.0 / np.log(1.01)
_SHORTEST_S = 1e-7
_LONGEST_S = 1e7


def combine(runs: Sequence[RunStats]) -> RunStats:
    """Return the figures of runs that followed one another, as if they were one.

    Counts, tokens and times add up, peaks are the highest. Percentiles can't be told from those
    of the parts: they are ``None``; `Latencies` knows them.

    Args:
        runs: At least one.
    """
    values = {
        field.name: _RULES[field.name]([getattr(run, field.name) for run in runs])
        for field in dataclasses.fields(RunStats)
    }
    for rate in ("rows_per_s", "tokens_per_s"):
        counted = sum(getattr(run, rate) * run.wall_s for run in runs)
        values[rate] = counted / max(values["wall_s"], 1e-9)
    values["padding"] = _padding(runs)
    return RunStats(**values)


def over(stats: RunStats, wall_s: float) -> RunStats:
    """Return figures with their rates over another time, in seconds."""
    faster = stats.wall_s / max(wall_s, 1e-9)
    return dataclasses.replace(
        stats,
        wall_s=wall_s,
        rows_per_s=stats.rows_per_s * faster,
        tokens_per_s=stats.tokens_per_s * faster,
    )


class Latencies:
    """Latencies of any number of rows, in bounded memory; percentiles to within 1%."""

    def __init__(self) -> None:
        size = int(np.log(_LONGEST_S / _SHORTEST_S) * _BINS_PER_FACTOR) + 2
        self._counts = np.zeros(size, dtype=np.int64)

    def add(self, seconds: np.ndarray[Any, Any]) -> None:
        """Count rows' latencies; NaN is none."""
        known = seconds[~np.isnan(seconds)]
        places = np.log(known.clip(_SHORTEST_S, _LONGEST_S) / _SHORTEST_S) * _BINS_PER_FACTOR
        self._counts += np.bincount(places.astype(np.int64), minlength=len(self._counts))

    def percentile(self, percent: float) -> float | None:
        """Return the latency, in seconds, that so many percent of the rows stay below."""
        total = int(self._counts.sum())
        if not total:
            return None
        rank = (total - 1) * percent / 100
        place = int(np.searchsorted(np.cumsum(self._counts), rank, side="right"))
        return float(_SHORTEST_S * np.exp((place + 0.5) / _BINS_PER_FACTOR))


def _padding(runs: Sequence[RunStats]) -> float:
    """Return the share of padding over all, each run by the positions that it computed."""
    computed = [run.tokens_in / (1 - run.padding) if run.padding < 1 else 0.0 for run in runs]
    padded = sum(run.padding * size for run, size in zip(runs, computed, strict=True))
    return padded / sum(computed) if sum(computed) else 0.0


def _first(values: list[Any]) -> Any:
    return values[0]


def _none(values: list[Any]) -> None:
    return None


def _highest(values: list[Any]) -> Any:
    known = [value for value in values if value is not None]
    return max(known) if known else None


def _said(values: list[str]) -> str:
    """Return the first text that says something: a run without rows says nothing."""
    return next((value for value in values if value), "")


_RULES: dict[str, Callable[[list[Any]], Any]] = {
    **dict.fromkeys(
        "rows ok failed skipped cancelled cut_off from_journal duplicates shortened tokens_lost "
        "shared_tokens "
        "wall_s tokens_in tokens_out batches forwards recomputed_rows memory_backoffs".split(),
        sum,
    ),
    **dict.fromkeys(
        "load_s peak_rss_bytes run_rss_bytes peak_device_bytes batch_rows".split(), _highest
    ),
    **dict.fromkeys("latency_shared chat".split(), any),
    **dict.fromkeys("latency_p50_s latency_p95_s".split(), _none),
    **dict.fromkeys("model task engine backend device dtype".split(), _first),
    **dict.fromkeys("path note".split(), _said),
    # `combine` makes these from other figures too; samples are kept by who watches the whole.
    **dict.fromkeys("rows_per_s tokens_per_s padding".split(), _first),
    **dict.fromkeys("memory workers".split(), lambda values: ()),
}
"""How each figure goes together."""
