"""Rows from all over a file, for a look at what is too large to be read for it."""

from __future__ import annotations

import os
from typing import NamedTuple

import pandas as pd

from hfnb.frame.chunks import Source, open_source, pieces, rows_of_a_part
from hfnb.frame.stream import MOST_OPEN
from hfnb.frame.tables import to_pandas
from hfnb.frame.template import check_columns

_ROWS = 4_096
"""Rows that are read, at most."""
_PLACES = 16
"""Places in the file that they are read from: data is often sorted."""


class Excerpt(NamedTuple):
    """Some rows, and what they stand for."""

    frame: pd.DataFrame
    """The rows, each with its position in the whole as its label."""
    rows: int
    """The rows of the whole, or the first ``limit`` of them."""
    held_rows: int
    """The rows that a run over the whole has in memory at a time."""
    row_bytes: float
    """About how many bytes a row takes in memory."""


def excerpt_of(
    given: str | os.PathLike[str], columns: tuple[str, ...], limit: int | None
) -> Excerpt:
    """Read some rows of parquet files.

    Args:
        given: A file, a folder or a glob.
        columns: The prompt's columns.
        limit: The most rows in all.

    Raises:
        OptionError: There is no such file, or it can't be read.
        TemplateError: A column is missing.
    """
    source = open_source(given)
    check_columns(columns, pd.DataFrame({name: [] for name in source.schema.names}))
    assert source.rows is not None  # the files' footers say it
    rows = source.rows if limit is None else min(source.rows, limit)
    if rows <= _ROWS:
        frame = _read(source, 0, rows, columns)
    else:
        size = _ROWS // _PLACES
        starts = (place * (rows - size) // (_PLACES - 1) for place in range(_PLACES))
        frame = pd.concat([_read(source, begin, size, columns) for begin in starts])
    held = min(rows, (MOST_OPEN + 1) * rows_of_a_part(source))
    return Excerpt(frame, rows, held, source.row_bytes)


def _read(source: Source, begin: int, rows: int, columns: tuple[str, ...]) -> pd.DataFrame:
    table = next(pieces(source.tables(begin), max(rows, 1), rows), source.schema.empty_table())
    frame = to_pandas(table, columns)
    frame.index = pd.RangeIndex(begin, begin + len(frame))
    return frame
