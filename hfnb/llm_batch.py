"""Many inputs in one call of the engine, each with its own callbacks and its place in the cache.

LangChain's own ``batch`` gives every row the first row's error, and nothing before the last row is
there. Here each row has an outcome of its own, as soon as it is there.
"""

from __future__ import annotations

import contextlib
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Sequence
from typing import Any, Generic, Literal, TypeVar

from langchain_core.caches import BaseCache
from langchain_core.callbacks import AsyncCallbackManager, CallbackManager
from langchain_core.globals import get_llm_cache
from langchain_core.outputs import Generation, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list

from hfnb.engines.asynchronous import agenerate
from hfnb.engines.base import Completion, Delta, Engine, Request
from hfnb.errors import EngineError, OptionError
from hfnb.spec import GenerationSpec

Input = TypeVar("Input")
Made = TypeVar("Made", bound=Generation)


@dataclasses.dataclass
class BatchRow(Generic[Input]):
    """One input on its way."""

    index: int
    input: Input
    manager: Any
    """The callbacks of its run."""
    key: str = ""
    """Its prompt, as the LLM cache has it."""
    answers: list[Completion] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Asked(Generic[Input]):
    """What the engine is asked for a batch."""

    engine: Engine
    requests: list[Request]
    generation: GenerationSpec
    batch_size: int | Literal["auto"]
    copies: int = 1
    """How many answers each row gets."""
    failed: Sequence[tuple[BatchRow[Input], Exception]] = ()
    """Rows that can't be asked, and why."""

    def pieces(self, *, stream: bool = False) -> Generator[Completion | Delta, None, None]:
        """Yield what the engine answers; closing the generator ends the computation."""
        pieces = self.engine.generate(
            self.requests, self.generation, batch_size=self.batch_size, stream=stream
        )
        try:
            yield from pieces
        finally:
            if isinstance(pieces, Generator):
                pieces.close()

    def apieces(self, *, stream: bool = False) -> AsyncGenerator[Completion | Delta, None]:
        """Yield what the engine answers, without blocking the event loop."""
        return agenerate(
            self.engine,
            self.requests,
            self.generation,
            batch_size=self.batch_size,
            stream=stream,
        )


