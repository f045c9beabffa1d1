"""A schema in a comparison: its fields, answers that it refuses, and which ones are right."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import pandas as pd

from hfnb.comparing.measuring import Measured
from hfnb.engines.base import Completion
from hfnb.errors import OptionError, closest, listing
from hfnb.frame.cells import is_null, text_of
from hfnb.frame.structure import Structure
from hfnb.schema.fields import Column

Reference = str | Mapping[str, str]
"""The column of right answers; of a schema's fields, that of each."""
ONE = ""
"""The name of the field of an answer that is one value."""


def fields_of(structure: Structure) -> dict[str, Column]:
    """Return the fields of an answer by name; one that is a value by itself has an empty one."""
    return {each.name(ONE): each for each in structure.columns}


def held(structure: Structure, found: Measured) -> Measured:
    """Return what was measured, without answers that a validator of the user's refuses.

    The candidate's own process knows the schema, and not the class that it was made from.
    """
    if structure.schema.adapter is None:
        return found
    outputs, rows = list(found.outputs), found.rows.copy()
    for at, text in enumerate(outputs):
        if text is None:
            continue
        error = structure.read(Completion(at, text, "eos")).error
        if error is not None:
            outputs[at] = None
            rows.loc[at, ["status", "error"]] = ["error", str(error)]
    refused = sum(text is not None for text in found.outputs) - sum(
        text is not None for text in outputs
    )
    stats = found.stats | {
        "ok": found.stats["ok"] - refused,
        "failed": found.stats["failed"] + refused,
    }
    return dataclasses.replace(found, outputs=outputs, rows=rows, stats=stats)


def right_columns(reference: object, structure: Structure | None) -> dict[str, str]:
    """Return the columns of right answers by field; of answers without a schema, by "".

    Raises:
        OptionError: The reference does not fit the schema.
    """
    if reference is None:
        return {}
    if structure is None:
        if isinstance(reference, str):
            return {ONE: reference}
        raise OptionError(
            "reference is the name of the column with the right answers, or with a schema a "
            f"dictionary of fields and their columns; not {reference!r}."
        )
    fields = fields_of(structure)
    if isinstance(reference, Mapping):
        for name in reference:
            if name not in fields:
                raise OptionError(
                    f"The schema has no field {name!r}.{closest(str(name), fields)} It has "
                    f"{listing([each or 'one value, not fields' for each in fields])}."
                )
        return {str(name): column for name, column in reference.items()}
    if isinstance(reference, str) and (len(fields) == 1 or reference in fields):
        return {next(iter(fields)) if len(fields) == 1 else reference: reference}
    name = next(iter(fields))
    raise OptionError(
        f"The schema has the fields {listing(fields)}: say which column has the right answers of "
        f"which field, such as reference={{{name!r}: {str(reference)!r}}}."
    )


def right_values(column: Column, cells: pd.Series) -> list[Any]:
    """Return right answers as values of a field; ``None`` where there is none.

    Raises:
        OptionError: One of them can't be such a value.
    """
    try:
        return [None if is_null(each) else _converted(column, each) for each in cells]
    except (ValueError, TypeError, OverflowError) as error:
        raise OptionError(
            f"The column {cells.name!r} has right answers for a field of the type {column.kind}, "
            f"and not all are: {error}."
        ) from error


def _converted(column: Column, value: Any) -> Any:
    if column.kind in ("category", "string"):
        return text_of(value)
    if column.kind in ("integer", "number"):
        return float(value)
    if column.kind == "boolean":
        if value in (0, 1):  # those of numpy too
            return bool(value)
        raise ValueError(f"{value!r} is neither true nor false")
    if column.kind in ("date", "datetime"):
        time = pd.Timestamp(value)
        if column.kind == "date":
            return time.tz_localize(None)
        return time.tz_localize("UTC") if time.tz is None else time.tz_convert("UTC")
    return value.tolist() if hasattr(value, "tolist") else value
