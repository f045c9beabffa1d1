"""A Dataset's blocks as the workers finish them: taken one by one, drawn, and interrupted."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from hfnb.errors import ModelError
from hfnb.frame.progress import DRAW_EVERY_S, Display
from hfnb.ray.board import Under, open_board
from hfnb.ray.cluster import Workers
from hfnb.ray.quiet import quiet
from hfnb.ray.report import Report, unpacked
from hfnb.ray.task import Task
from hfnb.ray.worker import Worker

_IN_FLIGHT = 2
"""Blocks that a worker computes at a time, so that the model is not idle between them; as many wait
beside it."""
_STOPPING_S = 60.0
"""How long an interrupt waits for what the workers have finished of their blocks."""
_CLOSING_S = 10.0
"""How long the end of a run waits for the workers to be gone."""


class Block(NamedTuple):
    """A block that came back."""

    report: Report
    ref: Any
    """Ray's reference to it."""


class Flow:
    """Sends the rows of a Dataset to the workers, and gives what comes back.

    Args:
        dataset: The rows, in blocks.
        task: What to do with them.
        workers: How many there may be, and what each is given.
        ordered: Whether blocks come back, and are counted, in their order.
    """

    def __init__(self, dataset: Any, task: Task, workers: Workers, *, ordered: bool) -> None:
        import ray

        self._board = open_board()
        pool = ray.data.ActorPoolStrategy(
            min_size=workers.least,
            max_size=workers.most,
            max_tasks_in_flight_per_actor=2 * _IN_FLIGHT,
            max_concurrent_calls_per_actor=_IN_FLIGHT,
            enable_true_multi_threading=True,
        )
        gpus = {"num_gpus": workers.num_gpus} if workers.num_gpus else {}
        self.dataset = dataset.map_batches(
            Worker,
            batch_size=None,
            batch_format="pyarrow",
            compute=pool,
            fn_constructor_args=(task.packed(), self._board),
            num_cpus=workers.num_cpus,
            **gpus,
        )
        context = self.dataset.context
        context.execution_options.preserve_order = ordered
        context.enable_progress_bars = False  # hfnb draws its own
        context.print_on_execution_start = False
        context.execution_no_progress_timeout_s = -1  # a large model may take long for a block
        self._came: queue.Queue[Any] = queue.Queue(maxsize=2)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._fetch, name="hfnb-ray", daemon=True)
        self._under: dict[str, Under] = {}

    def run(self, take: Callable[[Block], Any], display: Display, progress: Any) -> None:
        """Take block after block until there is none left.

        Args:
            take: Called with each block.
            display: What is drawn on.
            progress: Called with what is being computed; returns how far the run is.

        Raises:
            KeyboardInterrupt: As it came, after what is finished was taken.
            Exception: What made the run fail as a whole.
        """
        with quiet():
            self._thread.start()
            try:
                self._take_all(take, display, progress)
            except BaseException:
                with contextlib.suppress(KeyboardInterrupt):  # a second one waits for nothing
                    self._stop(take)
                raise
            finally:
                self._close()

    def _take_all(self, take: Callable[[Block], Any], display: Display, progress: Any) -> None:
        shown_s = time.perf_counter()
        while True:
            with contextlib.suppress(queue.Empty):
                came = self._came.get(timeout=DRAW_EVERY_S)
                if came is None:
                    return
                self._take(came, take)
            if time.perf_counter() - shown_s >= DRAW_EVERY_S:
                self._look()
                display.update(progress(self._under))
                shown_s = time.perf_counter()

    def _take(self, came: Any, take: Callable[[Block], Any]) -> None:
        if isinstance(came, Exception):
            raise _readable(came)
        block: Block = came
        self._under.pop(block.report.block, None)
        self._board.end.remote(block.report.block)
        if block.report.problem is not None:
            raise block.report.problem
        take(block)

    def _look(self) -> None:
        """See on the board how far the blocks are that are being computed."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            self._under = ray.get(self._board.read.remote(), timeout=1)

    def _stop(self, take: Callable[[Block], Any]) -> None:
        """Have the workers end within a decoding step, and take what they have finished."""
        import ray

        until = time.monotonic() + _STOPPING_S
        with contextlib.suppress(ray.exceptions.RayError):
            awaited = set(ray.get(self._board.stop.remote(), timeout=5))
            while awaited and self._thread.is_alive() and time.monotonic() < until:
                with contextlib.suppress(queue.Empty):
                    came = self._came.get(timeout=DRAW_EVERY_S)
                    if not isinstance(came, Block):  # nothing comes after it
                        return
                    awaited.discard(came.report.block)
                    if came.report.problem is None and came.report.begun:
                        take(came)

    def _close(self) -> None:
        """End the Dataset's execution, and with it the workers."""
        import ray

        self._stopped.set()
        self._board.stop.remote()
        until = time.monotonic() + _CLOSING_S
        while self._thread.is_alive() and time.monotonic() < until:
            self._thread.join(DRAW_EVERY_S)
        if not self._thread.is_alive():  # else the workers are yet to be told
            ray.kill(self._board)

    # -- in the thread ----------------------------------------------------------------------------

    def _fetch(self) -> None:
        import ray

        bundles = None
        try:
            bundles = self.dataset.iter_internal_ref_bundles()
            for bundle in bundles:
                for entry in bundle.blocks:
                    self._put(Block(unpacked(ray.get(entry.ref)), entry.ref))
                if self._stopped.is_set():
                    break
            self._put(None)
        except Exception as problem:
            self._put(problem)
        finally:
            del bundles

    def _put(self, what: Any) -> None:
        while not self._stopped.is_set():
            with contextlib.suppress(queue.Full):
                self._came.put(what, timeout=0.1)
                return


def _readable(problem: Exception) -> Exception:
    """Return what Ray raised with what can be done about it."""
    said = str(problem)
    if "No module named 'hfnb" in said:
        return ModelError(
            "The workers have no hfnb. Install it in their image, or have Ray do so: "
            "runtime_env={'pip': ['hfnb']}; of a checkout, runtime_env={'py_modules': [hfnb]}."
        )
    return ModelError(f"Ray could not finish the run: {type(problem).__name__}: {said}")
