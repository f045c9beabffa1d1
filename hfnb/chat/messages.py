"""LangChain's messages as an engine's chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from hfnb.engines.base import Chat, Message
from hfnb.errors import OptionError

_ROLES = {"human": "user", "ai": "assistant", "AIMessageChunk": "assistant"}
_CALLS = ("tool_use", "tool_call", "tool_call_chunk", "invalid_tool_call", "input_json_delta")
_REASONING = ("reasoning", "thinking")


def chat_of(
    messages: Sequence[BaseMessage],
    *,
    tools: Sequence[Mapping[str, Any]] = (),
    options: Mapping[str, Any] | None = None,
    prefill: bool = False,
) -> Chat:
    """Return messages as a chat for the model's template.

    Args:
        messages: LangChain's messages; their content is text.
        tools: The functions that the model may call, as JSON schemas in OpenAI's form.
        options: Further variables of the chat template.
        prefill: Whether the answer continues the last message.

    Raises:
        OptionError: A message has content that is not text.
    """
    called: dict[str, str] = {}
    converted = []
    for message in messages:
        converted.append(_message(message, called))
        if isinstance(message, AIMessage):
            called.update({each["id"]: each["name"] for each in message.tool_calls if each["id"]})
    return Chat(tuple(converted), tuple(tools), options or {}, prefill)


def is_prefill(messages: Sequence[BaseMessage]) -> bool:
    """Whether the answer is to continue the last message: the assistant's own text."""
    last = messages[-1] if messages else None
    return isinstance(last, AIMessage) and not last.tool_calls and not last.invalid_tool_calls


def _message(message: BaseMessage, called: Mapping[str, str]) -> Message:
    role = getattr(message, "role", None) or _ROLES.get(message.type, message.type)
    fields: dict[str, Any] = {}
    if isinstance(message, AIMessage):
        if message.tool_calls:
            fields["tool_calls"] = [
                {
                    "type": "function",
                    "id": call["id"],
                    "function": {"name": call["name"], "arguments": call["args"]},
                }
                for call in message.tool_calls
            ]
        if reasoning := message.additional_kwargs.get("reasoning_content") or _reasoning(message):
            fields["reasoning_content"] = reasoning
    if isinstance(message, ToolMessage):
        fields["tool_call_id"] = message.tool_call_id
        if name := message.name or called.get(message.tool_call_id):
            fields["name"] = name
    elif message.name:
        fields["name"] = message.name
    return Message(role, _text(message), fields)


def _reasoning(message: AIMessage) -> str:
    """Return the reasoning among a message's content blocks, where it is kept there."""
    if isinstance(message.content, str):
        return ""
    blocks = [each for each in message.content if isinstance(each, dict)]
    return "".join(
        str(block.get("reasoning") or block.get("thinking") or "")
        for block in blocks
        if block.get("type") in _REASONING
    )


def _text(message: BaseMessage) -> str:
    """Return a message's text; refuse pictures, sound and files."""
    if isinstance(message.content, str):
        return message.content
    for block in message.content:
        kind = "text" if isinstance(block, str) else block.get("type")
        if kind not in ("text", *_CALLS, *_REASONING):
            raise OptionError(
                f"A message has content of type {kind!r}, and hfnb runs models that read text. "
                "Send its text alone, such as a caption or a transcript."
            )
    return str(message.text)
