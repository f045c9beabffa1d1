"""Tables of other libraries: to Arrow and pandas for the prompts, and back to what they were.

A table's own columns are never converted on the way back: the output is put beside them.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd

from hfnb.errors import OptionError, TemplateError

WHAT_A_TABLE_IS = (
    "a pandas or polars DataFrame, a pyarrow Table, or another table that gives Arrow data"
)


def is_table(value: object) -> bool:
    """Whether a value holds rows in memory: a frame of pandas, polars, pyarrow or their like."""
    if isinstance(value, pd.DataFrame):
        return True
    if is_column(value) or is_reader(value):
        return False
    return hasattr(value, "__arrow_c_stream__") or hasattr(value, "__dataframe__")


def is_lazy(value: object) -> bool:
    """Whether a value is a polars ``LazyFrame``: a query whose rows are not there yet."""
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(value, polars.LazyFrame)


def is_reader(value: object) -> bool:
    """Whether a value is a pyarrow ``RecordBatchReader``: batches that can be read once."""
    pa = sys.modules.get("pyarrow")
    return pa is not None and isinstance(value, pa.RecordBatchReader)


def is_column(value: object) -> bool:
    """Whether a value is a single column: it can be iterated, and may give Arrow data."""
    if isinstance(value, (pd.Series, pd.Index)):
        return True
    polars, pa = sys.modules.get("polars"), sys.modules.get("pyarrow")
    if polars is not None and isinstance(value, polars.Series):
        return True
    return pa is not None and isinstance(value, (pa.Array, pa.ChunkedArray))


def head(table: Any, rows: int) -> Any:
    """Return a table's first rows, as the kind of table that it is."""
    if is_lazy(table) or _is_polars(table):
        return table.head(rows)
    return (table if hasattr(table, "slice") else to_arrow(table)).slice(0, rows)


def take(table: Any, positions: Sequence[int]) -> Any:
    """Return some of a table's rows, as the kind of table that it is."""
    if isinstance(table, pd.DataFrame):
        return table.iloc[list(positions)]
    if _is_polars(table):
        return table[list(positions)]
    return to_arrow(table).take(list(positions))


def columns_of(table: Any) -> list[Any]:
    """Return the names of a table's columns, reading none of its rows."""
    if is_lazy(table):
        return list(table.collect_schema().names())
    names = getattr(table, "column_names", getattr(table, "columns", None))
    if names is None or callable(names):
        names = to_arrow(table).column_names
    return list(names)


def to_arrow(table: Any) -> Any:
    """Return a table as a ``pyarrow.Table``, sharing its memory where that is possible.

    Raises:
        OptionError: A column holds what Arrow has no type for.
    """
    import pyarrow as pa

    try:
        if isinstance(table, pd.DataFrame):
            arrow = pa.Table.from_pandas(table)
            _check_kinds(table, arrow)
            return arrow
        if isinstance(table, pa.Table):
            return table
        if isinstance(table, pa.RecordBatch):
            return pa.Table.from_batches([table])
        if is_lazy(table):
            return table.collect().to_arrow()
        if _is_polars(table):
            return table.to_arrow()
        if hasattr(table, "__arrow_c_stream__"):
            return pa.table(table)
        from pyarrow.interchange import from_dataframe

        return from_dataframe(table)
    except Exception as error:  # other libraries' code runs here
        raise OptionError(
            f"A {type(table).__name__} could not be read as an Arrow table: {_reason(error)}. Give "
            "each of its columns one type that Arrow has."
        ) from error


def _check_kinds(frame: pd.DataFrame, arrow: Any) -> None:
    """Refuse numbers among dates and times, which Arrow would take for dates and times too."""
    import pyarrow as pa

    for at, name in enumerate(frame.columns):
        column, in_arrow = frame.iloc[:, at], arrow.schema.field(at).type
        if column.dtype != object or not pa.types.is_temporal(in_arrow):
            continue
        if pd.api.types.infer_dtype(column, skipna=True).startswith("mixed"):
            raise TypeError(f"column {name!r} holds dates or times, and other values")


def _reason(error: Exception) -> str:
    # pyarrow adds which column it was as a second argument.
    said = "; ".join(str(each) for each in error.args) or type(error).__name__
    return said.rstrip(".")


def _is_polars(table: object) -> bool:
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(table, polars.DataFrame)


