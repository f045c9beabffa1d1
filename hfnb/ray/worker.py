"""The actor that Ray Data gives blocks of rows: it holds the model, and runs them.

It never raises: what makes the run fail travels in a report, so that the user gets the exception
itself, and Ray tries nothing again that would fail again.
"""

from __future__ import annotations

import dataclasses
import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import Any

from hfnb.frame.job import Job
from hfnb.frame.manifest import manifest_of
from hfnb.frame.part_tables import Positions, check_alike, outcome_of, with_columns
from hfnb.frame.parts import fingerprint_of
from hfnb.frame.parts_manifest import check_same, what_decides
from hfnb.frame.prepare import with_model
from hfnb.frame.runner import Run
from hfnb.frame.tables import to_pandas
from hfnb.frame.template import refuse_nulls
from hfnb.journal_file import default_path
from hfnb.ray.board import Poster, told_to_stop
from hfnb.ray.model import restored
from hfnb.ray.pickles import loads
from hfnb.ray.report import REPORT, Report, to_bytes
from hfnb.ray.task import Resume, Task, worker_name

ROWS = "__hfnb_rows__"
"""The column with the pickled rows of a frame's block, one cell."""


class Worker:
    """Holds the model, and computes block after block.

    Args:
        sent: The `Task`, as bytes.
        board: Where progress is posted.
    """

    def __init__(self, sent: bytes, board: Any) -> None:
        self._board = board
        self._name = worker_name()
        self._problem: Exception | None = None
        try:
            self._task: Task = loads(sent)
            _use_cores(self._task.num_cpus)
            self._job, self._engine = self._load()
            _use_cores(self._task.num_cpus)  # of torch, which is imported by now if it is needed
        except Exception as problem:  # it is told with the first block
            self._problem = problem

    def __call__(self, block: Any) -> Any:
        """Compute a block, and return what became of it."""
        number = _number_of_block()  # the same when it is tried again
        key = str(number)
        report = Report(key, self._name, began=time.time(), number=number)
        if self._problem is not None:
            report.problem = self._problem
            return report.packed()
        if not block.num_rows:
            report.begun = False
            return report.packed()
        try:
            return self._answer(block, report)
        except Exception as problem:  # on_error="raise", nulls="raise", a folder of another run
            self._board.end.remote(key)
            report.problem = problem
            return report.packed()

    def _load(self) -> tuple[Job, Any]:
        task = self._task
        checked = task.checked._replace(model=restored(task.checked.model, task.num_cpus))
        job, engine = with_model(checked, quiet=True, load=True)
        if task.own_journal and task.host != socket.gethostname():
            job = dataclasses.replace(job, journal=default_path())
        about = manifest_of(Run(job, engine), Run(job, engine).stats(), ())
        self._about = {"run": about, "what": what_decides(job, about)}
        resume = task.resume
        if resume is not None:
            self._about["what"] |= {"columns": resume.columns, "part_rows": resume.part_rows}
            if resume.what is not None:
                check_same(Path(resume.folder), resume.what, _plain(self._about["what"]))
        return job, engine

    def _answer(self, block: Any, report: Report) -> Any:
        if self._task.kind == "frame":
            positions, frame = loads(block.column(ROWS)[0].as_py())
            run = self._run(frame, report)
            report.rows, report.store = positions, run.store
            return report.packed()
        if self._task.kind == "parts":
            assert self._task.resume is not None
            return self._part(block, self._task.resume, report)
        run = self._run(self._frame(block), report)
        outputs, lines = outcome_of(run)
        report.outcome = (b"", to_bytes(lines))
        return _with_report(with_columns(block, outputs), report)

    def _part(self, table: Any, resume: Resume, report: Report) -> Any:
        number = report.number
        known, todo = resume.known.get(number), None
        columns = list(self._job.source.columns)
        if known is not None:
            begin, file = number * resume.part_rows, f"{resume.folder}/part-{number:05d}.parquet"
            check_alike(known, table, columns, begin, resume.source, file)
            todo = _to_do(resume, number, table.num_rows)
            if not len(todo):
                report.kept = True
                report.stats, report.about = Run(self._job, self._engine).stats(), self._about
                return report.packed()
        frame = self._frame(table if todo is None else table.take(todo))
        run = self._run(frame, report)
        outputs, lines = outcome_of(run)
        report.todo, report.rows, report.mark = (
            todo,
            to_bytes(table),
            fingerprint_of(table, columns),
        )
        report.outcome = (to_bytes(outputs), to_bytes(lines))
        return report.packed()

    def _frame(self, table: Any) -> Any:
        columns = list(self._job.source.columns)
        frame = to_pandas(table.select(columns), columns)
        if self._job.nulls == "raise":
            refuse_nulls(frame, columns)
        return frame

    def _run(self, frame: Any, report: Report) -> Run:
        """Run over a frame, and note in the report what was measured."""
        run = Run(dataclasses.replace(self._job, frame=frame), self._engine)
        report.begun = not told_to_stop(self._board, report.block)
        if report.begun:
            run.wait(Poster(self._board, report.block, run))
        report.ended = time.time()
        report.journaled = run.journaled
        report.stats = dataclasses.replace(run.stats(), memory=())
        report.about = self._about
        return run


def _plain(what: dict[str, Any]) -> Any:
    """Return what decides outputs as the folder's JSON has it."""
    return json.loads(json.dumps(what, default=str))


def _to_do(resume: Resume, number: int, rows: int) -> Positions:
    """Return the positions of a part's rows that are to be computed, though it is there."""
    import numpy as np

    again = resume.again.get(number, np.arange(0))
    return np.concatenate([again, np.arange(resume.known[number].rows, rows)])


def _number_of_block() -> int:
    """Return which block of the Dataset this is; Ray Data counts them in their order.

    Ray's public API (2.60) tells a task's id, which is another one when it is tried again, and
    `map_batches` passes no number: this is the one place that needs a private name of Ray.
    """
    from ray.data._internal.execution.interfaces import TaskContext

    context = TaskContext.get_current()
    assert context is not None
    return int(context.task_idx)


def _with_report(table: Any, report: Report) -> Any:
    import pyarrow as pa

    cells = pa.array([report.as_bytes(), *[None] * (table.num_rows - 1)], pa.large_binary())
    return table.append_column(REPORT, cells)


def _use_cores(count: int) -> None:
    """Have what computes take so many threads, and not one for each core of the machine."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