class Batch(ABC, Generic[Input, Made]):
    """The rows of one batch; `run` or `arun` yields each one's outcome as soon as it is there.

    Args:
        model: The LangChain model, for its callbacks, tags, cache and rate limiter.
        inputs: What each row asks, or why it can't.
        configs: Each one's callbacks, tags, metadata, ``run_name`` and ``run_id``. The first one's
            ``max_concurrency`` limits the rows computed together, beside the model's own limit.
    """

    def __init__(
        self,
        model: Any,
        inputs: Sequence[Input | Exception],
        configs: Sequence[RunnableConfig],
    ) -> None:
        self.model = model
        self._inputs = inputs
        self._configs = configs
        self._most_rows = configs[0].get("max_concurrency") if configs else None
        self._waiting: dict[int, BatchRow[Input]] = {}
        self._open = set(range(len(inputs)))
        """The rows that have no outcome yet."""
        self._cache = _cache_of(model)
        self._asked: Asked[Input] | None = None

    # -- what a kind of model does in its own way -------------------------------------------------

    @abstractmethod
    def start(self, manager: Any, value: Input, told: dict[str, Any]) -> Any:
        """Tell callbacks that a row starts; return its run manager, or an awaitable of it."""

    @abstractmethod
    def metadata(self) -> dict[str, Any]:
        """Return what tracers are told of the model."""

    @abstractmethod
    def told(self) -> dict[str, Any]:
        """Return what callbacks are told of the call: ``invocation_params`` and ``options``."""

    @abstractmethod
    def cache_key(self) -> str:
        """Return what the LLM cache keys the model's settings by."""

    @abstractmethod
    def prompt_key(self, value: Input) -> str:
        """Return what the LLM cache keys a prompt by."""

    @abstractmethod
    def ask(self, rows: Sequence[BatchRow[Input]]) -> Asked[Input]:
        """Return what the engine is asked for the rows that the cache does not have."""

    @abstractmethod
    def read(self, row: BatchRow[Input]) -> list[Made]:
        """Return a row's generations from its answers, of which none failed."""

    def cached(self, found: Sequence[Generation]) -> list[Made]:
        """Return what the cache has, as generations of this model."""
        return list(found)  # type: ignore[arg-type]

    # -- one way, and the same awaited ------------------------------------------------------------

    def run(self) -> Generator[tuple[int, list[Made] | Exception], None, None]:
        """Yield each row's place and outcome as they finish."""
        try:
            for index, value in enumerate(self._inputs):
                if isinstance(value, Exception):
                    self._open.discard(index)
                    yield index, value
                    continue
                (manager,) = self.start(
                    self._configured(index, CallbackManager), value, self._told(index)
                )
                row = self._wait(index, value, manager)
                if self._cache is not None:
                    found = self._cache.lookup(row.key, self.cache_key())
                    if isinstance(found, list):
                        yield self._finish(row, self.cached(found), store=False)
            if not self._waiting:
                return
            asked = self._ask()
            for row, error in asked.failed:
                yield self._finish(row, error)
            if self._limiter:
                for _ in self._waiting:
                    self._limiter.acquire(blocking=True)
            with contextlib.closing(asked.pieces()) as pieces:
                for piece in pieces:
                    if done := self._add(piece):
                        yield self._finish(done, self._outcome(done))
            for row in list(self._waiting.values()):
                yield self._finish(row, self._outcome(row))
        except BaseException as error:
            rows, self._waiting = list(self._waiting.values()), {}
            for row in rows:
                row.manager.on_llm_error(error, response=LLMResult(generations=[]))
            if not isinstance(error, Exception):
                raise
            for index in sorted(self._open):
                yield index, error

    def _finish(
        self, row: BatchRow[Input], outcome: list[Made] | Exception, *, store: bool = True
    ) -> tuple[int, list[Made] | Exception]:
        if isinstance(outcome, Exception):
            del self._waiting[row.index]
            row.manager.on_llm_error(outcome, response=LLMResult(generations=[]))
        else:
            if store and self._cache is not None:
                self._cache.update(row.key, self.cache_key(), list(outcome))
            del self._waiting[row.index]
            row.manager.on_llm_end(LLMResult(generations=[list(outcome)]))
        self._open.discard(row.index)
        return row.index, outcome

    async def arun(self) -> AsyncGenerator[tuple[int, list[Made] | Exception], None]:
        """Yield each row's place and outcome as they finish, without blocking the event loop."""
        try:
            for index, value in enumerate(self._inputs):
                if isinstance(value, Exception):
                    self._open.discard(index)
                    yield index, value
                    continue
                (manager,) = await self.start(
                    self._configured(index, AsyncCallbackManager), value, self._told(index)
                )
                row = self._wait(index, value, manager)
                if self._cache is not None:
                    found = await self._cache.alookup(row.key, self.cache_key())
                    if isinstance(found, list):
                        yield await self._afinish(row, self.cached(found), store=False)
            if not self._waiting:
                return
            asked = self._ask()
            for row, error in asked.failed:
                yield await self._afinish(row, error)
            if self._limiter:
                for _ in self._waiting:
                    await self._limiter.aacquire(blocking=True)
            async with contextlib.aclosing(asked.apieces()) as pieces:
                async for piece in pieces:
                    if done := self._add(piece):
                        yield await self._afinish(done, self._outcome(done))
            for row in list(self._waiting.values()):
                yield await self._afinish(row, self._outcome(row))
        except BaseException as error:
            rows, self._waiting = list(self._waiting.values()), {}
            for row in rows:
                await row.manager.on_llm_error(error, response=LLMResult(generations=[]))
            if not isinstance(error, Exception):
                raise
            for index in sorted(self._open):
                yield index, error

    async def _afinish(
        self, row: BatchRow[Input], outcome: list[Made] | Exception, *, store: bool = True
    ) -> tuple[int, list[Made] | Exception]:
        if isinstance(outcome, Exception):
            del self._waiting[row.index]
            await row.manager.on_llm_error(outcome, response=LLMResult(generations=[]))
        else:
            if store and self._cache is not None:
                await self._cache.aupdate(row.key, self.cache_key(), list(outcome))
            del self._waiting[row.index]
            await row.manager.on_llm_end(LLMResult(generations=[list(outcome)]))
        self._open.discard(row.index)
        return row.index, outcome

    # -- what both share --------------------------------------------------------------------------

    @property
    def _limiter(self) -> Any:
        return getattr(self.model, "rate_limiter", None)

    def _configured(self, index: int, kind: Any) -> Any:
        config, model = self._configs[index], self.model
        metadata = {**(config.get("metadata") or {}), **self.metadata()}
        return kind.configure(
            config.get("callbacks"),
            model.callbacks,
            model.verbose,
            config.get("tags"),
            model.tags,
            metadata or None,
            model.metadata,
        )

    def _told(self, index: int) -> dict[str, Any]:
        config = self._configs[index]
        return {
            **self.told(),
            "name": config.get("run_name"),
            "run_id": config.get("run_id"),
            "batch_size": len(self._inputs),
        }

    def _wait(self, index: int, value: Input, manager: Any) -> BatchRow[Input]:
        row = self._waiting[index] = BatchRow(index, value, manager)
        if self._cache is not None:
            row.key = self.prompt_key(value)
        return row

    def _ask(self) -> Asked[Input]:
        asked = self.ask(list(self._waiting.values()))
        if self._most_rows is not None:
            size = asked.batch_size
            limit = self._most_rows if size == "auto" else min(size, self._most_rows)
            asked = dataclasses.replace(asked, batch_size=limit)
        self._asked = asked
        return asked

    def _add(self, piece: Completion | Delta) -> BatchRow[Input] | None:
        """Take in an answer; return the row when that was its last."""
        row = self._waiting.get(piece.row)
        if isinstance(piece, Delta) or row is None or self._asked is None:
            return None
        row.answers.append(piece)
        return row if piece.error is not None or len(row.answers) == self._asked.copies else None

    def _outcome(self, row: BatchRow[Input]) -> list[Made] | Exception:
        if not row.answers:
            return EngineError("The engine ended without an answer to this prompt. Ask again.")
        row.answers.sort(key=lambda answer: answer.copy)
        for answer in row.answers:
            if answer.error is not None:
                return answer.error
        try:
            return self.read(row)
        except Exception as error:  # each row keeps its own
            return error


