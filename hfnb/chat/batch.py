"""Many chats in one call of the engine, each with its own callbacks and its place in the cache."""

from __future__ import annotations

import abc
import contextlib
import dataclasses
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManager, Callbacks
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumps
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGeneration, Generation, LLMResult, RunInfo
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_config_list
from langchain_core.utils.function_calling import convert_to_json_schema
from langchain_core.utils.utils import LC_ID_PREFIX

from hfnb.chat.call import Call
from hfnb.engines.base import Chat
from hfnb.errors import OptionError
from hfnb.llm_batch import Asked, Batch, BatchRow, TogetherMixin

Messages = Sequence[BaseMessage]


class ChatBatch(Batch[Messages, ChatGeneration]):
    """Chats that are answered together.

    Args:
        model: The chat model.
        inputs: Each one's messages, or why it has none.
        configs: Each one's callbacks, tags, metadata, ``run_name`` and ``run_id``.
        stop: Stop strings.
        kwargs: The call's options.
    """

    def __init__(
        self,
        model: TogetherChatModel,
        inputs: Sequence[Messages | Exception],
        configs: Sequence[RunnableConfig],
        stop: Sequence[str] | None,
        kwargs: Mapping[str, Any],
    ) -> None:
        super().__init__(model, inputs, configs)
        self._stop = None if stop is None else list(stop)
        self._kwargs = dict(kwargs)
        self._format = _format_for_tracing(self._kwargs)
        self._call: Call | None = None
        self._chats: dict[int, Chat] = {}
        self.run_ids: dict[int, uuid.UUID] = {}
        """The ids of the rows' runs, by their places."""

    def start(self, manager: Any, value: Messages, told: dict[str, Any]) -> Any:
        """Tell callbacks that a row starts."""
        return manager.on_chat_model_start(self.model._serialized, [list(value)], **told)

    def metadata(self) -> dict[str, Any]:
        """Return what tracers are told of the model."""
        params = self.model._get_ls_params(stop=self._stop, **self._kwargs)
        return {**params, "ls_integration": "langchain_chat_model"}

    def told(self) -> dict[str, Any]:
        """Return what callbacks are told of the call."""
        params = self.model._get_invocation_params(stop=self._stop, **self._kwargs)
        return {"invocation_params": params, "options": {"stop": self._stop, **self._format}}

    def cache_key(self) -> str:
        """Return what the LLM cache keys the model's settings by, as LangChain does."""
        return str(self.model._get_llm_string(stop=self._stop, **self._kwargs))

    def prompt_key(self, value: Messages) -> str:
        """Return what the LLM cache keys messages by, as LangChain does."""
        return dumps(
            [each if each.id is None else each.model_copy(update={"id": None}) for each in value]
        )

    def cached(self, found: Sequence[Generation]) -> list[ChatGeneration]:
        """Return what the cache has, as messages."""
        return list(self.model._convert_cached_generations(list(found)))

    def ask(self, rows: Sequence[BatchRow[Messages]]) -> Asked[Messages]:
        """Return what the engine is asked."""
        call = self._call = self.model._call_of(self._stop, self._kwargs)
        failed: list[tuple[BatchRow[Messages], Exception]] = []
        for row in rows:
            try:
                self._chats[row.index] = call.chat(row.input)
            except OptionError as error:
                failed.append((row, error))
        return dataclasses.replace(call.ask(self._chats), failed=failed)

    def read(self, row: BatchRow[Messages]) -> list[ChatGeneration]:
        """Return a row's answers as messages."""
        assert self._call is not None
        made = self._call.generations(self._chats[row.index], row.answers)
        for at, generation in enumerate(made):
            message = generation.message
            message.id = f"{LC_ID_PREFIX}-{row.manager.run_id}-{at}"
            if self.model.output_version == "v1":
                content: Any = message.content_blocks
                metadata = {**message.response_metadata, "output_version": "v1"}
                changed = {"content": content, "response_metadata": metadata}
                generation.message = message.model_copy(update=changed)
        return made

    def _wait(self, index: int, value: Messages, manager: Any) -> BatchRow[Messages]:
        self.run_ids[index] = manager.run_id
        return super()._wait(index, value, manager)


