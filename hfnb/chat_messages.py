"""LangChain's messages as an engine's chat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

from hfnb.engines.base import Chat, Message
from hfnb.errors import OptionError

_ROLES = {"human": "user", "ai": "assistant"}


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
    return Chat(tuple(map(_message, messages)), tuple(tools), options or {}, prefill)


def _message(message: BaseMessage) -> Message:
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
        if reasoning := message.additional_kwargs.get("reasoning_content"):
            fields["reasoning_content"] = reasoning
    if isinstance(message, ToolMessage):
        fields["tool_call_id"] = message.tool_call_id
    if message.name:
        fields["name"] = message.name
    return Message(role, _text(message), fields)


def _text(message: BaseMessage) -> str:
    """Return a message's text; refuse pictures, sound and files."""
    if isinstance(message.content, str):
        return message.content
    for block in message.content:
        kind = "text" if isinstance(block, str) else block.get("type")
        if kind not in ("text", "tool_use", "tool_call", "reasoning", "thinking"):
            raise OptionError(
                f"A message has content of type {kind!r}, and hfnb runs models that read text. "
                "Send its text alone, such as a caption or a transcript."
            )
    return str(message.text)
