"""What a user may give as a prompt: text, a LangChain prompt, or a chain with one hfnb model.

Each becomes a `PromptSource`, which knows its columns and yields each row's prompt.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from hfnb.engines.base import Message, Prompt
from hfnb.errors import RowError, TemplateError
from hfnb.frame.cells import Cell
from hfnb.frame.template import Skipped, Template, slices

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline

Rendered = Prompt | Skipped | RowError


class PromptSource(Protocol):
    """Yields a prompt for each row of a frame."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""

    def rows(self, frame: pd.DataFrame, nulls: str = "skip") -> Iterator[Rendered]:
        """Yield each row's prompt, or why it has none."""


@dataclasses.dataclass(frozen=True)
class Parts:
    """A prompt or a chain, taken apart."""

    source: PromptSource
    llm: HuggingFacePipeline | None = None
    """The chain's model, where a chain was given."""
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """What was bound to it, such as ``stop``."""
    after: Callable[[str], Any] | None = None
    """What the chain does with the text."""


def take_apart(prompt: Any) -> Parts:
    """Turn what the user gave into a prompt source, and a chain into its parts.

    Raises:
        TemplateError: It is none of these, or a chain without exactly one hfnb model.
    """
    if isinstance(prompt, str):
        return Parts(Template(prompt))
    if "langchain_core" in sys.modules:
        from langchain_core.prompts import BasePromptTemplate
        from langchain_core.runnables import RunnableSequence

        if isinstance(prompt, BasePromptTemplate):
            return Parts(LangChainPrompt(prompt))
        if isinstance(prompt, RunnableSequence):
            return _take_chain_apart(prompt)
    raise TemplateError(
        f"A prompt is text with columns in braces, a LangChain prompt, or a chain; not "
        f"{type(prompt).__name__}."
    )


class LangChainPrompt:
    """A LangChain prompt template whose variables are columns."""

    def __init__(self, template: Any) -> None:
        self._template = template
        self.columns: tuple[str, ...] = tuple(template.input_variables)
        if not self.columns:
            raise TemplateError(
                "The prompt has no variable, so every row would be asked the same. Name a column "
                "in it, such as PromptTemplate.from_template('Translate: {text}')."
            )

    def rows(self, frame: pd.DataFrame, nulls: str = "skip") -> Iterator[Rendered]:
        """Yield each row's prompt: text, or messages where the template makes messages."""
        for values in slices(frame, self.columns):
            for row in zip(*values.values(), strict=True):
                yield self._render(dict(zip(self.columns, row, strict=True)), nulls)

    def _render(self, row: dict[str, Any], nulls: str) -> Rendered:
        missing = [name for name, value in row.items() if value is None]
        if missing and nulls == "skip":
            return Skipped(f"column {missing[0]!r} is null")
        cells = {name: "" if value is None else _cell(value) for name, value in row.items()}
        try:
            return prompt_of(self._template.format_prompt(**cells))
        except Exception as error:  # the user's own template code runs here
            return RowError(f"The prompt template failed: {type(error).__name__}: {error}")


class ChainPrompt:
    """What a chain does before its model. It is given each row as a dictionary of its columns."""

    def __init__(self, before: Any) -> None:
        self._before = before
        schema = before.get_input_schema()
        self.columns: tuple[str, ...] = tuple(schema.model_fields)
        if not self.columns or self.columns == ("root",):
            raise TemplateError(
                "The chain's first step does not say which columns it reads. Begin it with a "
                "prompt, such as PromptTemplate.from_template('Translate: {text}')."
            )

    def rows(self, frame: pd.DataFrame, nulls: str = "skip") -> Iterator[Rendered]:
        """Yield each row's prompt, as the steps before the model make it."""
        for values in slices(frame, self.columns):
            for row in zip(*values.values(), strict=True):
                cells = dict(zip(self.columns, row, strict=True))
                missing = [name for name, value in cells.items() if value is None]
                if missing and nulls == "skip":
                    yield Skipped(f"column {missing[0]!r} is null")
                    continue
                given = {k: "" if v is None else _cell(v) for k, v in cells.items()}
                try:
                    yield prompt_of(self._before.invoke(given))
                except Exception as error:  # the user's own steps run here
                    yield RowError(f"The chain failed: {type(error).__name__}: {error}")


def _cell(value: Any) -> Any:
    return value if isinstance(value, str) else Cell(value)


def prompt_of(value: Any) -> Prompt:
    """Turn LangChain's prompt values, messages and texts into a prompt for an engine."""
    from langchain_core.messages import BaseMessage
    from langchain_core.prompt_values import ChatPromptValue, PromptValue

    if isinstance(value, str):
        return value
    if isinstance(value, ChatPromptValue):
        return messages_of(value.to_messages())
    if isinstance(value, PromptValue):
        return value.to_string()
    if isinstance(value, (list, tuple)) and all(isinstance(each, BaseMessage) for each in value):
        return messages_of(list(value))
    raise TypeError(f"a model takes text or messages, not {type(value).__name__}")


def messages_of(messages: list[Any]) -> tuple[Message, ...]:
    """Turn LangChain messages into an engine's messages."""
    roles = {"human": "user", "ai": "assistant"}
    return tuple(
        Message(getattr(each, "role", None) or roles.get(each.type, each.type), each.text)
        for each in messages
    )


def _take_chain_apart(chain: Any) -> Parts:
    from langchain_core.prompts import BasePromptTemplate
    from langchain_core.runnables import RunnableBinding

    from hfnb.llm import HuggingFacePipeline

    found: list[tuple[int, Any, dict[str, Any]]] = []
    for at, step in enumerate(chain.steps):
        options: dict[str, Any] = {}
        inner = step
        while isinstance(inner, RunnableBinding):
            options = {**inner.kwargs, **options}
            inner = inner.bound
        if isinstance(inner, HuggingFacePipeline):
            found.append((at, inner, options))
    if len(found) != 1:
        raise TemplateError(
            f"A chain for hfnb.run holds exactly one hfnb model; this one holds {len(found)}. "
            "Write prompt | llm, or prompt | llm | parser, with llm = hfnb.load(...)."
        )
    at, llm, options = found[0]
    before, after = chain.steps[:at], chain.steps[at + 1 :]
    if not before:
        raise TemplateError("The chain has no prompt before its model. Write prompt | llm.")
    if len(before) == 1 and isinstance(before[0], BasePromptTemplate):
        source: PromptSource = LangChainPrompt(before[0])
    else:
        source = ChainPrompt(_joined(before))
    return Parts(source, llm, options, _joined(after).invoke if after else None)


def _joined(steps: list[Any]) -> Any:
    joined = steps[0]
    for step in steps[1:]:
        joined = joined | step
    return joined
