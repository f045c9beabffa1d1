"""Whether parquet files have nulls in the prompt's columns, found before the slow part of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from hfnb.frame.parquet_files import ParquetFiles
from hfnb.frame.tables import to_pandas
from hfnb.frame.template import nulls_refused


def refuse_nulls_in(files: ParquetFiles, columns: Sequence[str], limit: int | None) -> None:
    """Check that no row of some files has a null in one of the prompt's columns.

    Footers count nulls, which takes no time. Where they don't, or count some, and for numbers that
    may be NaN, these columns alone are read.

    Raises:
        TemplateError: How many rows have, and where.
    """
    unsure = [name for name in columns if not _has_none(files, name)]
    if not unsure:
        return
    rows = count = 0
    found: set[str] = set()
    for table in _tables(files, unsure, limit):
        missing = to_pandas(table, unsure)[unsure].isna()
        rows += len(missing)
        count += int(missing.any(axis=1).sum())
        found |= {name for name in unsure if missing[name].any()}
    if count:
        raise nulls_refused(count, rows, [name for name in columns if name in found])


def _has_none(files: ParquetFiles, name: str) -> bool:
    """Whether the footers say that a column has no null, and its type has no NaN."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = files.schema.field(name).type
    if pa.types.is_floating(kind) or pa.types.is_nested(kind) or pa.types.is_dictionary(kind):
        return False
    for path in files.paths:
        footer = pq.read_metadata(path)
        at = [footer.schema.column(i).path for i in range(footer.num_columns)].index(name)
        for group in range(footer.num_row_groups):
            known = footer.row_group(group).column(at).statistics
            if known is None or not known.has_null_count or known.null_count:
                return False
    return True


def _tables(files: ParquetFiles, columns: list[str], limit: int | None) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    left = files.rows if limit is None else limit
    for path in files.paths:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(columns=columns):
                if not left:
                    return
                rows = batch.slice(0, left)
                left -= rows.num_rows
                yield pa.Table.from_batches([rows]).select(columns)
