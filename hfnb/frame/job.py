"""What a run is to do, apart from the model that does it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pandas as pd

from hfnb.engines.base import Chat, Message, Prompt
from hfnb.frame.prompts import PromptSource
from hfnb.frame.structure import Structure
from hfnb.spec import GenerationSpec


@dataclasses.dataclass(frozen=True)
class Job:
    """A frame, a prompt for each row, and how they are answered."""

    frame: pd.DataFrame
    source: PromptSource
    generation: GenerationSpec
    into: str = "output"
    """The name of the output column."""
    after: Callable[[str], Any] | None = None
    """What the user's chain does with a model's text."""
    chat: bool = False
    """Whether texts go through the model's chat template, as a user's message."""
    template_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Further variables of the chat template."""
    system: str | None = None
    nulls: str = "skip"
    too_long: str = "error"
    on_error: str = "keep"
    batch_size: int | Literal["auto"] = "auto"
    journal: Path | None = None
    """The journal's file; ``None`` to do without."""
    given: Any = None
    """The table that the frame was made from, where it was not a pandas frame."""
    structure: Structure | None = None
    """What answers are held to, and the columns that they become."""

    def prompt_for(self, rendered: Prompt) -> Prompt:
        """Return what the engine gets for a row's text or messages."""
        prompt = self._prompt_for(rendered)
        return prompt if self.structure is None else self.structure.asked(prompt)

    def _prompt_for(self, rendered: Prompt) -> Prompt:
        if isinstance(rendered, str) and not self.chat:
            return rendered
        return chat_of(rendered, self.system, self.template_options)


def chat_of(
    prompt: Prompt, system: str | None, options: Mapping[str, Any] = MappingProxyType({})
) -> Chat:
    """Return a user's text, or messages, as messages with the system's in front.

    Args:
        prompt: The text or the messages.
        system: The system message; none where it is empty.
        options: Further variables of the chat template.
    """
    before = (Message("system", system),) if system else ()
    asked = (Message("user", prompt),) if isinstance(prompt, str) else prompt.messages
    return Chat((*before, *asked), options=options)
