"""A part's tables: what a run over its rows gave, beside the rows, and with what was there before.

One process may compute them, and another one write them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from hfnb.errors import OptionError
from hfnb.frame.columns import arrow_columns
from hfnb.frame.outcome import merged
from hfnb.frame.parts import Part, Parts, fingerprint_of
from hfnb.frame.runner import Run
from hfnb.frame.tables import with_column

Positions = np.ndarray[Any, np.dtype[np.intp]]


class Outcome(NamedTuple):
    """What a run gave for a part, or for some of its rows, as Arrow tables."""

    outputs: Any
    """The output columns."""
    lines: Any
    """A line a row: status, finish reason, error, tokens, times."""


def outcome_of(run: Run) -> Outcome:
    """Return what a run that has ended gave."""
    lines = run.store.table(pd.RangeIndex(run.store.size))
    return Outcome(arrow_columns(run.job, run.store), lines_table(lines))


def lines_table(lines: pd.DataFrame) -> Any:
    """Return the lines of rows as an Arrow table."""
    import pyarrow as pa

    return pa.Table.from_pandas(lines, preserve_index=False)


def with_columns(table: Any, outputs: Any) -> Any:
    """Return an Arrow table with the columns of another one."""
    for name in outputs.column_names:
        table = with_column(table, name, outputs.column(name))
    return table


def write_part(
    parts: Parts, number: int, table: Any, todo: Positions | None, outcome: Outcome, mark: str
) -> Part:
    """Write a part that was computed, whole or some of its rows.

    Args:
        parts: Where it is written.
        number: Which part it is.
        table: All its rows.
        todo: The positions of the rows that were computed; ``None`` for all, where the part is new.
        outcome: What came of them.
        mark: The fingerprint of its rows.
    """
    outputs, lines = outcome
    if todo is not None:
        old = parts.data(number).select(outputs.column_names)
        outputs = merged(old, outputs, todo, table.num_rows)
        lines = merged(parts.lines(number), lines, todo, table.num_rows)
    return parts.write(number, with_columns(table, outputs).unify_dictionaries(), lines, mark)


def to_try_again(parts: Parts, number: int) -> Positions:
    """Return the positions of a part's rows that failed or were not reached."""
    status = parts.lines(number).column("status").to_pandas()
    again: Positions = status.isin(["error", "cancelled"]).to_numpy().nonzero()[0]
    return again


def check_alike(
    known: Part, table: Any, columns: list[str], begin: int, source: object, file: object
) -> None:
    """Check that a part that is there was made from rows of a source.

    Raises:
        OptionError: They are other rows.
    """
    now = fingerprint_of(table.slice(0, known.rows), columns)
    if now == known.fingerprint and known.rows <= table.num_rows:
        return
    raise OptionError(
        f"Rows {begin:,} to {begin + known.rows - 1:,} of {source} are not those that "
        f"{str(file)!r} was made from. Choose another folder (out=...) for what is there now, or "
        "give the same rows in the same order."
    )
