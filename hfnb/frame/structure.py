"""What a run makes of its outputs: one column of text, or the typed columns of a schema."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hfnb.engines.base import Chat, Completion, Prompt
from hfnb.errors import AnswerError, OptionError
from hfnb.frame.outputs import strings_of
from hfnb.schema.answer import as_float, cells_of, read_answer
from hfnb.schema.fields import Column
from hfnb.schema.read import Schema, described, read_schema
from hfnb.spec import Grammar

NESTED = ("columns", "objects")


@dataclasses.dataclass(frozen=True)
class Structure:
    """The schema of a run, and what becomes of its answers.

    The text of an answer is what is kept, in memory and in the journal; its columns are made of it
    when they are asked for.
    """

    schema: Schema
    nested: str = "columns"
    raw_text: bool = False
    probabilities: bool = False
    describe: bool = False

    @property
    def grammar(self) -> Grammar:
        """What holds answers to the schema."""
        if self.probabilities:
            return Grammar("choice", json.dumps(list(self.schema.labels)))
        return self.schema.grammar

    @functools.cached_property
    def columns(self) -> tuple[Column, ...]:
        """The columns of an answer, without those of probabilities and of its text."""
        return self.schema.columns(flat=self.nested == "columns")

    def named(self, into: str) -> dict[str, Column]:
        """Return all columns by their names, in their order.

        Args:
            into: The name for an answer that is one value, and what others are named after.
        """
        made = {each.name(into): each for each in self.columns}
        if self.probabilities:
            made |= {f"{into}.{label}": Column((label,), "number") for label in self.schema.labels}
        if self.raw_text:
            made[f"{into}_text"] = Column((), "string")
        return made

    @property
    def portable(self) -> Any:
        """The schema without Python's types: what JSON can hold, and another process can read."""
        return dict(self.schema.document) or self.schema.pattern or [*self.schema.labels]

    def about(self) -> dict[str, Any]:
        """Return what there is to say of it in a manifest."""
        return {
            "schema": self.portable,
            "nested": self.nested,
            "raw_text": self.raw_text,
            "probabilities": self.probabilities,
            "described": self.describe,
        }

    def asked(self, prompt: Prompt) -> Prompt:
        """Return a prompt that says what the answer is to be, where that is wanted."""
        if not self.describe:
            return prompt
        text = described(self.schema)
        if isinstance(prompt, str):
            return f"{text}\n\n{prompt}"
        last = prompt.messages[-1]
        changed = last._replace(content=f"{last.content}\n\n{text}")
        return Chat((*prompt.messages[:-1], changed), prompt.tools, prompt.options, prompt.prefill)

    def read(self, completion: Completion) -> Completion:
        """Return a completion as it counts: with an error where it is not what it should be.

        An answer that is whole has ended by itself, even where no more tokens were to come.
        """
        text = completion.text or ""
        try:
            self._cells(text, completion.finish_reason)
        except AnswerError as error:
            return completion._replace(error=error)
        reason = completion.finish_reason
        return completion._replace(finish_reason="eos" if reason == "length" else reason)

    def arrays(self, into: str, texts: Iterable[str | None]) -> dict[str, Any]:
        """Return the columns of some answers as pandas keeps them, by their names.

        Args:
            into: As in `named`.
            texts: The answers; ``None`` where there is none.
        """
        named = self.named(into)
        return {name: array_of(named[name], cells) for name, cells in self._by_column(into, texts)}

    def arrow(self, into: str, texts: Iterable[str | None]) -> Any:
        """Return the columns of some answers as an Arrow table; see `arrays`."""
        import pyarrow as pa

        named = self.named(into)
        return pa.table(
            {
                name: pa.array(_for_arrow(named[name], cells), type=arrow_type(named[name]))
                for name, cells in self._by_column(into, texts)
            }
        )

    def _by_column(
        self, into: str, texts: Iterable[str | None]
    ) -> Iterable[tuple[str, Sequence[Any]]]:
        names = list(self.named(into))
        rows = [self._row(text, len(names)) for text in texts]
        by_column: list[Sequence[Any]] = [*zip(*rows, strict=True)] or [()] * len(names)
        return zip(names, by_column, strict=True)

    def _row(self, text: str | None, width: int) -> list[Any]:
        if text is None:
            return [None] * width
        try:
            return self._cells(text, "eos")
        except AnswerError:  # half an answer, whose text is kept
            return [*[None] * (width - self.raw_text), *([text] if self.raw_text else ())]

    def _cells(self, text: str, reason: str | None) -> list[Any]:
        if self.probabilities:
            shares = read_choice(text)
            label = max(shares, key=lambda each: shares[each])
            cells = [label, *shares.values()]
        else:
            cells = cells_of(self.columns, read_answer(self.schema, text, reason))
        return [*cells, text] if self.raw_text else cells


