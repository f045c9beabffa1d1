"""One call of a chat model: what was asked of the engine, and its answers as messages."""

from __future__ import annotations

import dataclasses
import json
import secrets
import string
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.messages.tool import invalid_tool_call, tool_call, tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk

from hfnb.chat.messages import chat_of, is_prefill
from hfnb.chat.reply import (
    END_THINK,
    REASONING_TOKENS,
    THINK,
    TOOL_TOKENS,
    ReplyParser,
    parse_reply,
)
from hfnb.chat.tool_calls import Piece
from hfnb.chat.tools import (
    Template,
    call_grammar,
    choose,
    json_grammar,
    need_xgrammar,
    openai_tools,
    probe,
)
from hfnb.engines.base import Chat, Completion, Delta, Engine, Request
from hfnb.engines.chat_template import check_template_options
from hfnb.errors import OptionError
from hfnb.llm_batch import Asked
from hfnb.options import split_options
from hfnb.spec import GenerationSpec, check_batch_size

if TYPE_CHECKING:
    from hfnb.chat.model import ChatHuggingFace

OWN_OPTIONS = (
    "batch_size",
    "chat_template_kwargs",
    "max_tokens",
    "model",
    "parallel_tool_calls",
    "response_format",
    "stream",
    "tool_choice",
    "tools",
)
"""What a call takes besides the generation options."""
_BLOCKS = 1000
"""More texts than an answer has: LangChain numbers them from 0 and joins what has one number."""
_LETTERS = string.ascii_letters + string.digits


@dataclasses.dataclass(frozen=True)
class Call:
    """What one call asks for: made from the model's settings and the call's own options."""

    engine: Engine
    template: Template
    model: str
    generation: GenerationSpec
    options: Mapping[str, Any]
    """Further variables of the chat template."""
    tools: tuple[Mapping[str, Any], ...]
    batch_size: int | Literal["auto"]
    first_call: int = 0
    """The index of a stream's first tool call. Blocks of version 1 count texts and calls alike."""

    @classmethod
    def of(
        cls, model: ChatHuggingFace, stop: Sequence[str] | None, kwargs: Mapping[str, Any]
    ) -> Call:
        """Read the options of a call.

        Raises:
            OptionError: One has an unknown name or an impossible value.
            ModelError: Tools, and the model's template takes none.
        """
        own, given = split_options(kwargs, OWN_OPTIONS)
        template, llm = model.template, model.llm
        name = str(llm.model_id)
        if own.get("model") not in (None, name):
            raise OptionError(
                f"This chat model runs {name!r} and can't change to {own['model']!r} for a call. "
                "Load the other one with hfnb.load, and make a ChatHuggingFace of it."
            )
        generation = llm.generation.merge(**model.own_generation())
        generation = generation.merge(**_with_max_tokens(own, given))
        if stop is not None:
            generation = generation.merge(stop=stop)
        options = {**model.template_options(), **(own.get("chat_template_kwargs") or {})}
        if options:
            check_template_options(llm.engine.info, options)
        tools = openai_tools(own.get("tools") or ())
        choice = choose(own.get("tool_choice"), tools)
        if tools:
            template.check_tools()
        if choice == "none":
            tools, choice = [], None
        grammar = _response_grammar(own.get("response_format"))
        if grammar is not None and tools:
            raise OptionError(
                "response_format holds the whole answer to a schema, and tools ask for calls: give "
                "one of them, or bind the schema as a tool."
            )
        if grammar is not None or choice is not None:
            need_xgrammar("with_structured_output" if grammar is not None else "tool_choice")
            opened = bool(template.opens_reasoning(probe(options, tools)))
            forced = (
                json_grammar(grammar, opened=opened)
                if grammar is not None
                else call_grammar(
                    tools,
                    choice or "any",
                    template.format,
                    several=own.get("parallel_tool_calls") is not False,
                    opened=opened,
                    text=template.text or "",
                )
            )
            generation = dataclasses.replace(generation, grammar=forced)
        kept = REASONING_TOKENS + (TOOL_TOKENS if tools else ())
        generation = dataclasses.replace(
            generation, keep_tokens=tuple(dict.fromkeys((*generation.keep_tokens, *kept)))
        )
        size = check_batch_size(own.get("batch_size", llm.batch_size))
        first = _BLOCKS if model.output_version == "v1" else 0
        return cls(llm.engine, template, name, generation, options, tuple(tools), size, first)

    def chat(self, messages: Sequence[BaseMessage]) -> Chat:
        """Return messages as the engine takes them.

        An answer that is held to a grammar begins anew: it can't continue half a message.

        Raises:
            OptionError: There are none, or one has content that is not text.
        """
        prefill = is_prefill(messages) and self.generation.grammar is None
        if prefill and not str(messages[-1].text):
            prefill, messages = False, messages[:-1]
        if not messages:
            raise OptionError("There are no messages to answer: give at least a human's.")
        return chat_of(messages, tools=self.tools, options=self.options, prefill=prefill)

    @property
    def copies(self) -> int:
        """How many answers each prompt gets."""
        return int(self.generation.get("num_return_sequences") or 1)

    def ask(self, chats: Mapping[int, Chat], *, one: bool = False) -> Asked[Any]:
        """Return what the engine is asked.

        Args:
            chats: The prompts, by their places.
            one: Give one answer, even where more are asked for: a stream is of one.
        """
        generation, copies = self.generation, 1 if one else self.copies
        each = copies if generation.sampling else 1  # several beams come from one request
        if generation.sampling or one:
            generation = generation.merge(num_return_sequences=None)
        requests = [Request(row, chat, copy) for row, chat in chats.items() for copy in range(each)]
        return Asked(self.engine, requests, generation, self.batch_size, copies)

    def _parsing(self, chat: Chat) -> dict[str, Any]:
        functions = [tool["function"] for tool in self.tools]
        schemas = {each["name"]: each.get("parameters") or {} for each in functions}
        return {"tools": set(schemas) if self.tools else None, "schemas": schemas}

    def generations(self, chat: Chat, answers: Sequence[Completion]) -> list[ChatGeneration]:
        """Return the answers to one prompt as messages.

        Raises:
            RowError: One of them failed.
        """
        for answer in answers:
            if answer.error is not None:
                raise answer.error
        return [
            self._generation(chat, answer) for answer in sorted(answers, key=lambda each: each.copy)
        ]

    def _generation(self, chat: Chat, answer: Completion) -> ChatGeneration:
        text = answer.text or ""
        opened = self.template.opens_reasoning(chat)
        if opened is None:  # a closing tag without an opening one says so too
            before, end, _ = text.partition(END_THINK)
            opened = bool(end) and THINK not in before
        pieces = parse_reply(text, opened=opened, **self._parsing(chat))
        message = AIMessage(
            content="".join(each.text for each in pieces if each.kind == "content"),
            tool_calls=[
                tool_call(name=each.name, args=json.loads(each.text), id=_new_id())
                for each in pieces
                if each.kind == "call"
            ],
            invalid_tool_calls=[
                invalid_tool_call(
                    name=each.name or None, args=each.text, id=_new_id(), error=each.error
                )
                for each in pieces
                if each.kind == "invalid"
            ],
            usage_metadata=_usage(answer),
            response_metadata=self._metadata(answer),
        )
        reasoning = "".join(each.text for each in pieces if each.kind == "reasoning")
        if reasoning:
            message.additional_kwargs["reasoning_content"] = reasoning
        return ChatGeneration(message=message, generation_info=self._metadata(answer))

    def _metadata(self, answer: Completion) -> dict[str, Any]:
        told = {
            "finish_reason": answer.finish_reason,
            "model_name": self.model,
            "latency_s": answer.latency_s,
            "queue_s": answer.queue_s,
            "batch_rows": answer.batch_rows,
        }
        if answer.truncated_tokens:
            told["truncated_tokens"] = answer.truncated_tokens
        return told

    def stream(self, chat: Chat) -> Stream:
        """Return what makes chunks of the pieces of one answer."""
        opened = bool(self.template.opens_reasoning(chat))
        return Stream(self, ReplyParser(opened=opened, **self._parsing(chat)))


