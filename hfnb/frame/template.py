"""A prompt with columns in braces: its columns, its errors, its rows.

Every error is found before a model is loaded, and names the nearest column.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from hfnb.errors import RowError, TemplateError, closest, listing
from hfnb.frame.cells import column_values, repr_of, text_of

SLICE = 4096
"""Rows that are rendered at a time, so that memory does not grow with the frame."""
_SHOWN = 200
"""Characters of a value that an error message shows."""


class Skipped(NamedTuple):
    """A row that gets no prompt."""

    reason: str


class _Piece(NamedTuple):
    literal: str
    column: str | None
    spec: str
    conversion: str | None


class Template:
    """Text with columns in braces, such as ``"What is the number {i} in french?"``.

    ``{{`` and ``}}`` are braces, ``{price:.2f}`` and ``{name!r}`` format as in Python. Braces in
    the cells' values are data.

    Args:
        text: The template.

    Raises:
        TemplateError: It has no column, a positional ``{}``, or unbalanced braces.

    Example:
        >>> Template("{a} and {b}").columns
        ('a', 'b')
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._pieces = list(_parse(text))
        named = [piece.column for piece in self._pieces if piece.column is not None]
        self.columns: tuple[str, ...] = tuple(dict.fromkeys(named))
        if not self.columns:
            raise TemplateError(
                "The prompt has no column, so every row would be asked the same. Write a column "
                "in braces, such as 'What is the number {i} in french?'."
            )

    @property
    def shown(self) -> str:
        """The text, as it was written."""
        return self.text

    def rows(self, frame: pd.DataFrame, nulls: str = "skip") -> Iterator[str | Skipped | RowError]:
        """Yield each row's prompt, or why it has none."""
        for values in slices(frame, self.columns):
            for row in zip(*values.values(), strict=True):
                yield self.render(dict(zip(self.columns, row, strict=True)), nulls)

    def render(self, row: Mapping[str, Any], nulls: str = "skip") -> str | Skipped | RowError:
        """Return the prompt of one row's values by column, in which ``None`` is a null."""
        parts: list[str] = []
        for literal, column, spec, conversion in self._pieces:
            parts.append(literal)
            if column is None:
                continue
            value = row[column]
            if value is None:
                if nulls == "skip":
                    return Skipped(f"column {column!r} is null")
                continue
            if type(value) is str and not spec and conversion is None:
                parts.append(value)
                continue
            try:
                parts.append(_format(value, spec, conversion))
            except Exception as error:  # the value's own code runs here
                return _unformatted(column, spec, conversion, value, error)
        return "".join(parts)


def _parse(text: str) -> Iterator[_Piece]:
    if not isinstance(text, str):
        raise TemplateError(
            f"A prompt is text with columns in braces, a LangChain prompt, or a chain; not "
            f"{type(text).__name__}."
        )
    try:
        parsed = list(string.Formatter().parse(text))
    except ValueError as error:
        raise TemplateError(
            f"The prompt's braces don't fit together ({error}). Write {{{{ and }}}} for braces "
            "that are text."
        ) from error
    for literal, field, spec, conversion in parsed:
        if field == "":
            raise TemplateError("The prompt has an empty {}. Name the column, such as {question}.")
        if spec and "{" in spec:
            raise TemplateError(f"Braces inside braces are not supported: {{{field}:{spec}}}.")
        if conversion and conversion not in ("r", "s", "a"):
            raise TemplateError(f"Unknown conversion !{conversion} in {{{field}}}. Use !r or !s.")
        yield _Piece(literal, field, spec or "", conversion)


def _format(value: Any, spec: str, conversion: str | None) -> str:
    if conversion == "r":
        return format(repr_of(value), spec)
    if conversion == "a":
        return format(repr_of(value).encode("ascii", "backslashreplace").decode(), spec)
    return format(value, spec) if spec and conversion is None else format(text_of(value), spec)


def _unformatted(
    column: str, spec: str, conversion: str | None, value: Any, error: Exception
) -> RowError:
    try:
        shown = repr(value)
    except Exception:
        shown = f"a {type(value).__name__}"
    shown = shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"
    field = column + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
    problem = RowError(f"{{{field}}} can't format {shown}: {type(error).__name__}: {error}")
    problem.__cause__ = error
    return problem


def check_columns(columns: Iterable[str], frame: pd.DataFrame) -> None:
    """Check that a prompt's columns are in the frame, once each.

    Raises:
        TemplateError: Which is not, with the nearest one.
    """
    there: list[Any] = list(frame.columns)
    for name in columns:
        count = sum(isinstance(each, str) and each == name for each in there)
        if count > 1:
            raise TemplateError(
                f"The frame has {count} columns named {name!r}, so {{{name}}} is not clear. "
                "Rename one of them."
            )
        if count == 0:
            raise TemplateError(_unknown_column(name, there))


def refuse_nulls(frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Check that no row has a null in one of the prompt's columns.

    Raises:
        TemplateError: How many rows have, and where.
    """
    missing = frame[list(columns)].isna()
    count = int(missing.any(axis=1).sum())
    if count:
        names = [name for name in columns if missing[name].any()]
        raise nulls_refused(count, len(frame), names)


def nulls_refused(count: int, rows: int, names: Sequence[str]) -> TemplateError:
    """Return the error of rows with nulls in some columns."""
    return TemplateError(
        f"{count:,} of {rows:,} rows have a null in {', '.join(map(repr, names))}. Fill them, "
        "drop them, or use nulls='skip' or nulls='empty'."
    )


def _unknown_column(name: str, there: Sequence[Any]) -> str:
    if name.isdecimal() and len(name) < 9 and int(name) in there:
        return (
            f"The frame's column {name} has a number as its name, and {{{name}}} is a position. "
            f"Rename it: df.rename(columns={{{name}: 'c{name}'}})."
        )
    if any(isinstance(each, tuple) for each in there):
        return (
            f"The frame has no column {name!r}: its columns have several levels. Flatten them "
            "first, such as df.columns = ['_'.join(map(str, c)) for c in df.columns]."
        )
    names = [str(each) for each in there]
    return (
        f"The frame has no column {name!r}.{closest(name.strip(), names)} Its columns are "
        f"{listing(names) or 'none'}."
    )


def slices(frame: pd.DataFrame, columns: Sequence[str]) -> Iterator[dict[str, list[Any]]]:
    """Yield the values of some columns, slice after slice, ``None`` for nulls."""
    chosen = [frame[name] for name in columns]
    for begin in range(0, len(frame), SLICE):
        yield {
            name: column_values(column.iloc[begin : begin + SLICE])
            for name, column in zip(columns, chosen, strict=True)
        }
