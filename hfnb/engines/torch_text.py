"""Turn new token ids into new text, all at once or piece by piece."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_CONTEXT = 4
"""Prompt tokens decoded in front of the new ones: some tokenizers drop a leading space."""


def _decode(tokenizer: Any, ids: Sequence[int]) -> str:
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def new_text(tokenizer: Any, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
    """Return the text that new tokens add to a prompt."""
    context = list(prompt_ids[-_CONTEXT:])
    return _decode(tokenizer, [*context, *new_ids])[len(_decode(tokenizer, context)) :]


class GrowingText:
    """New text that grows token by token.

    A piece is withheld while its bytes are not yet a whole character. Each step decodes only the
    last few tokens, so its cost does not grow with the text.
    """

    def __init__(self, tokenizer: Any, prompt_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._ids = list(prompt_ids[-_CONTEXT:])
        self._from = 0
        self._read = len(self._ids)
        self.text = ""

    def add(self, token: int) -> str:
        """Add a token; return the text that became readable with it, often a piece of a word."""
        self._ids.append(token)
        piece = self._unread()
        if not piece or piece.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._from, self._read = self._read, len(self._ids)
        self.text += piece
        return piece

    def finish(self) -> str:
        """Return what is left, readable or not."""
        piece = self._unread()
        self._from = self._read = len(self._ids)
        self.text += piece
        return piece

    def _unread(self) -> str:
        before = _decode(self._tokenizer, self._ids[self._from : self._read])
        return _decode(self._tokenizer, self._ids[self._from :])[len(before) :]
