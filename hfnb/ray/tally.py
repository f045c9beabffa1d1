"""The figures of a run on a cluster: added up over blocks, kept for each worker."""

from __future__ import annotations

import dataclasses

from hfnb.frame.combine import combine, over
from hfnb.frame.stats import RunStats, WorkerStats
from hfnb.ray.report import Report


class Tally:
    """Adds up reports."""

    def __init__(self) -> None:
        self._workers: dict[str, tuple[RunStats, float, float, int]] = {}

    def add(self, report: Report) -> None:
        """Add a block's report."""
        stats = report.stats
        if stats is None or not report.begun or report.kept:
            return
        began, ended, blocks = report.began, report.ended, 1
        if (before := self._workers.get(report.worker)) is not None:
            stats = combine([before[0], stats])
            began, ended = min(began, before[1]), max(ended, before[2])
            blocks += before[3]
        self._workers[report.worker] = (stats, began, ended, blocks)

    def stats(self, none: RunStats, wall_s: float) -> RunStats:
        """Return the figures of all workers together, and of each.

        Args:
            none: What to return where no worker has told anything.
            wall_s: The time that it all took.
        """
        if not self._workers:
            return over(none, wall_s)
        all_of_them = over(combine([each[0] for each in self._workers.values()]), wall_s)
        return dataclasses.replace(all_of_them, workers=tuple(self._lines()))

    def _lines(self) -> list[WorkerStats]:
        return [
            WorkerStats(
                name=name,
                device=stats.device,
                rows=stats.rows,
                blocks=blocks,
                tokens_out=stats.tokens_out,
                busy_s=ended - began,
                load_s=stats.load_s,
                peak_rss_bytes=stats.peak_rss_bytes,
            )
            for name, (stats, began, ended, blocks) in sorted(self._workers.items())
        ]
