"""A run in parts on a cluster: workers read and compute, this process writes each part."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnb.errors import OptionError
from hfnb.frame.chunks import rows_of_a_part
from hfnb.frame.columns import names_of, no_arrow_columns, pandas_types
from hfnb.frame.part_tables import to_try_again, with_columns, write_part
from hfnb.frame.parts import Parts, open_parts
from hfnb.frame.parts_manifest import read_manifest, same_source
from hfnb.frame.parts_result import PartsResult
from hfnb.frame.parts_stats import of_parts
from hfnb.frame.prepare import Checked
from hfnb.frame.progress import Display, Progress
from hfnb.frame.stats import RunStats
from hfnb.ray.board import Under
from hfnb.ray.cluster import Workers
from hfnb.ray.flow import Block, Flow
from hfnb.ray.no_stats import no_stats
from hfnb.ray.rows import ClusterRows
from hfnb.ray.sizing import rows_of_a_block
from hfnb.ray.tally import Tally
from hfnb.ray.task import Resume, Task


def part_rows_of(checked: Checked, source: ClusterRows, out: Path, asked: int | None) -> int:
    """Return the rows of a part, which is a block: as before, as asked for, or by tokens."""
    there = read_manifest(out)
    if asked is None and there is not None:
        return int(there["what"]["part_rows"])
    if asked is not None:
        return asked
    by_tokens = rows_of_a_block(source.row_bytes or None, checked.job.generation)
    return min(by_tokens, rows_of_a_part(source))


def resume_of(source: ClusterRows, out: Path, part_rows: int) -> Resume:
    """Return what a folder has already."""
    manifest = read_manifest(out)
    parts = None if manifest is None else Parts(out, manifest)
    known = {} if parts is None else dict(parts.known)
    again = {
        number: to_try_again(parts, number)
        for number, part in known.items()
        if parts is not None and not part.whole
    }
    return Resume(
        folder=str(out),
        part_rows=part_rows,
        source=str(source),
        columns={field.name: str(field.type) for field in source.schema},
        what=None if manifest is None else manifest["what"],
        known=known,
        again=again,
    )


class PartsRun:
    """A run in parts while it goes on.

    Args:
        checked: What to do.
        task: What the workers are sent.
        workers: How many there may be.
    """

    def __init__(self, checked: Checked, task: Task, workers: Workers) -> None:
        source, out = checked.given.source, checked.given.out
        assert isinstance(source, ClusterRows)
        assert out is not None
        assert task.resume is not None
        self._checked = checked
        self._source = source
        self._out = out
        self._task = task
        self._resume = task.resume
        self._workers = workers
        self._tally = Tally()
        self._parts: Parts | None = None
        self._locked = contextlib.ExitStack()
        self._began = time.perf_counter()
        self._kept = self._done = self._failed = self._came = 0
        self._reused = self._answered = 0
        self._none: RunStats | None = None
        self._complete = False

    def run(self, display: Display) -> PartsResult:
        """Run, and wait for the end.

        Raises:
            OptionError: The folder holds something else, or the rows are not those of before.
            KeyboardInterrupt: As it came, with the partial result as its ``result``.
            Exception: What made the run fail, likewise.
        """
        with self._locked:
            try:
                self._compute(display)
            except BaseException as problem:
                with contextlib.suppress(BaseException):
                    display.close(self._progress({}))
                if self._parts is not None:
                    problem.result = self._result()  # type: ignore[attr-defined]
                raise
            display.close(self._progress({}))
            return self._result()

    def _compute(self, display: Display) -> None:
        resume, limit = self._resume, self._checked.limit
        if resume.what is not None:
            self._open(resume.what, {})
            self._check_no_more_than(self._total)
            if self._is_there():
                self._kept = sum(part.rows for part in resume.known.values())
                self._complete = True
                return
        dataset = self._source.dataset()
        if limit is not None:
            dataset = dataset.limit(limit)
        dataset = dataset.repartition(target_num_rows_per_block=resume.part_rows, strict=True)
        flow = Flow(dataset, self._task, self._workers, ordered=True)
        flow.run(self._take, display, self._progress)
        if self._parts is None:
            raise OptionError(f"There are no rows in {self._source}.")
        self._check_no_more_than(self._kept + self._done)
        self._complete = all(not part.cancelled for part in self._parts.known.values())

    @property
    def _total(self) -> int | None:
        rows, limit = self._source.rows, self._checked.limit
        return rows if rows is None or limit is None else min(rows, limit)

    def _is_there(self) -> bool:
        """Whether everything is there already, made from these files."""
        assert self._parts is not None
        known = list(self._resume.known.values())
        if self._total is None or not same_source(self._parts.manifest, self._source.identity):
            return False
        return all(part.whole for part in known) and sum(p.rows for p in known) == self._total > 0

    def _check_no_more_than(self, total: int | None) -> None:
        there = sum(part.rows for part in self._resume.known.values())
        if total is not None and there > total:
            raise OptionError(
                f"The parts in {str(self._out)!r} have {there:,} rows, and this call has "
                f"{total:,}. Choose another folder (out=...), or run over as many rows as before."
            )

    def _open(self, what: Mapping[str, Any], made: Mapping[str, Any]) -> Parts:
        if self._parts is None:
            source = self._source
            came_from = {"name": str(source), "rows": source.rows, "identity": source.identity}
            self._parts = self._locked.enter_context(open_parts(self._out, what, came_from, made))
        return self._parts

    def _take(self, block: Block) -> None:
        report = block.report
        assert report.stats is not None
        self._none = report.stats if self._none is None else self._none
        parts = self._open(report.about["what"], report.about["run"])
        if report.kept:
            self._kept += parts.known[report.number].rows
            return
        if not report.begun:
            return
        table, outcome = report.tables()
        write_part(parts, report.number, table, report.todo, outcome, report.mark)
        self._kept += table.num_rows - outcome.lines.num_rows
        self._done += outcome.lines.num_rows - report.stats.cancelled
        self._failed += report.stats.failed
        self._reused += report.stats.from_journal
        self._answered += report.stats.ok - report.stats.from_journal
        self._tally.add(report)

    def _progress(self, under: Mapping[str, Under]) -> Progress:
        now = list(under.values())
        return Progress(
            self._kept + self._done + sum(each.done for each in now),
            self._kept + self._done if self._complete else self._total,
            self._failed + sum(each.failed for each in now),
            time.perf_counter() - self._began,
            self._kept + self._reused + sum(each.reused for each in now),
            self._answered + sum(each.answered for each in now),
        )

    def _result(self) -> PartsResult:
        assert self._parts is not None
        job, schema = self._checked.job, self._source.schema
        none = self._none or no_stats(self._checked)
        if self._none is not None:
            none = dataclasses.replace(self._none, rows_per_s=0.0, tokens_per_s=0.0)
        measured = self._tally.stats(none, time.perf_counter() - self._began)
        return PartsResult(
            self._parts,
            of_parts(measured, self._parts),
            schema=with_columns(schema.empty_table(), no_arrow_columns(job)).schema,
            outputs=names_of(job),
            dtypes=pandas_types(job),
            columns=list(job.source.columns),
            complete=self._complete,
        )
