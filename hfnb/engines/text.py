"""Turn new token ids into new text, all at once or piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Sequence

_CONTEXT = 4
"""Prompt tokens decoded in front of the new ones: some tokenizers drop a leading space."""


class TextDecoder:
    """Decodes tokens without the special ones.

    Args:
        decode: Returns the text of token ids, with or without the special ones.
        dropped: The special tokens to leave out; by default ``decode`` leaves out all.
    """

    def __init__(
        self,
        decode: Callable[[Sequence[int], bool], str],
        dropped: frozenset[int] | None = None,
    ) -> None:
        self._decode = decode
        self._dropped = dropped
        self._context: tuple[list[int], int] = ([], 0)
        """The last context, and the length of its text: that of chat prompts is always the same."""

    def __call__(self, ids: Sequence[int]) -> str:
        """Return the text of tokens."""
        if self._dropped is None:
            return self._decode(ids, True)
        return self._decode([each for each in ids if each not in self._dropped], False)

    def new(self, prompt_ids: Sequence[int], new_ids: Sequence[int]) -> str:
        """Return the text that new tokens add to a prompt."""
        ids = list(prompt_ids[-_CONTEXT:])
        known, length = self._context
        if ids != known:
            length = len(self(ids))
            self._context = (ids, length)
        return self([*ids, *new_ids])[length:]


class GrowingText:
    """New text that grows token by token.

    A piece is withheld while its bytes are not yet a whole character. Each step decodes only the
    last few tokens, so its cost does not grow with the text.
    """

    def __init__(self, decode: TextDecoder, prompt_ids: Sequence[int]) -> None:
        self._decode = decode
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
        before = self._decode(self._ids[self._from : self._read])
        return self._decode(self._ids[self._from :])[len(before) :]
