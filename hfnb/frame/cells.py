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
        return str.__str__(value)  # the text of an enumeration's member too, not its name
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
    if isinstance(value, np.ndarray) and value.ndim == 0:
        return _item(value[()])
    # Not tolist: it makes float64 of float32, and integers of datetime64.
    if isinstance(value, (list, tuple, np.ndarray, *_PANDAS)):
        return ", ".join(map(_item, value))
    if isinstance(value, (set, frozenset)):
        return ", ".join(sorted(map(_item, value)))
    if isinstance(value, Mapping):
        return ", ".join(f"{_item(k)}: {_item(v)}" for k, v in value.items())
    return str(value)


_PANDAS = (pd.Series, pd.Index, pd.api.extensions.ExtensionArray)


def _item(value: Any) -> str:
    return "" if is_null(value) else text_of(value)


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
    if isinstance(column.dtype, pd.CategoricalDtype):
        named = [*column_values(column.cat.categories.to_series()), None]
        return [named[code] for code in column.cat.codes]  # -1, which is nothing, is the last
    short: Any = getattr(column.dtype, "numpy_dtype", column.dtype)
    if short in (np.dtype("float32"), np.dtype("float16")):
        # tolist makes float64 of them, and 0.10000000149011612 of 0.1.
        values: list[Any] = list(column.to_numpy(dtype=short, na_value=np.nan))
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

    def __repr__(self) -> str:
        """Return the value's own, for ``{name!r}``."""
        return repr_of(self.value)


class Empty(str):
    """What a null is rendered as: no text, under every format specification."""

    def __format__(self, spec: str) -> str:
        """Return no text."""
        return ""

    def __repr__(self) -> str:
        """Return no text, for ``{name!r}``."""
        return ""


def repr_of(value: Any) -> str:
    """Return ``repr`` of a cell's value, without the name of numpy's type around it."""
    return str(value) if isinstance(value, np.generic) else repr(value)


def plain(value: Any) -> Any:
    """Return a cell's value for code to work with: itself, but a whole float is an integer."""
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) <= _WHOLE else value
    return value