def structure_of(
    schema: Any, *, nested: object, raw_text: bool, probabilities: bool, describe_schema: bool
) -> Structure | None:
    """Return what a run's ``schema`` and the options beside it ask for.

    Raises:
        OptionError: The schema or one of the options is wrong.
        MissingExtraError: A package that schemas need is missing.
    """
    flags = {
        "raw_text": raw_text,
        "probabilities": probabilities,
        "describe_schema": describe_schema,
    }
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise OptionError(f"{name} is True or False; not {value!r}.")
    if nested not in NESTED:
        raise OptionError(
            f"nested={nested!r} is unknown. Use 'columns', which makes a.b of the fields of an "
            "object a, or 'objects'."
        )
    if schema is None:
        named = next((name for name, value in flags.items() if value), None)
        if named is not None:
            raise OptionError(f"{named} is about a schema: give one (schema=...).")
        return None
    read = read_schema(schema)
    if probabilities and read.form != "labels":
        raise OptionError(
            "probabilities=True is for a choice among labels (schema=['good', 'bad']): other "
            "answers have too many forms to give each its probability."
        )
    return Structure(read, str(nested), raw_text, probabilities, describe_schema)


def columns_to_come(schema: Any, into: str = "output", **options: Any) -> dict[str, str]:
    """Return the columns that answers of a schema become, with their pandas dtypes.

    Args:
        schema: As `hfnb.run` takes it.
        into: As there.
        **options: ``nested``, ``raw_text`` and ``probabilities``, as there.

    Raises:
        OptionError: The schema or one of the options is wrong.

    Example:
        >>> columns_to_come({"tone": ["good", "bad"], "stars": int})
        {'tone': 'category', 'stars': 'Int64'}
    """
    told = {"nested": "columns", "raw_text": False, "probabilities": False, **options}
    structure = structure_of(schema, describe_schema=False, **told)
    named = {} if structure is None else structure.named(into)
    return {name: column.dtype for name, column in named.items()}


def read_choice(text: str) -> dict[str, float]:
    """Return the labels' probabilities of the answer to a grammar of the kind ``"choice"``.

    Raises:
        AnswerError: The engine answered something else.
    """
    try:
        shares: dict[str, float] = json.loads(text)["probabilities"]
    except (ValueError, TypeError, KeyError) as error:
        raise AnswerError(f"The answer has no probabilities: {text!r}.", text) from error
    return shares


def array_of(column: Column, cells: Sequence[Any]) -> Any:
    """Return a column's values as pandas keeps them; ``None`` is its null."""
    if column.kind == "category":
        return pd.Categorical(list(cells), categories=list(column.categories))
    if column.kind == "string":
        return strings_of(list(cells))
    if column.kind in ("date", "datetime"):
        naive = [None if each is None else each.replace(tzinfo=None) for each in cells]
        dates = pd.DatetimeIndex(np.array(naive, dtype="datetime64[us]"))
        return (dates.tz_localize("UTC") if column.kind == "datetime" else dates).array
    if column.kind in ("list", "object"):
        objects = np.empty(len(cells), dtype=object)
        objects[:] = cells
        return objects
    values: Any = list(cells)
    return pd.array(values, dtype=column.dtype)


def arrow_type(column: Column) -> Any:
    """Return the Arrow type of a column: the same for all answers, as files need it.

    What has no one type there, such as an object, is written as JSON.
    """
    import pyarrow as pa

    if column.kind == "list" and column.items is not None:
        return pa.list_(_item_type(column.items))
    return {
        "integer": pa.int64(),
        "number": pa.float64(),
        "boolean": pa.bool_(),
        "date": pa.timestamp("us"),
        "datetime": pa.timestamp("us", "UTC"),
    }.get(column.kind, pa.large_string())


def _item_type(items: Column) -> Any:
    """Return the type of a list's items; dates in lists are text, as in JSON."""
    import pyarrow as pa

    return pa.large_string() if items.kind in ("date", "datetime") else arrow_type(items)


def _for_arrow(column: Column, cells: Sequence[Any]) -> list[Any]:
    if column.kind == "object" or (column.kind == "list" and column.items is None):
        return [None if c is None else json.dumps(c, ensure_ascii=False) for c in cells]
    if column.kind != "list" or column.items is None:
        return list(cells)
    items = column.items
    return [None if c is None else _for_arrow(items, list(map(_item(items), c))) for c in cells]


def _item(items: Column) -> Callable[[Any], Any]:
    """Return what makes of a list's item what Arrow holds."""
    if items.kind != "number":
        return lambda value: value
    return lambda value: None if value is None else as_float(value)
