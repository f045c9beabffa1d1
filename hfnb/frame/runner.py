"""Run a prompt over a DataFrame: one worker, one event that cancels it, one store for the rows."""

from __future__ import annotations

import contextlib
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any

from hfnb.engines.base import Chat, Completion, Engine, Prompt, Request, Work
from hfnb.engines.openmp import give_back_threads
from hfnb.errors import JournalWarning, PromptTooLongError, RowError
from hfnb.frame.cells import column_values
from hfnb.frame.fit import Fit
from hfnb.frame.identity import context_key, context_of, repeats
from hfnb.frame.job import Job
from hfnb.frame.journaling import RunJournal
from hfnb.frame.progress import DRAW_EVERY_S, Display, Progress
from hfnb.frame.prompts import Rendered
from hfnb.frame.reuse import Reuse
from hfnb.frame.stats import RunStats, stats_of
from hfnb.frame.store import RowStore
from hfnb.frame.template import Skipped
from hfnb.measure import MemorySampler

_SHORTEN = "too_long='truncate' (in a cell: --too-long truncate)"
"""What shortens prompts in a run over rows; an engine names its own option."""
_WINDOW = 1024
"""Rows whose prompts are looked up in the journal at a time, once the run is under way."""


class Run:
    """One run, from its start to its end. `hfnb.run` makes it and waits for it.

    Args:
        job: What is to be done.
        engine: The model that does it.
        store: The rows; given where a run goes on with another one's.
        only: The positions of the rows to run, in order; ``None`` for all.
    """

    def __init__(
        self,
        job: Job,
        engine: Engine,
        store: RowStore | None = None,
        only: Sequence[int] | None = None,
    ) -> None:
        self.job = job
        self.store = RowStore(len(job.frame)) if store is None else store
        self.drawn = threading.Event()
        """Set when the engine has been given the last row."""
        self.began = time.time()
        """Seconds since 1970."""
        self.options = {**engine.options_in_force(job.generation), **job.generation.as_dict()}
        """How it generates, the checkpoint's own options among them."""
        self.fingerprint = engine.fingerprint
        self._info = engine.info
        self._engine: Engine | None = engine
        self._gone: Callable[[], Engine | None] = weakref.ref(engine)
        self._only = only
        self._messages = False
        """Whether the prompts turned out to be messages already."""
        self._work = Work()
        self._memory = MemorySampler()
        self._cancel = threading.Event()
        self._finished = threading.Event()
        self._problem: BaseException | None = None
        self._start = time.perf_counter()
        self._ended: float | None = None
        self._journal = self._open_journal(engine)
        self._reuse: Reuse | None = None
        if repeats(job.generation):
            self._reuse = Reuse(self.store, self._finish, self._journal)
        self._fit: Fit | None = None
        if job.too_long != "error":
            self._fit = Fit(engine, job.generation, job.too_long)
        self._thread = threading.Thread(target=self._worker, name="hfnb-run", daemon=True)

    @property
    def engine(self) -> Engine | None:
        """The model; after the run, only while somebody else has it in memory."""
        return self._engine or self._gone()

    @property
    def work(self) -> Work:
        """What the engine has computed."""
        return self._work

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return not self._finished.is_set()

    def again(self, job: Job, engine: Engine, rows: Sequence[int]) -> Run:
        """Return a run that computes some of the rows anew, and keeps the others."""
        return Run(job, engine, self.store.without(rows), rows)

    def start(self) -> None:
        """Start the worker, which computes in the place of the calling thread."""
        give_back_threads()
        self._thread.start()

    def cancel(self) -> None:
        """Ask the worker to end after its current decoding step."""
        self._cancel.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end, but no longer than so many seconds."""
        self._finished.wait(timeout_s)

    def progress(self) -> Progress:
        """Return how far the run is."""
        until = time.perf_counter() if self._ended is None else self._ended
        store = self.store
        return Progress(
            store.done,
            store.size,
            store.failed,
            until - self._start,
            store.reused,
            store.answered,
        )

    def wait(self, display: Display, warn: Callable[[str], Any] | None = None) -> None:
        """Wait for the end, drawing meanwhile. Starts the worker where `start` has not.

        Args:
            display: What is drawn on.
            warn: Called with what is wrong with the journal; ``None`` warns as Python does.

        Raises:
            KeyboardInterrupt: As it came.
            Exception: What made the run fail as a whole, or what the display raised.
        """
        try:
            if self._thread.ident is None:
                self.start()
            while not self._finished.wait(DRAW_EVERY_S):
                display.update(self.progress())
                self._warn(warn)
            self._thread.join()
            self._warn(warn)
            if self._problem is not None:
                raise self._problem
            display.close(self.progress())
        except BaseException:
            self.cancel()
            # A second interrupt does not wait for a step that takes long; the worker is a daemon.
            # One that comes just before a wait begins is seen only when the wait is over: so short
            # ones.
            with contextlib.suppress(KeyboardInterrupt):
                while self._thread.is_alive():
                    self._thread.join(DRAW_EVERY_S)
            # What a display or the user's function raises must not hide the first problem.
            with contextlib.suppress(BaseException):
                display.close(self.progress())
            raise

    def stats(self) -> RunStats:
        """Return what is measured by now."""
        return stats_of(
            self.store,
            self._work,
            self._info,
            self._memory,
            wall_s=self.progress().elapsed_s,
            chat=self.job.chat or self._messages,
        )

    @property
    def journaled(self) -> bool:
        """Whether the journal keeps what is finished, so that the same run again goes on."""
        return self._journal is not None

    def _warn(self, warn: Callable[[str], Any] | None) -> None:
        problem = None if self._journal is None else self._journal.take_problem()
        if problem is None:
            return
        if warn is not None:
            warn(problem)
        else:
            warnings.warn(problem, JournalWarning, stacklevel=2)

    def _open_journal(self, engine: Engine) -> RunJournal | None:
        job = self.job
        if job.journal is None or not len(job.frame):
            return None
        context = context_of(engine, self.fingerprint, job.generation)
        if context is None:
            return None
        return RunJournal(job.journal, context, context_key(context))

    # -- in the worker ----------------------------------------------------------------------------

    def _worker(self) -> None:
        try:
            with self._memory:
                self._answer_all()
        except BaseException as problem:
            self._problem = problem
        finally:
            self._ended = time.perf_counter()
            self.drawn.set()
            # A result must not keep a model in memory, nor what only the run itself needs.
            self._engine = self._fit = self._reuse = None
            self._finished.set()

    def _answer_all(self) -> None:
        assert self._engine is not None
        completions = self._engine.generate(
            self._requests(),
            self.job.generation,
            batch_size=self.job.batch_size,
            cancel=self._cancel,
            work=self._work,
        )
        try:
            for completion in completions:
                if isinstance(completion, Completion):
                    self._take(completion)
        finally:
            # Now, not when the last traceback that holds it goes: it may hold a device's memory.
            close = getattr(completions, "close", None)
            if close is not None:
                close()
            if self._journal is not None:
                self._journal.close()

    def _requests(self) -> Iterator[Request]:
        """Make requests of the rows as the engine draws them, but for what need not be computed."""
        requests, size = self._of_rows(), 1
        while window := list(islice(requests, size)):
            yield from window if self._reuse is None else self._reuse.sift(window)
            size = min(2 * size, _WINDOW)  # the first rows need not wait for many others
        self.drawn.set()

    def _of_rows(self) -> Iterator[Request]:
        """Render the rows, and note those that get no prompt."""
        job, frame = self.job, self.job.frame
        positions: Iterable[int] = range(len(frame))
        if self._only is not None:
            positions, frame = self._only, frame.iloc[list(self._only)]
        for at, rendered in zip(positions, job.source.rows(frame, job.nulls), strict=True):
            prompt = self._prompt(at, rendered)
            if isinstance(prompt, Skipped):
                self.store.skip(at, prompt.reason)
            elif isinstance(prompt, RowError):
                self._fail(at, prompt)
            else:
                yield Request(at, prompt)

    def _prompt(self, at: int, rendered: Rendered) -> Rendered:
        """Return what the engine gets for a row, or why it gets nothing."""
        if rendered == "":
            return Skipped("the prompt is empty")
        if isinstance(rendered, (Skipped, RowError)):
            return rendered
        self._messages |= isinstance(rendered, Chat)
        prompt = self.job.prompt_for(rendered)
        if self._fit is None:
            return prompt
        fitted = self._fit.check(prompt, partial(self._cells, at), self._made_of)
        if fitted.lost:
            self.store.truncated(at, fitted.lost)
        return fitted.prompt

    def _cells(self, at: int) -> dict[str, Any]:
        """Return the values of a row's columns."""
        frame = self.job.frame.iloc[[at]]
        return {name: column_values(frame[name])[0] for name in self.job.source.columns}

    def _made_of(self, cells: Mapping[str, Any]) -> Prompt | RowError:
        """Return the prompt that a row with these values would get."""
        rendered = self.job.source.render(cells, "empty")
        assert not isinstance(rendered, Skipped)
        return rendered if isinstance(rendered, RowError) else self.job.prompt_for(rendered)

    def _take(self, completion: Completion) -> None:
        finished, output = self._finish(completion)
        if self._reuse is None:
            self.store.put(finished, output)
        else:
            self._reuse.done(finished, output)

    def _finish(self, completion: Completion) -> tuple[Completion, Any]:
        """Return a completion as the user gets it, and its output."""
        if completion.error is None and self.job.structure is not None:
            completion = self.job.structure.read(completion)
        output: Any = completion.text
        problem = completion.error
        if problem is None and self.job.after is not None:
            try:
                output = self.job.after(completion.text or "")
            except Exception as error:  # the user's own parser runs here
                problem = RowError(
                    f"The chain failed on the model's text {completion.text!r}: "
                    f"{type(error).__name__}: {error}"
                )
                problem.__cause__ = error
                completion = completion._replace(error=problem)
        if isinstance(problem, PromptTooLongError) and problem.option is not None:
            problem = problem.with_option(_SHORTEN)
            completion = completion._replace(error=problem)
        if problem is not None and self.job.on_error == "raise":
            self.store.put(completion, None)
            raise problem
        return completion, output

    def _fail(self, at: int, error: RowError) -> None:
        self.store.fail(at, error)
        if self.job.on_error == "raise":
            raise error
