"""A run whose rows come and go as a Ray Dataset."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import pandas as pd

from hfnb.frame.combine import Latencies
from hfnb.frame.part_tables import lines_table
from hfnb.frame.prepare import Checked
from hfnb.frame.progress import Display, Progress
from hfnb.frame.stats import RunStats
from hfnb.frame.store import RowStore
from hfnb.ray.board import Under
from hfnb.ray.cluster import Workers
from hfnb.ray.flow import Block, Flow
from hfnb.ray.no_stats import no_stats
from hfnb.ray.report import REPORT, from_bytes
from hfnb.ray.rows import ClusterRows
from hfnb.ray.sizing import rows_of_a_block
from hfnb.ray.tally import Tally
from hfnb.ray.task import Task


class DatasetResult:
    """What a run leaves whose rows stay on the cluster.

    A run that was interrupted leaves one too, with the blocks that came back.
    """

    def __init__(
        self,
        data: Any,
        rows: Any,
        stats: RunStats,
        errors: pd.DataFrame,
        *,
        complete: bool,
        manifest: Mapping[str, Any],
    ) -> None:
        self.data = data
        """The input's rows and columns and the output columns: a Ray ``Dataset``, computed and held
        by the cluster. ``data.write_parquet(...)`` and the like go on with it."""
        self.rows = rows
        """One line a row, as `RunResult.rows` has them, in the order of `data`: a Dataset too."""
        self.stats = stats
        """A `RunStats`, summed over the workers, with a line for each."""
        self.errors = errors
        """The lines of `rows` that failed, with the input columns beside them."""
        self.complete = complete
        """Whether every row is there, and none was cancelled."""
        self.manifest = dict(manifest)
        """Everything that is needed to repeat the run."""

    def to_pandas(self) -> pd.DataFrame:
        """Return `data` as a DataFrame, which takes memory for all rows."""
        frame: pd.DataFrame = self.data.to_pandas()
        return frame

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.stats.rows

    def __repr__(self) -> str:
        """Return the figures, and what is missing."""
        state = "" if self.complete else "\nnot complete: some rows were not reached"
        return f"{self.stats}{state}"

    def _repr_html_(self) -> str:
        return self.stats._repr_html_()


class DatasetRun:
    """A run over a Dataset, or over files, while it goes on.

    Args:
        checked: What to do.
        task: What the workers are sent.
        workers: How many there may be.
        part_rows: The rows of a block; ``None`` for as many as suit the model.
        ordered: Whether the result has the order of what was given.
    """

    def __init__(
        self,
        checked: Checked,
        task: Task,
        workers: Workers,
        *,
        part_rows: int | None,
        ordered: bool,
    ) -> None:
        source = checked.given.source
        assert isinstance(source, ClusterRows)
        self._checked = checked
        self._source = source
        self._task = task
        self._workers = workers
        self._rows = part_rows
        self._ordered = ordered
        self._tally = Tally()
        self._latencies = Latencies()
        self._refs: list[Any] = []
        self._lines: list[Any] = []
        self._errors: list[pd.DataFrame] = []
        self._manifest: Mapping[str, Any] = {}
        self._began = time.perf_counter()
        self._done = self._failed = self._cancelled = 0
        self._reused = self._answered = 0

    def run(self, display: Display) -> DatasetResult:
        """Run, and wait for the end; raises what `PartsRun.run` does."""
        complete = False
        try:
            Flow(self._dataset(), self._task, self._workers, ordered=self._ordered).run(
                self._take, display, self._progress
            )
            complete = not self._cancelled
        except BaseException as problem:
            with contextlib.suppress(BaseException):
                display.close(self._progress({}))
                problem.result = self._result(complete=False)  # type: ignore[attr-defined]
            raise
        display.close(self._progress({}))
        return self._result(complete=complete)

    def _dataset(self) -> Any:
        checked, source = self._checked, self._source
        size = self._rows
        if size is None:
            size = rows_of_a_block(source.row_bytes or None, checked.job.generation, source.rows)
        dataset = source.dataset()
        if checked.limit is not None:
            dataset = dataset.limit(checked.limit)
        return dataset.repartition(target_num_rows_per_block=size, strict=self._ordered)

    def _take(self, block: Block) -> None:
        import ray

        report = block.report
        if not report.begun:
            return
        assert report.stats is not None
        assert report.outcome is not None
        lines = from_bytes(report.outcome[1]).to_pandas()
        self._latencies.add(lines["latency_s"][lines["status"] == "ok"].to_numpy())
        failed = (lines["status"] == "error").to_numpy().nonzero()[0]
        if len(failed):
            inputs = ray.get(block.ref).drop_columns([REPORT]).take(failed).to_pandas()
            beside = lines.iloc[failed].reset_index(drop=True)
            self._errors.append(pd.concat([inputs, beside], axis=1))
        self._refs.append(block.ref)
        self._lines.append(ray.put(lines_table(lines)))
        self._tally.add(report)
        self._manifest = report.about["run"]
        self._done += report.stats.rows - report.stats.cancelled
        self._cancelled += report.stats.cancelled
        self._failed += report.stats.failed
        self._reused += report.stats.from_journal
        self._answered += report.stats.ok - report.stats.from_journal

    def _progress(self, under: Mapping[str, Under]) -> Progress:
        now, limit, rows = list(under.values()), self._checked.limit, self._source.rows
        return Progress(
            self._done + sum(each.done for each in now),
            rows if rows is None or limit is None else min(rows, limit),
            self._failed + sum(each.failed for each in now),
            time.perf_counter() - self._began,
            self._reused + sum(each.reused for each in now),
            self._answered + sum(each.answered for each in now),
        )

    def _result(self, *, complete: bool) -> DatasetResult:
        import ray

        none = lines_table(RowStore(0).table(pd.RangeIndex(0)))
        data = ray.data.from_arrow_refs(self._refs).drop_columns([REPORT]) if self._refs else None
        if data is not None:  # whatever becomes of it: its lines are in this order
            data.context.execution_options.preserve_order = True
        stats = self._tally.stats(no_stats(self._checked), time.perf_counter() - self._began)
        return DatasetResult(
            ray.data.from_arrow(self._source.schema.empty_table()) if data is None else data,
            ray.data.from_arrow_refs(self._lines) if self._lines else ray.data.from_arrow(none),
            dataclasses.replace(
                stats,
                latency_p50_s=self._latencies.percentile(50),
                latency_p95_s=self._latencies.percentile(95),
            ),
            pd.concat(self._errors, ignore_index=True) if self._errors else none.to_pandas(),
            complete=complete,
            manifest=self._manifest,
        )
