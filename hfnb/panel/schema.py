"""The fields of an answer, as they stand in the panel: what `hfnb.run` is given, and as code."""

from __future__ import annotations

import datetime
from typing import Any

from hfnb.errors import HfnbError
from hfnb.panel.state import Asking, SchemaField
from hfnb.schema.editor import CHOICE, FIELD_TYPES, fields_of

KINDS = (*FIELD_TYPES, CHOICE)
"""The types to pick from."""
_PYTHON = {datetime.date: "datetime.date", datetime.datetime: "datetime.datetime"}


def schema_of(asking: Asking) -> dict[str, Any] | None:
    """Return what ``schema=`` takes; ``None`` without fields.

    Raises:
        OptionError: A field has no name, a name is there twice, or a choice lacks labels.

    Example:
        >>> schema_of(Asking(fields=(SchemaField("stars", "int"),)))
        {'stars': <class 'int'>}
    """
    if not asking.fields:
        return None
    return fields_of((each.name, each.kind, _labels(each)) for each in asking.fields)


def columns_to_come(asking: Asking) -> str:
    """Return the columns that the fields will make, or what is wrong with them.

    Example:
        >>> columns_to_come(Asking(fields=(SchemaField("tone", "choice", "good|bad"),)))
        'Columns to come: tone (category)'
    """
    from hfnb.schema.read import read_schema

    try:
        schema = schema_of(asking)
        if schema is None:
            return "Without a field the answer is text, in the output column."
        columns = read_schema(schema).columns()
    except HfnbError as error:
        return str(error)
    shown = ", ".join(f"{each.name(asking.into)} ({each.dtype})" for each in columns)
    return f"Columns to come: {shown}"


def python_of(asking: Asking) -> str:
    """Return the schema as Python writes it; empty without one.

    Raises:
        OptionError: As from `schema_of`.

    Example:
        >>> python_of(Asking(fields=(SchemaField("stars", "int"),)))
        "{'stars': int}"
    """
    schema = schema_of(asking)
    if schema is None:
        return ""
    return "{" + ", ".join(f"{name!r}: {_written(each)}" for name, each in schema.items()) + "}"


def inline_of(asking: Asking) -> str | None:
    """Return the schema as one line of text; ``None`` where a line can't hold it.

    Example:
        >>> inline_of(Asking(fields=(SchemaField("tone", "choice", "good | bad"),)))
        'tone: good|bad'
    """
    parts = []
    for each in asking.fields:
        kind = "|".join(_labels(each)) if each.kind == CHOICE else each.kind
        if set(each.name + kind) & set(",:") or (each.kind != CHOICE and "|" in kind):
            return None
        parts.append(f"{each.name.strip()}: {kind}")
    return ", ".join(parts)


def _labels(field: SchemaField) -> list[str]:
    if field.kind != CHOICE:
        return []
    return [each.strip() for each in field.choices.split("|") if each.strip()]


def _written(kind: Any) -> str:
    if isinstance(kind, list):
        return repr(kind)
    if kind in _PYTHON:
        return _PYTHON[kind]
    return str(kind) if hasattr(kind, "__args__") else str(kind.__name__)
