"""What a magic takes from the user's variables: a table, a sample of one, a value."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from hfnb.errors import OptionError, closest, listing
from hfnb.frame.tables import WHAT_A_TABLE_IS, is_column, is_lazy, take
from hfnb.variables import is_rows, tables

_SAMPLE_SEED = 0
"""So that the same cell draws the same rows, and the journal has them."""


def table_of(expression: str, names: Mapping[str, Any]) -> Any:
    """Return the table that a variable holds, or that an expression such as ``df.head(3)`` gives.

    Raises:
        OptionError: There is none of that name, with the closest, or it is no table.
    """
    if expression.isidentifier() and expression not in names:
        here = tables(names)
        known = f" Tables here: {listing(here)}." if here else " There is no table here yet."
        raise OptionError(f"There is no variable {expression!r}.{closest(expression, here)}{known}")
    value = evaluate(expression, names)
    if is_rows(value):
        return value
    hint = f" Use {expression}.to_frame('text')." if is_column(value) else ""
    raise OptionError(
        f"{expression!r} is of type {type(value).__name__}, and %%hfnb runs over the rows of "
        f"{WHAT_A_TABLE_IS}.{hint}"
    )


def evaluate(expression: str, names: Mapping[str, Any]) -> Any:
    """Return what an expression of Python gives, with the user's variables.

    Raises:
        OptionError: It gives an error instead.
    """
    try:
        return eval(expression, dict(names))
    except Exception as error:  # the user's own code runs here
        said = f"{type(error).__name__}: {error}".rstrip(": ")
        raise OptionError(f"{expression!r} gives no value: {said}.") from error


def sample(table: Any, rows: object) -> Any:
    """Return some of a table's rows in their order, drawn at random but always the same.

    Raises:
        OptionError: ``rows`` is not a number of rows.
    """
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 1:
        raise OptionError(f"--sample is a number of rows, 1 or more; not {rows!r}.")
    whole = table.collect() if is_lazy(table) else table
    count = len(whole)
    chosen = random.Random(_SAMPLE_SEED).sample(range(count), min(rows, count))
    return take(whole, sorted(chosen))
