"""An engine for tests of the chat model: it says what it is told, and keeps what it is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from hfnb import ChatHuggingFace, EchoEngine, HuggingFacePipeline
from hfnb.engines.base import Chat, Completion, Delta, FinishReason, Request
from hfnb.spec import GenerationSpec


class Asked(NamedTuple):
    """One call of the engine."""

    chats: list[Chat]
    requests: list[Request]
    generation: GenerationSpec
    batch_size: Any
    stream: bool


class Scripted(EchoEngine):
    """Answers each prompt as told; streams in pieces of `cut` characters."""

    def __init__(
        self,
        answer: Callable[[str], str] | str | None = None,
        *,
        chat_template: str | None = None,
        variables: Iterable[str] = (),
        tools: bool = True,
        reason: FinishReason = "eos",
        cut: int = 1,
        **options: Any,
    ) -> None:
        says = (lambda _: answer) if isinstance(answer, str) else answer
        super().__init__(says, **options)
        known = {"messages", *variables, *(["tools"] if tools else [])}
        self.info = dataclasses.replace(self.info, template_variables=frozenset(known))
        self.chat_template = chat_template
        self.reason = reason
        self.cut = cut
        self.asked: list[Asked] = []

    def generate(
        self, requests: Iterable[Request], generation: GenerationSpec, **options: Any
    ) -> Iterator[Completion | Delta]:
        kept = list(requests)
        stream = options.pop("stream", False)
        chats = [each.prompt for each in kept if isinstance(each.prompt, Chat)]
        self.asked.append(Asked(chats, kept, generation, options.get("batch_size"), stream))
        for piece in super().generate(kept, generation, **options):
            assert isinstance(piece, Completion)
            text = piece.text or ""
            if stream:
                for at in range(0, len(text), self.cut):
                    yield Delta(piece.row, text[at : at + self.cut], 1)
            if piece.finish_reason == "eos":
                piece = piece._replace(finish_reason=self.reason)
            yield piece

    @property
    def last(self) -> Asked:
        return self.asked[-1]


def chat_with(engine: EchoEngine, **fields: Any) -> ChatHuggingFace:
    return ChatHuggingFace(llm=HuggingFacePipeline(engine=engine), **fields)


def scripted(answer: Callable[[str], str] | str | None = None, **options: Any) -> ChatHuggingFace:
    return chat_with(Scripted(answer, **options))


def engine_of(chat: ChatHuggingFace) -> Scripted:
    engine = chat.llm.engine
    assert isinstance(engine, Scripted)
    return engine
