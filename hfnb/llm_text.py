"""Prompts of text as batches, and what an engine answers as LangChain's generations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_core.outputs import Generation, GenerationChunk
from langchain_core.prompt_values import ChatPromptValue
from langchain_core.runnables import RunnableConfig

from hfnb.engines.base import Completion, Delta
from hfnb.llm_batch import Asked, Batch, BatchRow


class Said(str):
    """The text of messages, as LangChain writes it for models that take text, and the messages."""

    messages: Sequence[Any]


class SaidValue(ChatPromptValue):
    """Messages whose text keeps them."""

    def to_string(self) -> str:
        """Return the messages' text, which has them beside it."""
        text = Said(super().to_string())
        text.messages = self.messages
        return text


class TextBatch(Batch[str, Generation]):
    """Prompts that are answered together."""

    def __init__(
        self,
        model: Any,
        prompts: Sequence[str | Exception],
        configs: Sequence[RunnableConfig],
        stop: Sequence[str] | None,
    ) -> None:
        super().__init__(model, prompts, configs)
        self._stop = stop
        self._params = {**model._dict_for_compat(), "stop": stop}

    def start(self, manager: Any, value: str, told: dict[str, Any]) -> Any:
        """Tell callbacks that a row starts."""
        return manager.on_llm_start(self.model._serialized, [value], **told)

    def metadata(self) -> dict[str, Any]:
        """Return nothing: LangChain tells tracers of an LLM by its parameters."""
        return {}

    def told(self) -> dict[str, Any]:
        """Return what callbacks are told of the call."""
        return {"invocation_params": self._params, "options": {"stop": self._stop}}

    def cache_key(self) -> str:
        """Return what the LLM cache keys the model's settings by, as LangChain does."""
        return str(sorted(self._params.items()))

    def prompt_key(self, value: str) -> str:
        """Return what the LLM cache keys a prompt by: itself."""
        return value

    def ask(self, rows: Sequence[BatchRow[str]]) -> Asked[str]:
        """Return what the engine is asked."""
        asked: Asked[str] = self.model._ask(
            [row.input for row in rows], self._stop, [row.index for row in rows]
        )
        return asked

    def read(self, row: BatchRow[str]) -> list[Generation]:
        """Return a row's answers as generations."""
        return [self.model._generation(answer, row.input) for answer in row.answers]


def chunk_of(piece: Completion | Delta) -> GenerationChunk:
    """Return a piece as LangChain wants it; the last one says how the answer ended."""
    if isinstance(piece, Delta):
        return GenerationChunk(text=piece.text)
    if piece.error is not None:
        raise piece.error
    return GenerationChunk(text="", generation_info=info_of(piece))


def info_of(answer: Completion) -> dict[str, Any]:
    """Return what LangChain calls ``generation_info``: how an answer ended, tokens and times."""
    info = {
        "finish_reason": answer.finish_reason,
        "prompt_tokens": answer.prompt_tokens,
        "new_tokens": answer.new_tokens,
        "queue_s": answer.queue_s,
        "latency_s": answer.latency_s,
        "batch_rows": answer.batch_rows,
    }
    if answer.truncated_tokens:
        info["truncated_tokens"] = answer.truncated_tokens
    return info
