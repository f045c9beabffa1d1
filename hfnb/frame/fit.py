"""Prompts that are too long for the model: left out, or made shorter in a column's value.

The template is never cut: of the longest value in it the middle is left out, until all of it fits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from hfnb.engines.base import Engine, Prompt
from hfnb.engines.limits import new_token_limit, prompt_room
from hfnb.errors import PromptTooLongError, RowError
from hfnb.frame.cells import text_of
from hfnb.frame.template import Skipped
from hfnb.spec import GenerationSpec

_SPECIAL = 16
"""Tokens that a tokenizer may add around a text."""
_MARK = " … "
"""Stands where something was left out."""


class Fitted(NamedTuple):
    """What became of a prompt."""

    prompt: Prompt | Skipped | RowError
    lost: int = 0
    """The tokens that it was shortened by."""


class Fit:
    """Makes prompts fit the model.

    Args:
        engine: The model.
        generation: How it generates: how many tokens the answer may have.
        too_long: ``"skip"`` or ``"truncate"``.
    """

    def __init__(self, engine: Engine, generation: GenerationSpec, too_long: str) -> None:
        self._engine = engine
        self._options = engine.options_in_force(generation)
        self._context = engine.info.context_length
        self._shared = engine.info.task == "text-generation"
        self._skip = too_long == "skip"
        room = prompt_room(self._options, self._context, shared=self._shared)
        self._room = room

    def check(
        self,
        prompt: Prompt,
        cells: Callable[[], Mapping[str, Any]],
        render: Callable[[Mapping[str, Any]], Prompt | RowError],
    ) -> Fitted:
        """Return a prompt as it is if it fits; else a shorter one, or why there is none.

        Args:
            prompt: What the engine would get.
            cells: Returns the row's values by column.
            render: Makes a prompt of such values.
        """
        room = self._room
        if room is None or (isinstance(prompt, str) and _most_tokens(prompt) < room):
            return Fitted(prompt)
        tokens = self._engine.count_tokens(prompt)
        problem = self._problem(tokens)
        if problem is None:
            return Fitted(prompt)
        if self._skip:
            return Fitted(Skipped(f"the prompt has {tokens:,} tokens, too many for the model"))
        values = dict(cells())
        lengths = {name: len(text_of(v)) for name, v in values.items() if isinstance(v, str)}
        for name in sorted(lengths, key=lambda each: -lengths[each]):
            made = self._shorten(values, name, render, room)
            if isinstance(made, RowError):
                return Fitted(made)
            values, shorter, count = made
            if count <= room:
                return Fitted(shorter, tokens - count)
        return Fitted(
            PromptTooLongError(
                f"{problem.with_option(None)} Even with the text of its columns left out it is too "
                "long: the template itself has to be shorter."
            )
        )

    def _shorten(
        self,
        values: dict[str, Any],
        name: str,
        render: Callable[[Mapping[str, Any]], Prompt | RowError],
        room: int,
    ) -> tuple[dict[str, Any], Prompt, int] | RowError:
        """Return values in which one keeps as much as fits, what they make, and its tokens."""
        text, least, most = str(values[name]), 0, len(values[name])
        best: tuple[dict[str, Any], Prompt, int] | None = None
        while True:  # `least` characters fit or are none, `most` do not
            keep = least if best is None else (least + most) // 2
            changed = {**values, name: _without_middle(text, keep)}
            prompt = render(changed)
            if isinstance(prompt, RowError):
                return prompt
            count = self._engine.count_tokens(prompt)
            if best is None or count <= room:
                best, least = (changed, prompt, count), keep
                if count > room:
                    return best  # not even without this value
            else:
                most = keep
            if most - least <= max(1, least // 100):
                return best

    def _problem(self, tokens: int) -> PromptTooLongError | None:
        """Say why a prompt of so many tokens does not fit."""
        _, problem = new_token_limit(self._options, tokens, self._context, shared=self._shared)
        return problem


def _most_tokens(text: str) -> int:
    """Return how many tokens a text has at most: one for each byte, and what is added around it."""
    return len(text.encode("utf-8", "surrogatepass")) + _SPECIAL


def _without_middle(text: str, keep: int) -> str:
    """Return so many of a text's characters, half of them from its beginning, half from its end."""
    if keep <= 0:
        return ""
    head = (keep + 1) // 2
    return f"{text[:head]}{_MARK}{text[len(text) - (keep - head) :]}"
