"""What a user may give as a prompt: text, a LangChain prompt, or a chain with one hfnb model.

Each becomes a `PromptSource`, which knows its columns and yields each row's prompt.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import pandas as pd

from hfnb.engines.base import Prompt
from hfnb.errors import RowError, TemplateError
from hfnb.frame.cells import Cell, Empty, plain
from hfnb.frame.template import Skipped, Template, slices

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline

Rendered = Prompt | Skipped | RowError


class PromptSource(Protocol):
    """Yields a prompt for each row of a frame."""

    @property
    def shown(self) -> str:
        """The prompt as a person wrote it, as far as that can be told."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads."""

    def rows(self, frame: pd.DataFrame, nulls: str = "skip") -> Iterator[Rendered]:
        """Yield each row's prompt, or why it has none."""

    def render(self, row: Mapping[str, Any], nulls: str = "skip") -> Rendered:
        """Return the prompt of one row's values by column, in which ``None`` is a null."""


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

        steps = _flat(prompt)
        if len(steps) > 1:
            return _take_chain_apart(steps)
        if isinstance(steps[0].inner, BasePromptTemplate):
            return Parts(LangChainPrompt(steps[0].inner))
    raise TemplateError(
        f"A prompt is text with columns in braces, a LangChain prompt, or a chain; not "
        f"{type(prompt).__name__}."
    )


class LangChainPrompt:
    """A LangChain prompt template whose variables are columns, and what the chain does to it.

    Args:
        template: The template.
        then: The step between it and the model, if there is one.
    """

    def __init__(self, template: Any, then: Any = None) -> None:
        self._template = template
        self._then = then
        self._logic = _has_logic(template)
        self._messages = frozenset(template.input_types)
        """The variables that are lists of messages, not text."""
        self.columns: tuple[str, ...] = tuple(template.input_variables)
        if not self.columns:
            raise TemplateError(
                "The prompt has no variable, so every row would be asked the same. Name a column "
                "in it, such as PromptTemplate.from_template('Translate: {text}')."
            )

    @property
    def shown(self) -> str:
        """The template, and the steps that follow it."""
        then = "" if self._then is None else f" | {self._then!r}"
        return f"{self._template!r}{then}"

    def rows(self, frame: pd.DataFrame, nulls: str = "skip") -> Iterator[Rendered]:
        """Yield each row's prompt: text, or messages where the template makes messages."""
        return _rows(self, frame, nulls)

    def render(self, row: Mapping[str, Any], nulls: str = "skip") -> Rendered:
        """Return the prompt of one row's values by column."""
        return _render(self, row, nulls)

    def given(self, name: str, value: Any) -> Any:
        """Return what the template gets for a cell."""
        if name in self._messages:
            return [] if value is None else value
        if value is None:
            return Empty()
        if isinstance(value, str) or (self._logic and isinstance(value, _FOR_LOGIC)):
            return plain(value)
        return Cell(value)

    def make(self, cells: dict[str, Any]) -> Prompt:
        """Return the prompt for a row's cells."""
        made = self._template.format_prompt(**cells)
        return prompt_of(made if self._then is None else self._then.invoke(made))


class ChainPrompt:
    """What a chain that begins with no prompt does before its model.

    Its first step is given each row as a dictionary of its columns, the values as they are.
    """

    def __init__(self, before: Any) -> None:
        self._before = before
        schema = before.get_input_schema()
        self.columns: tuple[str, ...] = tuple(schema.model_fields)
        if not self.columns or self.columns == ("root",):
            raise TemplateError(
                "The chain's first step does not say which columns it reads. Begin it with a "
                "prompt, such as PromptTemplate.from_template('Translate: {text}'), or with a "
                "dictionary of columns, such as {'text': itemgetter('text')} | ..."
            )

    @property
    def shown(self) -> str:
        """The steps before the model."""
        return repr(self._before)

    def rows(self, frame: pd.DataFrame, nulls: str = "skip") -> Iterator[Rendered]:
        """Yield each row's prompt, as the steps before the model make it."""
        return _rows(self, frame, nulls)

    def render(self, row: Mapping[str, Any], nulls: str = "skip") -> Rendered:
        """Return the prompt of one row's values by column."""
        return _render(self, row, nulls)

    def given(self, name: str, value: Any) -> Any:
        """Return what the first step gets for a cell."""
        return Empty() if value is None else plain(value)

    def make(self, cells: dict[str, Any]) -> Prompt:
        """Return the prompt for a row's cells."""
        return prompt_of(self._before.invoke(cells))


_FOR_LOGIC = (bool, int, float, np.number, np.bool_, list, tuple, dict)
"""What jinja2 and mustache compare and loop over; what else there is, they get as text."""


