"""A run over more rows than memory holds: part after part, each of them an ordinary `Run`.

The next part starts when the engine has drawn the last request of the one before, so the model
is never idle between them. Two parts are computed at most, and one more is read ahead.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hfnb.engines.base import Engine
from hfnb.errors import OptionError
from hfnb.frame.chunks import Source, pieces, rows_of_a_part
from hfnb.frame.columns import names_of, no_arrow_columns, pandas_types
from hfnb.frame.combine import combine, over
from hfnb.frame.job import Job
from hfnb.frame.manifest import manifest_of
from hfnb.frame.part_tables import (
    check_alike,
    outcome_of,
    to_try_again,
    with_columns,
    write_part,
)
from hfnb.frame.parts import Parts, fingerprint_of, open_parts
from hfnb.frame.parts_manifest import read_manifest, same_source, what_decides
from hfnb.frame.parts_result import PartsResult
from hfnb.frame.parts_stats import of_parts
from hfnb.frame.progress import DRAW_EVERY_S, Display, Progress, Silent
from hfnb.frame.runner import Run
from hfnb.frame.stats import RunStats
from hfnb.frame.tables import to_pandas
from hfnb.frame.template import refuse_nulls
from hfnb.measure import MemorySampler

MOST_OPEN = 2
"""Parts that are computed at a time; one more is read ahead."""


class _ToDo(NamedTuple):
    """A part that is to be computed."""

    number: int
    table: Any
    """All its rows, as an Arrow table."""
    todo: np.ndarray[Any, np.dtype[np.intp]] | None
    """The positions of the rows to run; ``None`` for all, where the part is not there yet."""


class _Open(NamedTuple):
    part: _ToDo
    run: Run


def stream(
    source: Source,
    out: Path,
    job: Job,
    engine: Engine,
    *,
    part_rows: int | None,
    limit: int | None,
    display: Display,
) -> PartsResult:
    """Run over a source, and write a part as soon as its rows are done.

    Args:
        source: Where the rows come from.
        out: The folder for the parts. Those that the same call left there are kept.
        job: What is done with each part. Its own frame has no rows.
        engine: The model that does it.
        part_rows: The rows of a part; ``None`` for what is there, or for a bounded size.
        limit: The most rows in all.
        display: What shows how far it is.

    Raises:
        OptionError: ``out`` holds something else, or the source's rows are not those of before.
        KeyboardInterrupt: As it came, with the partial result as its ``result``.
        Exception: What made the run fail, with the partial result likewise.
    """
    if part_rows is None:
        there = read_manifest(out)
        part_rows = rows_of_a_part(source) if there is None else int(there["what"]["part_rows"])
    none = Run(job, engine)
    manifest = manifest_of(none, none.stats(), ())
    what = {
        **what_decides(job, manifest),
        "columns": {field.name: str(field.type) for field in source.schema},
        "part_rows": part_rows,
    }
    came_from = {"name": str(source), "rows": source.rows, "identity": source.identity}
    with open_parts(out, what, came_from, manifest) as parts, MemorySampler() as memory:
        whole = _Stream(source, parts, job, engine, part_rows, limit, memory)
        return whole.run(display)


class _Stream:
    """A run in parts while it goes on. All its methods run in the waiting thread."""

    def __init__(
        self,
        source: Source,
        parts: Parts,
        job: Job,
        engine: Engine,
        part_rows: int,
        limit: int | None,
        memory: MemorySampler,
    ) -> None:
        self._source = source
        self._parts = parts
        self._job = job
        self._engine = engine
        self._columns = list(job.source.columns)
        self._part_rows = part_rows
        self._limit = limit
        self._memory = memory
        rows = source.rows
        self._total = rows if rows is None or limit is None else min(rows, limit)
        self._schema = with_columns(source.schema.empty_table(), no_arrow_columns(job)).schema
        self._open: list[_Open] = []
        self._began = time.perf_counter()
        self._kept = self._done = self._failed = self._reused = self._answered = 0
        self._measured: RunStats | None = None
        self._complete = False

    def run(self, display: Display) -> PartsResult:
        try:
            self._compute(display)
            self._complete = all(not part.cancelled for part in self._parts.known.values())
            self._total = self._kept + self._done
            display.close(self._progress())
        except BaseException as problem:
            with contextlib.suppress(KeyboardInterrupt):  # a second one
                self._stop()
            # What the display raises, an interrupt too, must not hide the first problem.
            with contextlib.suppress(BaseException):
                display.close(self._progress())
            problem.result = self._result()  # type: ignore[attr-defined]
            raise
        return self._result()

    def _compute(self, display: Display) -> None:
        to_do = self._to_do()
        ahead = next(to_do, None)
        shown_s = time.perf_counter()
        while ahead is not None or self._open:
            if ahead is not None and self._has_room():
                self._start(ahead)
                ahead = next(to_do, None)  # read while the one before is computed
            elif ahead is not None and len(self._open) < MOST_OPEN:
                self._open[-1].run.drawn.wait(DRAW_EVERY_S)
            else:
                self._open[0].run.join(DRAW_EVERY_S)
            self._write_ended()
            if time.perf_counter() - shown_s >= DRAW_EVERY_S:
                display.update(self._progress())
                shown_s = time.perf_counter()

    def _write_ended(self) -> None:
        for each in [each for each in self._open if not each.run.running]:
            each.run.wait(Silent())  # raises what made it fail
            self._write(each)

    def _has_room(self) -> bool:
        """Whether the model may run out of rows soon, and another part may begin."""
        drawn = all(each.run.drawn.is_set() for each in self._open)
        return drawn and len(self._open) < MOST_OPEN

    # -- what is to be computed -------------------------------------------------------------------

    def _to_do(self) -> Iterator[_ToDo]:
        """Read the source, and yield the parts that are not there or not whole."""
        self._check_no_more_than(self._limit if self._total is None else self._total)
        trusted = self._source.seekable and same_source(self._parts.manifest, self._source.identity)
        position = 0
        if trusted:
            while self._is_whole(position):  # as if the source began behind them
                self._kept += self._parts.known[position // self._part_rows].rows
                position += self._part_rows
        limit = None if self._limit is None else max(0, self._limit - position)
        number = position // self._part_rows
        for table in pieces(self._source.tables(position), self._part_rows, limit):
            part = self._part(number, table, trusted=trusted)
            if part is not None:
                yield part
            number += 1
            position += table.num_rows
        self._check_no_more_than(position)

    def _is_whole(self, position: int) -> bool:
        """Whether the part at a position has all its rows, and none to be tried again."""
        known = self._parts.known.get(position // self._part_rows)
        if known is None or not known.whole or self._total is None:
            return False
        return known.rows == min(self._part_rows, self._total - position) > 0

    def _part(self, number: int, table: Any, *, trusted: bool) -> _ToDo | None:
        """Return what is to be computed of a part, if anything is."""
        known = self._parts.known.get(number)
        if known is None:
            return _ToDo(number, table, None)
        if not trusted:
            begin, file = number * self._part_rows, self._parts.data_file(number)
            check_alike(known, table, self._columns, begin, self._source, file)
        if known.whole and known.rows == table.num_rows:
            self._kept += known.rows
            return None
        again = to_try_again(self._parts, number)
        todo = np.concatenate([again, np.arange(known.rows, table.num_rows)])
        self._kept += table.num_rows - len(todo)
        return _ToDo(number, table, todo)

    def _check_no_more_than(self, total: int | None) -> None:
        there = sum(part.rows for part in self._parts.known.values())
        last = max(self._parts.known, default=-1)
        if total is not None and (there > total or last * self._part_rows >= max(total, 1)):
            raise OptionError(
                f"The parts in {str(self._parts.folder)!r} have {there:,} rows, and this call has "
                f"{total:,}. Choose another folder (out=...), or run over as many rows as before."
            )

    # -- one part ---------------------------------------------------------------------------------

    def _start(self, part: _ToDo) -> None:
        table = part.table.select(self._columns)
        if part.todo is not None:
            table = table.take(part.todo)
        frame = to_pandas(table, self._columns)
        if self._job.nulls == "raise":
            refuse_nulls(frame, self._columns)
        run = Run(dataclasses.replace(self._job, frame=frame), self._engine)
        self._open.append(_Open(part, run))
        run.start()

    def _write(self, each: _Open) -> None:
        """Write a part whose run has ended, and forget it."""
        number, table, todo = each.part
        run = each.run
        mark = fingerprint_of(table, self._columns)
        write_part(self._parts, number, table, todo, outcome_of(run), mark)
        self._open.remove(each)
        stats, progress = run.stats(), run.progress()
        self._done += progress.done
        self._failed += progress.failed
        self._reused += progress.reused
        self._answered += progress.answered
        self._measured = combine([stats] if self._measured is None else [self._measured, stats])

    def _stop(self) -> None:
        """End what is being computed, and write what is finished of it."""
        for each in self._open:
            each.run.cancel()
        for each in list(self._open):
            # What it fails with is what stopped us, or a second interrupt.
            with contextlib.suppress(BaseException):
                each.run.wait(Silent())
            if each.run.progress().done:
                # A disk that is full must not hide the first problem.
                with contextlib.suppress(Exception):
                    self._write(each)

    # -- what is known ----------------------------------------------------------------------------

    def _progress(self) -> Progress:
        open_ones = [each.run.progress() for each in self._open]
        return Progress(
            self._kept + self._done + sum(each.done for each in open_ones),
            self._total,
            self._failed + sum(each.failed for each in open_ones),
            time.perf_counter() - self._began,
            self._kept + self._reused + sum(each.reused for each in open_ones),
            self._answered + sum(each.answered for each in open_ones),
        )

    def _result(self) -> PartsResult:
        return PartsResult(
            self._parts,
            self._stats(),
            schema=self._schema,
            outputs=names_of(self._job),
            dtypes=pandas_types(self._job),
            columns=self._columns,
            complete=self._complete,
        )

    def _stats(self) -> RunStats:
        """Return the figures: of the rows over all parts, of the machine over this call."""
        measured = self._measured
        if measured is None:  # nothing was left to do, and the engine says what it is
            measured = combine([Run(self._job, self._engine).stats()])
        measured = over(measured, time.perf_counter() - self._began)
        memory = self._memory
        return dataclasses.replace(
            of_parts(measured, self._parts),
            peak_rss_bytes=max(memory.peak_bytes, measured.peak_rss_bytes),
            run_rss_bytes=max(0, memory.peak_bytes - memory.start_bytes),
            memory=tuple(memory.samples),
        )