def to_pandas(table: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Return an Arrow table for rendering prompts of some of its columns.

    Those columns become pandas' ordinary types, integers and booleans those that have nulls, so
    that a cell reads as it would from pandas. The others stay Arrow's and share its memory.
    """
    names = [name for name in columns if name in table.column_names]
    plain = table.select(names).replace_schema_metadata(None)
    try:
        frame: pd.DataFrame = plain.to_pandas(types_mapper=_with_nulls().get)
    except (ValueError, OverflowError):
        frame = _dates_as_text(plain).to_pandas(types_mapper=_with_nulls().get)
    others = {
        name: pd.Series(pd.arrays.ArrowExtensionArray(column))
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name not in names
    }
    both = pd.concat([frame, pd.DataFrame(others, index=frame.index)], axis=1)
    return both.reindex(columns=pd.Index(table.column_names))


def _dates_as_text(table: Any) -> Any:
    """Return a table in which dates are text: Python has none before the year 1 or after 9999."""
    import pyarrow as pa

    for at, field in enumerate(table.schema):
        if pa.types.is_date(field.type) or pa.types.is_timestamp(field.type):
            table = table.set_column(at, field.name, table.column(at).cast(pa.string()))
    return table


def values_of(column: Any) -> list[Any]:
    """Return an Arrow column's values as Python has them, or, where it has not, as text."""
    import pyarrow as pa

    try:
        values: list[Any] = column.to_pylist()
    except (ValueError, OverflowError):
        values = column.cast(pa.string()).to_pylist()
    return values


def _with_nulls() -> dict[Any, Any]:
    import pyarrow as pa

    return {
        pa.int8(): pd.Int8Dtype(),
        pa.int16(): pd.Int16Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.int64(): pd.Int64Dtype(),
        pa.uint8(): pd.UInt8Dtype(),
        pa.uint16(): pd.UInt16Dtype(),
        pa.uint32(): pd.UInt32Dtype(),
        pa.uint64(): pd.UInt64Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }


def check_names(names: Sequence[str]) -> None:
    """Check that no two columns of an Arrow table have one name, which only Arrow allows.

    Raises:
        TemplateError: Which name it is.
    """
    twice = next((name for name in names if list(names).count(name) > 1), None)
    if twice is not None:
        raise TemplateError(
            f"The table has several columns named {twice!r}, so which one is meant is not clear. "
            "Rename them."
        )


def with_column(table: Any, name: str, values: Any) -> Any:
    """Return a ``pyarrow.Table`` with a column appended, or replaced where the name is taken."""
    import pyarrow as pa

    field = pa.field(name, values.type)
    if name in table.column_names:
        return table.set_column(table.column_names.index(name), field, values)
    return table.append_column(field, values)


def with_output(given: Any, name: str, values: Any) -> Any:
    """Return the table that was given with an output column, as the kind of table that it is.

    Args:
        given: A polars frame or lazy frame, a pyarrow table or record batch. What else gives Arrow
            data comes back as a ``pyarrow.Table``.
        name: The output column. It is appended, or replaced where the table has it.
        values: The outputs, a pandas or numpy array.
    """
    import pyarrow as pa

    column = as_arrow(values)
    if is_lazy(given) or _is_polars(given):
        import polars

        return given.with_columns(polars.Series(name, column))
    if isinstance(given, pa.RecordBatch):
        whole = with_column(pa.Table.from_batches([given]), name, column).combine_chunks()
        batches = whole.to_batches()
        return batches[0] if batches else pa.RecordBatch.from_pylist([], schema=whole.schema)
    return with_column(to_arrow(given), name, column)


def as_arrow(values: Any) -> Any:
    """Return an output column as an Arrow array.

    Text is ``large_string``. What a chain's parser made is given the type that Arrow finds for it.

    Raises:
        OptionError: Arrow finds none: the rows hold objects, or differ in their types.
    """
    import pyarrow as pa

    if isinstance(values, pa.Array):
        return values
    try:
        column = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise OptionError(
            f"The chain's outputs fit in no Arrow column ({_reason(error)}). End the chain with a "
            "step that gives text or numbers, or pass df.to_pandas(): pandas holds any object."
        ) from error
    return column.cast(pa.large_string()) if pa.types.is_null(column.type) else column