class TogetherChatModel(TogetherMixin, BaseChatModel):
    """A chat model whose batches are computed together."""

    @abc.abstractmethod
    def _call_of(self, stop: Sequence[str] | None, kwargs: Mapping[str, Any]) -> Call:
        """Read the options of a call."""

    def _together(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> ChatBatch:
        rows: list[Messages | Exception] = []
        for each in inputs:
            try:
                rows.append(self._convert_input(each).to_messages())
            except Exception as error:  # the caller decides what becomes of it
                rows.append(error)
        return ChatBatch(self, rows, configs, options.pop("stop", None), options)

    def _output(self, generation: Any) -> Any:
        return generation.message

    def _streams(self, configs: Sequence[Any], *, is_async: bool, **kwargs: Any) -> bool:
        """Whether somebody listens for each token, for whom LangChain streams row by row."""
        protocol = getattr(self, "_should_use_protocol_streaming", lambda **_: False)
        for config in configs:
            manager: Any = CallbackManager.configure(config.get("callbacks"), self.callbacks)
            told = {"async_api": is_async, "run_manager": manager, **kwargs}
            if self._should_stream(**told) or protocol(**told):
                return True
        return False

    def batch_as_completed(
        self,
        inputs: Sequence[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> Iterator[tuple[int, Any]]:
        """Yield each input's place and answer as soon as it is there; see `batch`."""
        configs = get_config_list(config, len(inputs))
        kwargs["return_exceptions"] = return_exceptions
        if self._streams(configs, is_async=False, **kwargs):
            yield from super(TogetherMixin, self).batch_as_completed(inputs, configs, **kwargs)
        else:
            yield from super().batch_as_completed(inputs, configs, **kwargs)

    async def abatch_as_completed(
        self,
        inputs: Sequence[Any],
        config: RunnableConfig | Sequence[RunnableConfig] | None = None,
        *,
        return_exceptions: bool = False,
        **kwargs: Any,
    ) -> AsyncIterator[tuple[int, Any]]:
        """Yield each input's place and answer as soon as it is there; see `batch`."""
        configs = get_config_list(config, len(inputs))
        kwargs["return_exceptions"] = return_exceptions
        pairs: AsyncIterator[tuple[int, Any]]
        if self._streams(configs, is_async=True, **kwargs):
            pairs = super(TogetherMixin, self).abatch_as_completed(inputs, configs, **kwargs)
        else:
            pairs = super().abatch_as_completed(inputs, configs, **kwargs)
        async with contextlib.aclosing(pairs):  # type: ignore[type-var]
            async for pair in pairs:
                yield pair

    def generate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer many chats in one call of the engine; see ``BaseChatModel.generate``."""
        configs, options = _configs(len(messages), callbacks, kwargs)
        if len(messages) < 2 or self._streams(configs, is_async=False, **options):
            return super().generate(messages, stop, callbacks, **kwargs)
        batch = ChatBatch(self, messages, configs, stop, options)
        return _result(batch, dict(batch.run()))

    async def agenerate(
        self,
        messages: list[list[BaseMessage]],
        stop: list[str] | None = None,
        callbacks: Callbacks = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer many chats in one call of the engine; see ``BaseChatModel.agenerate``."""
        configs, options = _configs(len(messages), callbacks, kwargs)
        if len(messages) < 2 or self._streams(configs, is_async=True, **options):
            return await super().agenerate(messages, stop, callbacks, **kwargs)
        batch = ChatBatch(self, messages, configs, stop, options)
        return _result(batch, {index: outcome async for index, outcome in batch.arun()})


_OF_CONFIG = ("tags", "metadata", "run_name", "run_id")


def _configs(
    rows: int, callbacks: Callbacks, kwargs: Mapping[str, Any]
) -> tuple[list[RunnableConfig], dict[str, Any]]:
    """Return a configuration for each row of ``generate``, and the options of the call."""
    config: dict[str, Any] = {name: kwargs[name] for name in _OF_CONFIG if name in kwargs}
    config["callbacks"] = callbacks
    every: list[Any] = [config, *({**config, "run_id": None} for _ in range(rows - 1))][:rows]
    return every, {name: value for name, value in kwargs.items() if name not in _OF_CONFIG}


def _result(
    batch: ChatBatch, outcomes: Mapping[int, list[ChatGeneration] | Exception]
) -> LLMResult:
    """Return the outcomes in their order, or raise the first error."""
    generations: list[Any] = []
    for index in range(len(outcomes)):
        outcome = outcomes[index]
        if isinstance(outcome, Exception):
            raise outcome
        generations.append(outcome)
    runs = [RunInfo(run_id=batch.run_ids[index]) for index in range(len(outcomes))]
    return LLMResult(generations=generations, llm_output={}, run=runs)


def _format_for_tracing(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Take what is only for tracers out of a call's options: the schema of structured output."""
    told = kwargs.pop("ls_structured_output_format", None)
    if not told:
        return {}
    try:
        schema = convert_to_json_schema(told["schema"])
    except ValueError:
        return {}
    return {"ls_structured_output_format": {"kwargs": told.get("kwargs", {}), "schema": schema}}
