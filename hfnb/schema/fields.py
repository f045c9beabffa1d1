"""The columns of a schema: what each field of an answer becomes in a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from hfnb.errors import OptionError
from hfnb.schema.meet import property_of
from hfnb.schema.plain import (
    LEAST_INTEGER,
    MOST_INTEGER,
    Array,
    Number,
    Object,
    Simple,
    Text,
    Union,
    Values,
    types_of,
)
from hfnb.schema.written import json_of

Kind = Literal[
    "category", "string", "integer", "number", "boolean", "date", "datetime", "list", "object"
]
DTYPES: dict[str, str] = {
    "category": "category",
    "string": "string",
    "integer": "Int64",
    "number": "Float64",
    "boolean": "boolean",
    "date": "datetime64[us]",
    "datetime": "datetime64[us, UTC]",
    "list": "object",
    "object": "object",
}
"""The pandas dtype of each kind of column."""


@dataclasses.dataclass(frozen=True)
class Column:
    """One column that answers become."""

    path: tuple[str, ...]
    """Where its values are in an answer; nowhere deeper where it is the answer itself."""
    kind: Kind
    categories: tuple[str, ...] = ()
    """The values of a category, in their order."""
    items: Column | None = None
    """What the items of a list are, where they are of one kind."""

    @property
    def dtype(self) -> str:
        """The pandas dtype."""
        return DTYPES[self.kind]

    def name(self, into: str) -> str:
        """Return the column's name; ``into`` is that of an answer which is one value."""
        return ".".join(self.path) if self.path else into


def columns_of(union: Union, *, flat: bool) -> tuple[Column, ...]:
    """Return the columns of an answer.

    Args:
        union: What the answer may be.
        flat: Whether an object within it becomes columns of its own, or stays an object.

    Raises:
        OptionError: Two of them would have one name.
    """
    columns = tuple(_columns(union, (), flat=flat, top=True))
    names = [each.name("") for each in columns]
    twice = next((each for each in names if names.count(each) > 1), None)
    if twice is not None:
        raise OptionError(
            f"The schema has two fields for a column {twice!r}. Rename one, or keep nested fields "
            "as objects (nested='objects')."
        )
    return columns


def _columns(union: Union, path: tuple[str, ...], *, flat: bool, top: bool) -> Iterator[Column]:
    held = _fields_of(union, may_be_null=not top) if top or flat else None
    if held is None:
        yield _column(union, path)
        return
    for name, each in held:
        yield from _columns(each, (*path, name), flat=flat, top=False)


def _fields_of(union: Union, *, may_be_null: bool) -> list[tuple[str, Union]] | None:
    """Return the fields of what is an object with named ones, and nothing else."""
    objects = [each for each in union if isinstance(each, Object)]
    others = [each for each in union if not isinstance(each, Object) and each != Simple("null")]
    if len(objects) != 1 or others or (len(union) > 1 and not may_be_null):
        return None
    (only,) = objects
    names = dict.fromkeys([*only.properties, *only.required])
    fields = [
        (name, property_of(only, name))
        for name in names
        if json_of(property_of(only, name)) is not None
    ]
    return fields or None


def _column(union: Union, path: tuple[str, ...]) -> Column:
    kind, categories = _kind(union)
    items = None
    if kind == "list":
        inner = [_item_column(each) for each in union if isinstance(each, (Array, Values))]
        alike = {repr(each): each for each in inner if each is not None}
        items = next(iter(alike.values())) if len(alike) == 1 and None not in inner else None
    return Column(path, kind, categories, items)


def _item_column(array: Array | Values) -> Column | None:
    if isinstance(array, Values):
        every = tuple(item for each in array.values for item in each or ())
        return _column((Values(every),), ()) if every else Column((), "string")
    parts = [*array.first]
    if array.most is None or array.most > len(array.first):
        if array.rest is None:
            return None
        parts += [array.rest] if json_of(array.rest) is not None else []
    columns = {repr(_column(each, ())): _column(each, ()) for each in parts}
    return next(iter(columns.values())) if len(columns) == 1 else None


def _kind(union: Union) -> tuple[Kind, tuple[str, ...]]:
    """Return the kind of a column; that it may be null changes nothing."""
    values = [v for each in union if isinstance(each, Values) for v in each.values]
    values = [each for each in values if each is not None]
    others = [each for each in union if not isinstance(each, Values) and each != Simple("null")]
    types = {name for each in others for name in types_of(each)}
    types |= {name for each in values for name in types_of(Values((each,)))}
    if values and not others and types == {"string"}:
        return "category", tuple(dict.fromkeys(values))
    if types == {"boolean"}:
        return "boolean", ()
    if types == {"number"}:
        return _number_kind(values, [each for each in others if isinstance(each, Number)]), ()
    if types == {"string"}:
        return _text_kind([each for each in others if isinstance(each, Text)], values), ()
    return ("list" if types == {"array"} else "object"), ()


def _number_kind(values: Sequence[Any], numbers: Sequence[Number]) -> Kind:
    whole = all(each.whole for each in numbers) and all(float(v).is_integer() for v in values)
    if not whole:
        return "number"
    return "integer" if all(LEAST_INTEGER <= v <= MOST_INTEGER for v in values) else "object"


def _text_kind(texts: Sequence[Text], values: Sequence[Any]) -> Kind:
    formats = {each.format if _is_of_format(each) else None for each in texts}
    if not values and formats == {"date"}:
        return "date"
    return "datetime" if not values and formats == {"date-time"} else "string"


def _is_of_format(text: Text) -> bool:
    """Whether the format is what a string is held to, and no mere remark."""
    return text.pattern is None and not text.least and text.most is None
