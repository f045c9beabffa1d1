"""Run a prompt over a DataFrame: one worker, one event that cancels it, one store for the rows."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import numpy as np
import pandas as pd

from hfnb.engines.base import Chat, Completion, Engine, Message, Prompt, Request, Work
from hfnb.errors import RowError
from hfnb.frame.progress import DRAW_EVERY_S, Display, Progress
from hfnb.frame.prompts import PromptSource
from hfnb.frame.result import RunResult
from hfnb.frame.stats import RunStats
from hfnb.frame.store import RowStore
from hfnb.frame.template import Skipped
from hfnb.measure import MemorySampler
from hfnb.spec import GenerationSpec


class Run:
    """One run, from its start to its result. `hfnb.run` makes it and waits for it."""

    def __init__(
        self,
        frame: pd.DataFrame,
        source: PromptSource,
        engine: Engine,
        generation: GenerationSpec,
        *,
        into: str,
        after: Callable[[str], Any] | None = None,
        chat: bool = False,
        template_options: Mapping[str, Any] | None = None,
        system: str | None = None,
        nulls: str = "skip",
        on_error: str = "keep",
        batch_size: int | Literal["auto"] = "auto",
    ) -> None:
        self._frame = frame
        self._source = source
        self._engine = engine
        self._generation = generation
        self._into = into
        self._after = after
        self._chat = chat
        self._template_options = template_options or {}
        self._system = (Message("system", system),) if system else ()
        self._messages = False
        """Whether the prompts turned out to be messages already."""
        self._nulls = nulls
        self._on_error = on_error
        self._batch_size = batch_size
        self._store = RowStore(len(frame))
        self._work = Work()
        self._memory = MemorySampler()
        self._cancel = threading.Event()
        self._finished = threading.Event()
        self._problem: BaseException | None = None
        self._began = time.perf_counter()
        self._ended: float | None = None
        self._thread = threading.Thread(target=self._worker, name="hfnb-run", daemon=True)

    def start(self) -> None:
        """Start the worker."""
        self._thread.start()

    def cancel(self) -> None:
        """Ask the worker to end after its current decoding step."""
        self._cancel.set()

    def progress(self) -> Progress:
        """Return how far the run is."""
        until = time.perf_counter() if self._ended is None else self._ended
        return Progress(self._store.done, self._store.size, self._store.failed, until - self._began)

    def wait(self, display: Display) -> RunResult:
        """Wait for the end, drawing meanwhile. Starts the worker where `start` has not.

        Raises:
            KeyboardInterrupt: As it came, with the partial result as its ``result``.
            Exception: What made the run fail as a whole, or what the display raised, with the
                partial result likewise.
        """
        try:
            if self._thread.ident is None:
                self.start()
            while not self._finished.wait(DRAW_EVERY_S):
                display.update(self.progress())
            self._thread.join()
            if self._problem is not None:
                raise self._problem
            display.close(self.progress())
        except BaseException as problem:
            self.cancel()
            # A second interrupt does not wait for a step that takes long; the worker is a daemon.
            # A RuntimeError says that the first one came before the worker had begun.
            with contextlib.suppress(KeyboardInterrupt, RuntimeError):
                self._thread.join()
            # What a display or the user's function raises must not hide the first problem.
            with contextlib.suppress(BaseException):
                display.close(self.progress())
            problem.result = self.result()  # type: ignore[attr-defined]
            raise
        return self.result()

    def result(self) -> RunResult:
        """Return what is known by now."""
        return RunResult(
            self._frame,
            self._store,
            self._stats(),
            into=self._into,
            columns=self._source.columns,
        )

    # -- in the worker ----------------------------------------------------------------------------

    def _worker(self) -> None:
        try:
            with self._memory:
                self._answer_all()
        except BaseException as problem:
            self._problem = problem
        finally:
            self._ended = time.perf_counter()
            self._finished.set()

    def _answer_all(self) -> None:
        completions = self._engine.generate(
            self._requests(),
            self._generation,
            batch_size=self._batch_size,
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

    def _requests(self) -> Iterator[Request]:
        """Render the rows as the engine draws them, and note those that get no prompt."""
        for at, prompt in enumerate(self._source.rows(self._frame, self._nulls)):
            if prompt == "":
                self._store.skip(at, "the prompt is empty")
            elif isinstance(prompt, str):
                yield Request(at, self._as_chat(prompt) if self._chat else prompt)
            elif isinstance(prompt, Skipped):
                self._store.skip(at, prompt.reason)
            elif isinstance(prompt, RowError):
                self._fail(at, prompt)
            else:
                self._messages = True
                messages = (*self._system, *prompt.messages)
                yield Request(at, Chat(messages, options=self._template_options))

    def _as_chat(self, prompt: str) -> Prompt:
        messages = (*self._system, Message("user", prompt))
        return Chat(messages, options=self._template_options)

    def _take(self, completion: Completion) -> None:
        output: Any = completion.text
        if completion.error is not None:
            if self._on_error == "raise":
                self._store.put(completion, None)
                raise completion.error
        elif self._after is not None:
            try:
                output = self._after(completion.text or "")
            except Exception as error:  # the user's own parser runs here
                problem = RowError(
                    f"The chain failed on the model's text {completion.text!r}: "
                    f"{type(error).__name__}: {error}"
                )
                problem.__cause__ = error
                completion = completion._replace(error=problem)
                if self._on_error == "raise":
                    self._store.put(completion, None)
                    raise problem from error
        self._store.put(completion, output)

    def _fail(self, at: int, error: RowError) -> None:
        self._store.fail(at, error)
        if self._on_error == "raise":
            raise error

    # -- figures ----------------------------------------------------------------------------------

    def _stats(self) -> RunStats:
        store, work, info = self._store, self._work, self._engine.info
        wall = max(self.progress().elapsed_s, 1e-9)
        tokens_in, tokens_out = store.tokens()
        latencies = store.latencies()
        p50, p95 = (
            (float(each) for each in np.percentile(latencies, [50, 95]))
            if len(latencies)
            else (None, None)
        )
        computed = work.prompt_tokens + work.padding_tokens
        ok = store.count("ok")
        return RunStats(
            rows=store.size,
            ok=ok,
            failed=store.count("error"),
            skipped=store.count("skipped"),
            cancelled=store.count("cancelled"),
            cut_off=store.cut_off(),
            load_s=info.load_s,
            wall_s=wall,
            rows_per_s=ok / wall,
            tokens_in=tokens_in,
            tokens_out=tokens_out,
            tokens_per_s=tokens_out / wall,
            latency_p50_s=p50,
            latency_p95_s=p95,
            latency_shared=store.shared(),
            padding=work.padding_tokens / computed if computed else 0.0,
            peak_rss_bytes=self._memory.peak_bytes,
            run_rss_bytes=max(0, self._memory.peak_bytes - self._memory.start_bytes),
            peak_device_bytes=self._memory.peak_device_bytes if info.device != "cpu" else None,
            model=info.model,
            engine=info.engine,
            path=work.path,
            backend=info.backend,
            device=info.device,
            dtype=info.dtype,
            note=info.note,
            batches=work.batches,
            batch_rows=work.batch_rows,
            forwards=work.forwards,
            recomputed_rows=work.recomputed_rows,
            chat=self._chat or self._messages,
            memory=tuple(self._memory.samples),
        )