class Stream:
    """Turns the pieces of one streamed answer into chunks of a message."""

    def __init__(self, call: Call, parser: ReplyParser) -> None:
        self._call = call
        self._parser = parser
        self._calls = call.first_call

    def chunks(self, piece: Completion | Delta) -> Iterator[ChatGenerationChunk]:
        """Yield the chunks that a piece of the engine makes known.

        Raises:
            RowError: The row failed.
        """
        if isinstance(piece, Delta):
            yield from map(self._chunk, self._parser.feed(piece.text))
            return
        if piece.error is not None:
            raise piece.error
        yield from map(self._chunk, self._parser.finish())
        last = AIMessageChunk(
            content="",
            usage_metadata=_usage(piece),
            response_metadata=self._call._metadata(piece),
            chunk_position="last",
        )
        yield ChatGenerationChunk(message=last, generation_info=self._call._metadata(piece))

    def _chunk(self, piece: Piece) -> ChatGenerationChunk:
        if piece.kind == "content":
            message = AIMessageChunk(content=piece.text)
        elif piece.kind == "reasoning":
            message = AIMessageChunk(
                content="", additional_kwargs={"reasoning_content": piece.text}
            )
        else:
            call = tool_call_chunk(
                name=piece.name or None, args=piece.text, id=_new_id(), index=self._calls
            )
            self._calls += 1
            message = AIMessageChunk(content="", tool_call_chunks=[call])
        return ChatGenerationChunk(message=message)


def _new_id() -> str:
    """Return a tool call's id: nine letters and digits, as Mistral's templates want them."""
    return "".join(secrets.choice(_LETTERS) for _ in range(9))


def _usage(answer: Completion) -> UsageMetadata | None:
    if answer.prompt_tokens is None or answer.new_tokens is None:
        return None
    return UsageMetadata(
        input_tokens=answer.prompt_tokens,
        output_tokens=answer.new_tokens,
        total_tokens=answer.prompt_tokens + answer.new_tokens,
    )


def _with_max_tokens(own: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if own.get("max_tokens") is None:
        return dict(given)
    if given.get("max_new_tokens", own["max_tokens"]) != own["max_tokens"]:
        raise OptionError(
            f"max_tokens={own['max_tokens']!r} and max_new_tokens={given['max_new_tokens']!r} are "
            "two names of one option: give one of them."
        )
    return {**given, "max_new_tokens": own["max_tokens"]}


def _response_grammar(response_format: Any) -> Mapping[str, Any] | None:
    """Return the schema that a ``response_format`` in OpenAI's form holds the answer to."""
    if response_format is None:
        return None
    kind = response_format.get("type") if isinstance(response_format, Mapping) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    if kind == "json_schema":
        inner = response_format.get("json_schema")
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
        if isinstance(schema, Mapping):
            return schema
    raise OptionError(
        "response_format is {'type': 'json_object'} or {'type': 'json_schema', 'json_schema': "
        f"{{'schema': ...}}}}; not {response_format!r}."
    )
