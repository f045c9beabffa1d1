"""Take tokens out of the middle of a prompt that is too long, so that beginning and end stay.

What stands around a long text, an instruction before it and a question after it, is at the two ends
of the prompt; cutting off one end would lose it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hfnb.engines.base import Chat, Prompt

if TYPE_CHECKING:
    from hfnb.engines.call import Model


def shorten(model: Model, prompt: Prompt, ids: list[int], room: int) -> list[int]:
    """Return a prompt's tokens with so many left out that they fit.

    Of a chat the longest message is shortened, so that the template's own tokens stay whole.

    Args:
        model: Whose tokens they are.
        prompt: What the tokens were made of.
        ids: The prompt's tokens.
        room: The most tokens.

    Returns:
        At most ``room`` tokens; more where a chat is too long without its longest message.
    """
    if len(ids) <= room:
        return ids
    if isinstance(prompt, str):
        return _without_middle(ids, room)
    return _shorter_chat(model, prompt, ids, room)


def _without_middle(ids: list[int], room: int) -> list[int]:
    head = (room + 1) // 2
    return ids[:head] + ids[len(ids) - (room - head) :]


def _shorter_chat(model: Model, chat: Chat, ids: list[int], room: int) -> list[int]:
    at = max(range(len(chat.messages)), key=lambda i: len(chat.messages[i].content))
    message = chat.messages[at]
    (tokens,) = model.tokenise([message.content])
    left = len(tokens)
    while len(ids) > room and left:
        left = max(0, left - (len(ids) - room))
        content = model.text_decoder()(_without_middle(tokens, left))
        shorter = message._replace(content=content)
        messages = (*chat.messages[:at], shorter, *chat.messages[at + 1 :])
        (ids,) = model.encode([chat._replace(messages=messages)])
    return ids
