"""How one cell of a DataFrame reads in a prompt."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

_WHOLE = 2.0**53
"""Up to here a float that is whole is exactly that integer."""


def text_of(value: Any) -> str:
    """Return a cell's value as a person would write it.

    Whole floats lose their ``.0`` (a column of integers with a gap is a column of floats),
    midnight loses its time, bytes are read as UTF-8, and lists are joined by commas.

    Example:
        >>> text_of(72.0), text_of(["a", "b"]), text_of(pd.Timestamp("2024-03-01"))
        ('72', 'a, b', '2024-03-01')
    """
    if isinstance(value, str):
        return value
    if isinstance(value, (bool, np.bool_)):
        return "True" if value else "False"
    if isinstance(value, (float, np.floating)):
        return _float_text(value)
    if isinstance(value, (pd.Timestamp, datetime.datetime)):
        return _time_text(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", errors="backslashreplace")
    if isinstance(value, np.datetime64):
        return _time_text(pd.Timestamp(value))
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return ", ".join("" if is_null(each) else text_of(each) for each in value)
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(text_of(each) for each in value))
    if isinstance(value, Mapping):
        return ", ".join(f"{text_of(k)}: {text_of(v)}" for k, v in value.items())
    return str(value)


def _float_text(value: Any) -> str:
    if not math.isfinite(value):
        return str(float(value))
    if value == int(value) and abs(value) <= _WHOLE:
        return str(int(value))
    # str keeps the shortest text that gives the same number back, in the value's own precision.
    return str(value)


def _time_text(value: Any) -> str:
    at_midnight = (value.hour, value.minute, value.second, value.microsecond) == (0, 0, 0, 0)
    if at_midnight and value.tzinfo is None and not getattr(value, "nanosecond", 0):
        return str(value.date())
    return str(value)


def is_null(value: Any) -> bool:
    """Whether a value stands for nothing: None, NaN, NaT or pandas.NA."""
    if value is None or value is pd.NA or value is pd.NaT:
        return True
    if isinstance(value, (float, np.floating)):
        return bool(value != value)
    return isinstance(value, (np.datetime64, np.timedelta64)) and bool(np.isnat(value))


def column_values(column: pd.Series) -> list[Any]:
    """Return a column's values as Python objects, ``None`` for every kind of null."""
    if column.dtype in (np.dtype("float32"), np.dtype("float16")):
        values: list[Any] = list(column.to_numpy())  # numpy's own floats know their precision
    else:
        values = column.tolist()
    missing = column.isna().to_numpy()
    if missing.any():
        for i in np.flatnonzero(missing):
            values[i] = None
    return values


class Cell(str):
    """A cell's text which, under a format specification, formats the value itself.

    LangChain's templates call ``format``; with it ``{price:.2f}`` still works there, while
    ``{price}`` reads as everywhere else in hfnb.
    """

    value: Any

    def __new__(cls, value: Any) -> Cell:
        """Make the text of a value."""
        cell = super().__new__(cls, text_of(value))
        cell.value = value
        return cell

    def __format__(self, spec: str) -> str:
        """Format the value where a specification is given, else give the text."""
        return format(self.value, spec) if spec else str(self)
