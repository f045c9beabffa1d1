"""Answers read by their schema: text becomes a value, or an error that says what is wrong."""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from hfnb.errors import AnswerError
from hfnb.schema.fields import Column
from hfnb.schema.plain import LEAST_INTEGER, MOST_INTEGER
from hfnb.schema.read import Schema

_SHOWN = 200
"""Characters of an answer that a message shows."""


def read_answer(schema: Schema, text: str, reason: str | None = "eos") -> Any:
    """Return the value of an answer, as JSON has it.

    Args:
        schema: What it was held to.
        text: The answer.
        reason: Why it ended; one that is not whole was cut off where that is ``"length"``.

    Raises:
        AnswerError: It is not whole, or a validator refuses it.
    """
    if schema.form == "labels":
        label = text.removeprefix(" ")
        if label not in schema.labels:
            raise _not_whole(text, reason, "none of the labels")
        return label
    if schema.form == "regex":
        return _read_pattern(schema.pattern, text, reason)
    try:
        value = json.loads(text)
    except ValueError as error:
        raise _not_whole(text, reason, f"no JSON ({error})") from error
    if reason == "length" and isinstance(value, (int, float)) and not isinstance(value, bool):
        raise _not_whole(text, reason, "")  # more digits may have been to come
    return _validated(schema, value, text)


def object_of(schema: Schema, text: str) -> Any:
    """Return an answer as the type that the schema was given as; as JSON has it, without one.

    Raises:
        AnswerError: It is not whole, or a validator refuses it.
    """
    value = read_answer(schema, text)
    if schema.adapter is None:
        return value
    return schema.adapter.validate_python(value) if schema.form == "labels" else _made(schema, text)


def _made(schema: Schema, text: str) -> Any:
    try:
        return schema.adapter.validate_json(text)
    except ValueError as error:  # pydantic's own is one
        raise AnswerError(
            f"The answer {_shown(text)} is refused: {refusal(error)}", text
        ) from error


def refusal(error: ValueError) -> str:
    """Return why a validator refuses an answer, in a line.

    What pydantic says by itself is several lines, with the answer and an address in them.

    Example:
        >>> refusal(ValueError("too late"))
        'too late'
    """
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return str(error)
    said = []
    for each in error.errors(include_url=False, include_input=False, include_context=False):
        where = ".".join(map(str, each["loc"]))
        what = each["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
        said.append(f"{where}: {what}" if where else what)
    return "; ".join(said)


def _validated(schema: Schema, value: Any, text: str) -> Any:
    problem = next(schema.validator.iter_errors(value), None)
    if problem is not None:
        raise AnswerError(
            f"The answer is not what the schema asks for: {problem.message}. It is {_shown(text)}.",
            text,
        )
    if schema.adapter is None:
        return value
    made = schema.adapter.dump_python(
        _made(schema, text), mode="json", by_alias=True, warnings=False
    )
    return _in_order(made, value)


def _in_order(made: Any, told: Any) -> Any:
    """Return what pydantic has made, with lists that were sets for a while as they were told."""
    if isinstance(made, dict) and isinstance(told, dict):
        return {name: _in_order(each, told.get(name)) for name, each in made.items()}
    if isinstance(made, list) and isinstance(told, list):
        same = sorted(map(repr, made)) == sorted(map(repr, told))
        return told if same else made
    return made


def _read_pattern(pattern: str, text: str, reason: str | None) -> str:
    if reason == "length":
        raise _not_whole(text, reason, "")
    for each in (text, text.removeprefix(" ")):
        if re.fullmatch(pattern, each):
            return each
    raise _not_whole(text, reason, f"no match of {pattern!r}")


def _not_whole(text: str, reason: str | None, what: str) -> AnswerError:
    if reason == "length":
        return AnswerError(
            "The answer was cut off by max_new_tokens before it was complete: "
            f"{_shown(text)}. Give it more: result.retry('truncated', max_new_tokens=...).",
            text,
        )
    if reason == "stop":
        return AnswerError(
            f"A stop string ended the answer before it was complete: {_shown(text)}. Leave stop "
            "out: a schema ends answers by itself.",
            text,
        )
    return AnswerError(f"The answer is {what}: {_shown(text)}.", text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…")


def cells_of(columns: Sequence[Column], value: Any) -> list[Any]:
    """Return an answer's value for each of some columns; ``None`` where it has none.

    Raises:
        AnswerError: A date is none that Python has.
    """
    return [_cell(column, _at(value, column.path)) for column in columns]


def as_float(value: float) -> float:
    """Return a number as 64 bits hold it: JSON may have an integer of hundreds of digits."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _at(value: Any, path: Sequence[str]) -> Any:
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def _cell(column: Column, value: Any) -> Any:
    if value is None:
        return None
    if column.kind == "number":
        return as_float(value)
    if column.kind == "integer":
        if not LEAST_INTEGER <= value <= MOST_INTEGER:
            raise AnswerError(f"{value} is an integer beyond 64 bits.", str(value))
        return int(value)
    if column.kind in ("date", "datetime"):
        try:
            made = datetime.datetime.fromisoformat(value)
            return made.astimezone(datetime.UTC) if column.kind == "datetime" else made
        except (ValueError, OverflowError) as error:
            raise AnswerError(f"{value!r} is no date that Python has: {error}.", value) from error
    return value
