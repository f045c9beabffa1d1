"""Where the rows of a run in parts come from, read piece by piece.

A source knows its columns before any row is loaded. `pieces` cuts what it reads into equal parts,
wherever files, row groups and frames begin and end: part ``k`` holds the rows from ``k * rows`` on,
each time the source is read.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from hfnb.errors import OptionError
from hfnb.frame.parquet_files import ParquetFiles
from hfnb.frame.tables import (
    WHAT_A_TABLE_IS,
    check_names,
    is_column,
    is_lazy,
    is_reader,
    is_table,
    to_arrow,
)

MOST_ROWS = 32_768
"""Rows of a part, unless the user says otherwise or the rows are large."""
_PART_BYTES = 64_000_000
"""What a part's input may take in memory, if one row does not take more."""


class Source(Protocol):
    """Rows that are read in the same order each time."""

    @property
    def schema(self) -> Any:
        """The ``pyarrow.Schema`` of its columns."""

    @property
    def rows(self) -> int | None:
        """How many rows there are; ``None`` where that shows only at the end."""

    @property
    def row_bytes(self) -> float:
        """About how many bytes a row takes in memory."""

    @property
    def identity(self) -> list[list[Any]]:
        """What is the same only while the rows are; nothing where that can't be known."""

    @property
    def seekable(self) -> bool:
        """Whether `tables` can begin in the middle without reading what is before."""

    def tables(self, begin: int) -> Iterator[Any]:
        """Yield the rows from a position on as Arrow tables of any size, but bounded."""

    def __str__(self) -> str:
        """Return what to call it in a message."""


def is_source(value: object) -> bool:
    """Whether a value is read in parts: a path, or something to iterate over that is no table."""
    if isinstance(value, (str, os.PathLike)) or is_reader(value):
        return True
    if is_table(value) or is_lazy(value) or is_column(value) or isinstance(value, Mapping):
        return False
    return isinstance(value, Iterable)


def open_source(given: Any) -> Source:
    """Find out what there is to read, and check that it fits together.

    Args:
        given: A parquet file, a folder of them, a glob, a list of paths; an iterable of frames; or
            one frame.

    Raises:
        OptionError: It can't be read, or its files differ in their columns.
    """
    if isinstance(given, (str, os.PathLike)):
        source: Source = ParquetFiles(given)
    elif is_lazy(given):
        raise OptionError(
            "A LazyFrame has no rows yet, and a run in parts may read them twice. Write it with "
            "lf.sink_parquet('input.parquet') and pass that path, or pass lf.collect()."
        )
    elif is_table(given):
        source = Frames([given], rows=len(given) if hasattr(given, "__len__") else None)
    else:
        source = Frames(given)
    check_names(source.schema.names)
    _check_parquet(source.schema)
    return source


def rows_of_a_part(source: Source) -> int:
    """Return how many rows a part has where the user does not say: a bounded number of bytes."""
    return int(max(1, min(MOST_ROWS, _PART_BYTES / max(source.row_bytes, 1.0))))


def pieces(tables: Iterable[Any], rows: int, limit: int | None = None) -> Iterator[Any]:
    """Cut and join tables into tables of ``rows`` rows each; the last one may have fewer.

    Args:
        tables: What was read.
        rows: The size of a piece.
        limit: The most rows in all.
    """
    import pyarrow as pa

    held: list[Any] = []
    count = 0
    left = float("inf") if limit is None else limit
    for table in tables if left else ():
        begin = 0
        while begin < table.num_rows and left > 0:
            piece = table.slice(begin, int(min(rows - count, left)))
            begin += piece.num_rows
            count += piece.num_rows
            left -= piece.num_rows
            held.append(piece)
            if count == rows:
                yield pa.concat_tables(held)
                held, count = [], 0
        if left <= 0:
            break
    if held:
        yield pa.concat_tables(held)


class Frames:
    """Frames of one kind after the other, read once.

    Args:
        frames: Frames, tables or record batches.
        rows: How many rows they have in all, where that is known.

    Raises:
        OptionError: There is none, or what it gives is no frame.
    """

    seekable = False

    def __init__(self, frames: Iterable[Any], rows: int | None = None) -> None:
        self.rows = rows
        self.identity: list[list[Any]] = []
        self._name = f"{type(frames).__name__} of frames" if rows is None else "frame"
        given = iter(_as_tables(frames))
        read: list[Any] = []
        for table in given:  # frames without rows may have columns without a type
            read.append(table)
            if table.num_rows:
                break
        if not read:
            raise OptionError(
                "There is no frame to read: the iterator ended before it gave one. An iterator "
                "can be used only once; make a new one for each run."
            )
        self.schema = read[-1].schema
        self.row_bytes = read[-1].nbytes / max(1, read[-1].num_rows)
        self._tables: Iterator[Any] = itertools.chain([read[-1]], given)

    def tables(self, begin: int) -> Iterator[Any]:
        """Yield the frames as Arrow tables, all with the first one's types."""
        for number, table in enumerate(self._tables):
            rest = table.slice(min(begin, table.num_rows))
            begin -= table.num_rows - rest.num_rows
            if rest.num_rows:
                yield _alike(rest, self.schema, number)

    def __str__(self) -> str:
        """Return what to call it in a message."""
        return self._name


def _as_tables(frames: Iterable[Any]) -> Iterator[Any]:
    for number, frame in enumerate(frames):
        if not is_table(frame):
            hint = " A list of paths is not read: use a glob." if isinstance(frame, str) else ""
            raise OptionError(
                f"An iterator for hfnb.run gives frames: {WHAT_A_TABLE_IS}. Number {number} is "
                f"{type(frame).__name__}.{hint}"
            )
        yield to_arrow(frame)


def _alike(table: Any, schema: Any, number: int) -> Any:
    """Return a table with the columns and types of the first one."""
    if table.schema.equals(schema, check_metadata=True):
        return table
    where = f"Frame {number} (0 is the first)"
    lacking = [name for name in schema.names if name not in table.schema.names]
    further = [name for name in table.schema.names if name not in schema.names]
    if lacking or further:
        said = [f"lacks the column {name!r}" for name in lacking[:1]]
        said += [f"has the further column {name!r}" for name in further[:1]]
        index = any(name.startswith("__index_level_") for name in (lacking + further))
        hint = " That is an index: frame.reset_index(drop=True) drops it." if index else ""
        raise OptionError(
            f"{where} {' and '.join(said)}; all frames need the same columns as the first.{hint}"
        )
    columns = []
    for field in schema:
        column = table.column(field.name)
        try:
            columns.append(column.cast(field.type))
        except Exception as error:  # ArrowInvalid, ArrowNotImplementedError, and others
            raise OptionError(
                f"{where} has the column {field.name!r} as {column.type}, and the first frame as "
                f"{field.type}: {error}. Give the column one type in all of them, such as "
                f"frame.astype({{{field.name!r}: 'string'}})."
            ) from error
    return type(table).from_arrays(columns, schema=schema)


def _check_parquet(schema: Any) -> None:
    """Check that parquet has a type for each column, before anything is computed."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    for field in schema:
        try:
            pq.write_table(pa.schema([field]).empty_table(), pa.BufferOutputStream())
        except Exception as error:  # whatever pyarrow says to a type that it can't write
            raise OptionError(
                f"The column {field.name!r} has the type {field.type}, which parquet can't hold. "
                "Convert it, or leave it out."
            ) from error