class TogetherMixin(ABC):
    """A LangChain model's methods for many inputs, answered in one call of the engine."""

    @abstractmethod
    def _together(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> Batch[Any, Any]:
        """Return the batch that answers these inputs."""

    @abstractmethod
    def _output(self, generation: Any) -> Any:
        """Return what a caller gets for an input's first generation."""

    def batch(
        self,
        inputs: Sequence[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Answer many inputs together.

        Args:
            inputs: Of any form that `invoke` takes.
            config: One for all, or one each. ``max_concurrency`` limits the rows at a time.
            return_exceptions: Put a failed row's exception in its place; otherwise the first is
                raised at once.
            **kwargs: Options of the call.

        Returns:
            The answers, in the inputs' order.
        """
        pairs = self.batch_as_completed(
            inputs, config, return_exceptions=return_exceptions, **kwargs
        )
        found = dict(pairs)
        return [found[at] for at in range(len(inputs))]

    async def abatch(
        self,
        inputs: Sequence[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> list[Any]:
        """Await what `batch` returns."""
        pairs = self.abatch_as_completed(
            inputs, config, return_exceptions=return_exceptions, **kwargs
        )
        found = {at: answer async for at, answer in pairs}
        return [found[at] for at in range(len(inputs))]

    def batch_as_completed(
        self,
        inputs: Sequence[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Yield each input's place and answer as soon as it is there; see `batch`."""
        if not inputs:
            return
        batch = self._together(inputs, get_config_list(config, len(inputs)), kwargs)
        with contextlib.closing(batch.run()) as outcomes:
            for at, outcome in outcomes:
                if not isinstance(outcome, Exception):
                    yield at, self._output(outcome[0])
                elif return_exceptions:
                    yield at, outcome
                else:
                    raise outcome

    async def abatch_as_completed(
        self,
        inputs: Sequence[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, Any]]:
        """Yield each input's place and answer as soon as it is there; see `batch`."""
        if not inputs:
            return
        batch = self._together(inputs, get_config_list(config, len(inputs)), kwargs)
        async with contextlib.aclosing(batch.arun()) as outcomes:
            async for at, outcome in outcomes:
                if not isinstance(outcome, Exception):
                    yield at, self._output(outcome[0])
                elif return_exceptions:
                    yield at, outcome
                else:
                    raise outcome


def _cache_of(model: Any) -> BaseCache | None:
    """Return the LLM cache in force: the model's own, LangChain's, or none."""
    if isinstance(model.cache, BaseCache):
        return model.cache
    if model.cache is False:
        return None
    found = get_llm_cache()
    if found is None and model.cache:
        raise OptionError(
            "cache=True, and LangChain has no cache: call langchain_core.globals.set_llm_cache, or "
            "give the cache itself."
        )
    return found