def _has_logic(template: Any) -> bool:
    """Whether a template, or one inside it, is written in jinja2 or mustache."""
    if getattr(template, "template_format", "f-string") != "f-string":
        return True
    inner = getattr(template, "prompt", None)
    parts = [*getattr(template, "messages", ()), *(inner if isinstance(inner, list) else [inner])]
    return any(_has_logic(part) for part in parts if part is not None)


def _rows(
    source: LangChainPrompt | ChainPrompt, frame: pd.DataFrame, nulls: str
) -> Iterator[Rendered]:
    for values in slices(frame, source.columns):
        for row in zip(*values.values(), strict=True):
            yield _render(source, dict(zip(source.columns, row, strict=True)), nulls)


def _render(source: LangChainPrompt | ChainPrompt, row: Mapping[str, Any], nulls: str) -> Rendered:
    missing = next((name for name, value in row.items() if value is None), None)
    if missing is not None and nulls == "skip":
        return Skipped(f"column {missing!r} is null")
    try:
        return source.make({name: source.given(name, value) for name, value in row.items()})
    except Exception as error:  # the user's own code runs here
        problem = RowError(f"The prompt failed: {type(error).__name__}: {error}")
        problem.__cause__ = error
        return problem


def prompt_of(value: Any) -> Prompt:
    """Turn what a LangChain step gives to a model into a prompt for an engine."""
    from langchain_core.messages import BaseMessage
    from langchain_core.prompt_values import ChatPromptValue, PromptValue

    from hfnb.chat.messages import chat_of

    if isinstance(value, str):
        return value
    if isinstance(value, ChatPromptValue):
        return chat_of(value.to_messages())
    if isinstance(value, PromptValue):
        return value.to_string()
    if isinstance(value, (list, tuple)) and all(isinstance(each, BaseMessage) for each in value):
        return chat_of(value)
    raise TypeError(f"a model takes text or messages, not {type(value).__name__}")


class _Step(NamedTuple):
    whole: Any
    inner: Any
    """The step without what was bound to it."""
    bound: dict[str, Any]


def _flat(step: Any) -> list[_Step]:
    """Return the steps of a chain, those of the chains inside it among them."""
    from langchain_core.runnables import RunnableBinding, RunnableSequence

    bound: dict[str, Any] = {}
    inner = step
    while isinstance(inner, RunnableBinding):
        bound = {**inner.kwargs, **bound}
        inner = inner.bound
    if not isinstance(inner, RunnableSequence):
        return [_Step(step, inner, bound)]
    if bound:
        names = ", ".join(bound)
        raise TemplateError(
            f"{names} is bound to a whole chain, where LangChain gives it to the first step. Bind "
            f"it to the model: prompt | llm.bind({names}=...)."
        )
    return [each for part in inner.steps for each in _flat(part)]


def _take_chain_apart(steps: list[_Step]) -> Parts:
    from langchain_core.prompts import BasePromptTemplate

    from hfnb.llm import HuggingFacePipeline

    found = [at for at, step in enumerate(steps) if isinstance(step.inner, HuggingFacePipeline)]
    if len(found) != 1:
        wrapped = "" if found else " One inside with_retry or with_fallbacks is not seen."
        raise TemplateError(
            f"A chain for hfnb.run holds exactly one hfnb model; this one holds {len(found)}."
            f"{wrapped} Write prompt | llm, or prompt | llm | parser, with llm = hfnb.load(...)."
        )
    at = found[0]
    first, before, after = steps[0], steps[:at], steps[at + 1 :]
    if not before:
        raise TemplateError("The chain has no prompt before its model. Write prompt | llm.")
    source: PromptSource
    if isinstance(first.inner, BasePromptTemplate):
        source = LangChainPrompt(first.inner, _joined(before[1:]) if before[1:] else None)
    else:
        source = ChainPrompt(_joined(before))
    return Parts(
        source,
        steps[at].inner,
        _bound_options(steps[at].bound),
        _joined(after).invoke if after else None,
    )


def _bound_options(bound: dict[str, Any]) -> dict[str, Any]:
    """Return the generation options among what was bound to a chain's model."""
    options = {**bound.get("pipeline_kwargs", {}), **bound}
    options.pop("pipeline_kwargs", None)
    # Both ask for the new text alone, which is what hfnb.run gives.
    for name, new_text_alone in (("skip_prompt", True), ("return_full_text", False)):
        if options.get(name) is new_text_alone:
            del options[name]
    return options


def _joined(steps: list[_Step]) -> Any:
    joined = steps[0].whole
    for step in steps[1:]:
        joined = joined | step.whole
    return joined
