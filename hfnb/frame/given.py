"""What a user may give as rows: a table in memory, or something that is read in parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hfnb.errors import OptionError
from hfnb.frame.chunks import Source, is_source, open_source
from hfnb.frame.folders import check_out
from hfnb.frame.tables import (
    WHAT_A_TABLE_IS,
    check_names,
    head,
    is_lazy,
    is_reader,
    is_table,
    to_arrow,
    to_pandas,
)
from hfnb.frame.template import check_columns


class Given(NamedTuple):
    """The rows of a run."""

    frame: pd.DataFrame
    """The rows for the prompts; of a source only the columns' names, without a row."""
    table: Any = None
    """The table that was given, where that was not a pandas frame."""
    source: Source | None = None
    """Where the rows come from, where they are read in parts."""
    out: Path | None = None
    """Where the parts go."""


def read_given(given: Any, columns: tuple[str, ...], *, out: object, limit: int | None) -> Given:
    """Find out what was given, and check that the prompt's columns are there.

    Args:
        given: What the user gave as ``df``.
        columns: The prompt's columns.
        out: The folder for parts; ``None`` for a result in memory.
        limit: The most rows.

    Raises:
        OptionError: It is nothing that has rows, or has no folder for its parts.
        TemplateError: A column is missing.
    """
    if out is not None or (is_source(given) and not is_reader(given)):
        if not (is_source(given) or is_table(given) or is_lazy(given)):
            raise _not_rows(given)
        source = open_source(given)
        names = pd.DataFrame({name: [] for name in source.schema.names})
        check_columns(columns, names)
        return Given(names, source=source, out=check_out(out, source))
    if isinstance(given, pd.DataFrame):
        check_columns(columns, given)
        return Given(given if limit is None else given.iloc[:limit])
    if not (is_table(given) or is_lazy(given) or is_reader(given)):
        raise _not_rows(given)
    table = given if limit is None else head(given, limit)
    if is_lazy(table):
        table = table.collect().lazy()  # from here on it is the rows, and not the query again
    arrow = to_arrow(table)
    if is_reader(table):
        table = arrow
    check_names(arrow.column_names)
    check_columns(columns, pd.DataFrame({name: [] for name in arrow.column_names}))
    return Given(to_pandas(arrow, columns), table=table)


def _not_rows(given: object) -> OptionError:
    hint = ""
    if isinstance(given, (pd.Series, pd.Index)):
        hint = " Convert it with series.to_frame('text')."
    elif hasattr(given, "to_frame"):
        hint = " Convert it with to_frame()."
    elif hasattr(given, "to_pandas"):
        hint = " Convert it with df.to_pandas()."
    elif isinstance(given, dict):
        hint = " Convert it with pandas.DataFrame(...)."
    return OptionError(
        f"df is {WHAT_A_TABLE_IS}; or a parquet file, a folder of them, a glob or an iterator of "
        f"frames; not {type(given).__name__}.{hint}"
    )
