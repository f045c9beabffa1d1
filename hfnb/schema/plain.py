"""JSON schemas in plain form: what a value may be, one alternative a type.

`hfnb.schema.document` reads a schema into these, `hfnb.schema.meet` says what holds to two of them,
and `hfnb.schema.written` writes them for a grammar.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from hfnb.errors import OptionError

LEAST_INTEGER, MOST_INTEGER = -(2**63), 2**63 - 1
"""What an integer of 64 bits holds."""


@dataclasses.dataclass(frozen=True)
class Values:
    """One of some values."""

    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Simple:
    """A null, or a boolean."""

    type: Literal["null", "boolean"]


@dataclasses.dataclass(frozen=True)
class Number:
    """A number within bounds, which belong to it unless they are ``above`` or ``below``."""

    whole: bool = False
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    multiple: int | None = None


@dataclasses.dataclass(frozen=True)
class Text:
    """A string of some length in characters, of a pattern, or of a format."""

    least: int = 0
    most: int | None = None
    pattern: str | None = None
    format: str | None = None


@dataclasses.dataclass(frozen=True)
class Array:
    """An array: what its first items are, and what those behind them (``None``: anything)."""

    first: tuple[Union, ...] = ()
    rest: Union | None = None
    least: int = 0
    most: int | None = None


@dataclasses.dataclass(frozen=True)
class Object:
    """An object: its named properties, and what others may be (``None``: anything)."""

    properties: Mapping[str, Union] = dataclasses.field(default_factory=dict)
    required: tuple[str, ...] = ()
    rest: Union | None = None
    patterns: tuple[tuple[str, Union], ...] = ()
    """What properties are whose names have a pattern."""
    names: tuple[Union, ...] = ()
    """What a name must be."""
    least: int = 0
    most: int | None = None


Alternative = Values | Simple | Number | Text | Array | Object
Union = tuple[Alternative, ...]
"""What a value may be: one of these; nothing at all, where there is none."""

ANY: Union = (Simple("null"), Simple("boolean"), Number(), Text(), Array(), Object())


def types_of(alternative: Alternative) -> set[str]:
    """Return the types that a value may have; an integer is a number here."""
    if isinstance(alternative, Values):
        return {type_of(each) for each in alternative.values}
    if isinstance(alternative, Simple):
        return {alternative.type}
    if isinstance(alternative, Number):
        return {"number"}
    if isinstance(alternative, Text):
        return {"string"}
    return {"array" if isinstance(alternative, Array) else "object"}


def type_of(value: Any) -> str:
    """Return the type of a value, as JSON has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def refused(why: str) -> OptionError:
    """Return the error for a schema that no grammar can hold an answer to."""
    return OptionError(f"The schema asks for what an answer can't be held to: {why}.")
