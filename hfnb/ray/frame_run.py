"""A run over a frame on a cluster: what a local `hfnb.frame.runner.Run` is for its result."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from hfnb.frame.job import Job
from hfnb.frame.prepare import Checked
from hfnb.frame.progress import Display, Progress
from hfnb.frame.stats import RunStats, of_rows
from hfnb.frame.store import RowStore
from hfnb.ray.board import Under
from hfnb.ray.cluster import Workers
from hfnb.ray.flow import Block, Flow
from hfnb.ray.no_stats import no_stats
from hfnb.ray.pickles import dumps
from hfnb.ray.sizing import prompt_bytes, rows_of_a_block
from hfnb.ray.tally import Tally
from hfnb.ray.task import Task
from hfnb.ray.worker import ROWS

_SAMPLE = 64


class FrameRun:
    """A run over a frame, computed by the workers of a cluster.

    Args:
        checked: What to do, with the frame.
        task: What the workers are sent.
        workers: How many there may be.
        store: The rows; given where a run goes on with another one's.
        only: The positions of the rows to run; ``None`` for all.
    """

    journaled = False

    def __init__(
        self,
        checked: Checked,
        task: Task,
        workers: Workers,
        store: RowStore | None = None,
        only: Sequence[int] | None = None,
    ) -> None:
        self.job = checked.job
        self.store = RowStore(len(self.job.frame)) if store is None else store
        self.began = time.time()
        self.options: Mapping[str, Any] = self.job.generation.as_dict()
        self.fingerprint = ""
        self.running = True
        self._checked = checked
        self._task = task
        self._workers = workers
        self._only = np.arange(self.store.size) if only is None else np.asarray(only, dtype=np.intp)
        self._tally = Tally()
        self._under: Mapping[str, Under] = {}
        self._start = time.perf_counter()
        self._wall_s: float | None = None

    @property
    def engine(self) -> Any:
        """What stands for the model, which is with the workers."""
        return SimpleNamespace(info=SimpleNamespace(model=self.stats().model), of=self)

    def again(self, job: Job, engine: Any, rows: Sequence[int]) -> FrameRun:
        """Return a run that computes some of the rows anew, on the cluster too."""
        from hfnb.ray.model import portable

        sent = self._task.checked
        model = sent.model if getattr(engine, "of", None) is self else portable(engine)
        options = {**sent.options, **job.generation.as_dict()}
        options.pop("grammar", None)  # the job's schema brings it
        chat = self.stats().chat if sent.chat is None else sent.chat
        bare = dataclasses.replace(job, frame=job.frame.iloc[:0], given=None)
        task = dataclasses.replace(
            self._task, checked=sent._replace(job=bare, model=model, options=options, chat=chat)
        )
        checked = self._checked._replace(job=job)
        return FrameRun(checked, task, self._workers, self.store.without(rows), rows)

    def start(self) -> None:
        """Do nothing: `wait` starts it."""

    def cancel(self) -> None:
        """Do nothing: an interrupt of `wait` ends it."""

    def progress(self) -> Progress:
        """Return how far the run is, with the blocks that are being computed."""
        wall = time.perf_counter() - self._start if self._wall_s is None else self._wall_s
        store, under = self.store, list(self._under.values())
        return Progress(
            store.done + sum(each.done for each in under),
            store.size,
            store.failed + sum(each.failed for each in under),
            wall,
            store.reused + sum(each.reused for each in under),
            store.answered + sum(each.answered for each in under),
        )

    def wait(self, display: Display, warn: Callable[[str], Any] | None = None) -> None:
        """Run, and wait for the end.

        Raises:
            KeyboardInterrupt: As it came.
            Exception: What made the run fail as a whole.
        """
        if not self.running:
            return
        try:
            if len(self._only):
                flow = Flow(self._dataset(), self._task, self._workers, ordered=False)
                flow.run(self._take, display, self._progress)
        except BaseException:
            with contextlib.suppress(BaseException):
                self._end(display)
            raise
        self._end(display)

    def stats(self) -> RunStats:
        """Return what is measured by now: of the rows over all, of the work over all workers."""
        stats = self._tally.stats(no_stats(self._checked), self.progress().elapsed_s)
        return dataclasses.replace(stats, **of_rows(self.store))

    def _dataset(self) -> Any:
        """Return the rows as a Dataset: a cell with the pickled rows for each block."""
        import pyarrow as pa
        import ray

        job, only = self.job, self._only
        frame = job.frame[list(job.source.columns)]
        shown = list(job.source.rows(frame.iloc[only[:_SAMPLE]], "empty"))
        size = rows_of_a_block(
            prompt_bytes(shown), job.generation, rows=len(only), workers=self._workers.most
        )
        blocks = []
        for begin in range(0, len(only), size):
            positions = only[begin : begin + size]
            cell = dumps((positions, frame.iloc[positions]))
            blocks.append(pa.table({ROWS: pa.array([cell], pa.large_binary())}))
        return ray.data.from_arrow(blocks)

    def _take(self, block: Block) -> None:
        report = block.report
        assert report.store is not None
        self.store.absorb(report.rows, report.store)
        self._tally.add(report)
        self.journaled |= report.journaled
        self.fingerprint = report.about["run"]["model"]["fingerprint"]
        self.options = report.about["run"]["options"]

    def _progress(self, under: Mapping[str, Under]) -> Progress:
        self._under = under
        return self.progress()

    def _end(self, display: Display) -> None:
        self._under = {}
        self._wall_s = time.perf_counter() - self._start
        self.running = False
        display.close(self.progress())
