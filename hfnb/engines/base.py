"""The protocol that every engine keeps, and the data that goes in and comes out."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol, TypeGuard, runtime_checkable

from hfnb.errors import RowError
from hfnb.spec import GenerationSpec, Task

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Message(NamedTuple):
    """One message of a chat."""

    role: str
    """``"system"``, ``"user"``, ``"assistant"`` or ``"tool"``."""
    content: str
    fields: Mapping[str, Any] = _NOTHING
    """What chat templates read besides: ``tool_calls``, ``tool_call_id``, ``name``, ..."""


class Chat(NamedTuple):
    """Messages, and how the model's chat template is to render them."""

    messages: tuple[Message, ...]
    tools: tuple[Mapping[str, Any], ...] = ()
    """The functions that the model may call, as JSON schemas in OpenAI's form."""
    options: Mapping[str, Any] = _NOTHING
    """Further variables of the template, such as ``enable_thinking``."""
    prefill: bool = False
    """Whether the answer continues the last message, which is the assistant's."""


Prompt = str | Chat
"""Plain text, or messages for the model's chat template."""

FinishReason = Literal["eos", "stop", "length", "cancelled"]


class Request(NamedTuple):
    """One prompt to be answered.

    A named tuple, since a run makes one for every row.
    """

    row: int
    """The caller's own number for this request; its completion carries it back."""
    prompt: Prompt
    copy: int = 0
    """Tells apart several samples of one prompt, which must not be equal under one seed."""


class Completion(NamedTuple):
    """What an engine answers to one request."""

    row: int
    text: str | None
    """The new text, cut at the first stop string. ``None`` when the row failed before any."""
    finish_reason: FinishReason | None
    error: RowError | None = None
    prompt_tokens: int | None = None
    new_tokens: int | None = None
    queue_s: float | None = None
    """Seconds between the request's arrival and the start of its computation."""
    latency_s: float | None = None
    """Seconds between the start of its computation and its end."""
    batch_rows: int | None = None
    """The most rows that were computed together with this one, itself included."""
    copy: int = 0
    """The request's copy number, or which of several beams this is."""
    truncated_tokens: int = 0
    """Tokens that were taken out of a prompt too long, with ``truncation="value"``."""


class Delta(NamedTuple):
    """A piece of new text, yielded before the request's completion when streaming."""

    row: int
    text: str
    tokens: int


@dataclasses.dataclass(frozen=True)
class EngineInfo:
    """What really runs, for `RunStats` and the panel."""

    engine: str
    """The engine's name, such as ``"torch decoder"``."""
    backend: str
    model: str
    task: Task
    device: str
    dtype: str
    parameters: int
    context_length: int | None
    """The most tokens, prompt and answer together; ``None`` when the model has no limit."""
    has_chat_template: bool
    load_s: float
    chat_template: str = ""
    """The chat template's text, that with tools where there are several; empty if not known."""
    template_variables: frozenset[str] = frozenset()
    """The variables that the chat template reads, such as ``"tools"``."""
    note: str = ""
    """Why this engine, or what was chosen for the user."""
    weight_bytes: int = 0
    """Bytes of the model's weights in memory."""


@dataclasses.dataclass
class Work:
    """What an engine computed during one call. Tests count it, so that nothing needs a clock."""

    forwards: int = 0
    """Forward passes of the model."""
    prompt_tokens: int = 0
    """Prompt tokens that were computed."""
    shared_tokens: int = 0
    """Prompt tokens that were not computed, since another row had computed them."""
    padding_tokens: int = 0
    """Positions computed beside them only to make a batch rectangular."""
    new_tokens: int = 0
    """Tokens that were chosen, those that only end a row not counted."""
    batches: int = 0
    """Groups of prompts that were computed together."""
    batch_rows: int = 0
    """The most rows in one forward pass."""
    recomputed_rows: int = 0
    """Rows started again because a batch failed."""
    memory_backoffs: int = 0
    """Times that a batch was made smaller for want of memory."""
    path: str = ""
    """The way that was taken, where the engine has several, and why."""


@runtime_checkable
class Engine(Protocol):
    """Answers requests. Safe to be called from several threads."""

    @property
    def info(self) -> EngineInfo:
        """What really runs."""

    def generate(
        self,
        requests: Iterable[Request],
        generation: GenerationSpec,
        *,
        batch_size: int | Literal["auto"] = "auto",
        cancel: threading.Event | None = None,
        stream: bool = False,
        work: Work | None = None,
    ) -> Iterator[Completion | Delta]:
        """Yield one `Completion` a request, as they finish, in any order.

        With ``num_beams`` and ``num_return_sequences`` it is one for each of the best beams.

        A row that fails yields a completion with ``error``; only what makes every row fail is
        raised. Requests are drawn from the iterable as they are needed. Closing the generator, or
        setting ``cancel``, ends the computation within one decoding step; rows that were
        cancelled yield nothing.

        Args:
            requests: What to answer.
            generation: How to generate, the same for all of them.
            batch_size: The most rows at a time, or ``"auto"``.
            cancel: Set by another thread to end the call.
            stream: Yield a `Delta` for each piece of new text too.
            work: Filled with what was computed.
        """

    @property
    def fingerprint(self) -> str:
        """What tells this model from any other: the same as long as its files and weights are.

        Empty where that can't be told; nothing of such an engine is kept in a journal.
        """

    def options_in_force(self, generation: GenerationSpec) -> dict[str, Any]:
        """Return the options that a call with ``generation`` has, the checkpoint's own among them.

        Raises:
            OptionError: The model can't do what is asked.
        """

    def token_ids(self, prompt: Prompt) -> list[int]:
        """Return a prompt's tokens, special ones included, by this model's own tokenizer."""

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt, as this model counts them."""

    def render(self, chat: Chat) -> str:
        """Return a chat's text, as the model's chat template writes it."""

    def close(self) -> None:
        """Give the model's memory back. The engine can't be used afterwards."""


def is_engine(value: object) -> TypeGuard[Engine]:
    """Whether a value is an engine. Looks at nothing that takes time, such as a fingerprint."""
    return isinstance(getattr(value, "info", None), EngineInfo)
