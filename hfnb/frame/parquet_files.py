"""Parquet files as a source of rows: found, compared by their footers, read in batches."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hfnb.errors import OptionError, closest

_BATCH_ROWS = 16_384
"""Rows that are decoded at a time."""
_SUFFIXES = (".parquet", ".pq", ".parq")


class ParquetFiles:
    """The rows of parquet files, one file after the other in the order of their names.

    Args:
        given: A file, a folder (with the folders in it), or a glob (``"data/*.parquet"``).

    Raises:
        OptionError: There is no such file, one is not parquet, or their columns differ.
    """

    seekable = True

    def __init__(self, given: str | os.PathLike[str]) -> None:
        self._given = os.fspath(given)
        self.paths = find(self._given)
        footers = [_footer(path) for path in self.paths]
        first = footers[0].schema.to_arrow_schema()
        for path, footer in zip(self.paths[1:], footers[1:], strict=True):
            _check_alike(path, footer.schema.to_arrow_schema(), self.paths[0], first)
        self.schema = first
        self._counts = [int(footer.num_rows) for footer in footers]
        self.rows: int | None = sum(self._counts)
        groups = [footers[0].row_group(i) for i in range(footers[0].num_row_groups)]
        self.row_bytes = sum(each.total_byte_size for each in groups) / max(1, self._counts[0])
        self.identity = [
            [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
            for path in self.paths
        ]

    def tables(self, begin: int) -> Iterator[Any]:
        """Yield the rows from a position on; what lies before it is not decoded."""
        for path, count in zip(self.paths, self._counts, strict=True):
            if begin < count:
                yield from _tables(path, begin, self.schema)
            begin = max(0, begin - count)

    def __str__(self) -> str:
        """Return what to call it in a message."""
        return self._given


def _tables(path: Path, begin: int, schema: Any) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        groups = list(range(file.num_row_groups))
        while groups and begin >= file.metadata.row_group(groups[0]).num_rows:
            begin -= file.metadata.row_group(groups.pop(0)).num_rows
        for batch in file.iter_batches(_BATCH_ROWS, row_groups=groups):
            rest = batch.slice(min(begin, batch.num_rows))
            begin -= batch.num_rows - rest.num_rows
            if rest.num_rows:
                table = pa.Table.from_batches([rest])
                yield table.select(schema.names).cast(schema)


def find(given: str) -> list[Path]:
    """Return the files that a path, a folder or a glob means, sorted.

    Raises:
        OptionError: None is there.
    """
    if re.match(r"\w\w+://", given):
        raise OptionError(
            f"{given!r} is not on this machine, and hfnb reads files that are. Download it, or "
            "pass an iterator of frames that fetches it piece by piece."
        )
    path = Path(given).expanduser()
    if path.is_dir():
        return _in_folder(path)
    if path.exists():
        return [path]
    if any(sign in given for sign in "*?["):
        root = Path(path.anchor)
        files = [each for each in root.glob(str(path.relative_to(root))) if each.is_file()]
        if not files:
            raise OptionError(f"No file is named like {given!r} (from {Path.cwd()}).")
        return sorted(files)
    beside = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    raise OptionError(
        f"There is no file or folder {given!r} (from {Path.cwd()}).{closest(path.name, beside)}"
    )


def _in_folder(folder: Path) -> list[Path]:
    """Return the parquet files in a folder; as everywhere, ``_`` and ``.`` hide files."""
    files = []
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder).parts
        if any(part.startswith(("_", ".")) for part in inside) or path.suffix not in _SUFFIXES:
            continue
        values = next((part for part in inside[:-1] if "=" in part), None)
        if values is not None:
            raise OptionError(
                f"The folder {str(folder)!r} has values in its folders' names ({values}), which a "
                "run over its files would lose. Pass frames with all columns: "
                f"pyarrow.dataset.dataset({str(folder)!r}, partitioning='hive').to_batches()."
            )
        files.append(path)
    if not files:
        raise OptionError(
            f"The folder {str(folder)!r} has no parquet file ({', '.join(_SUFFIXES)}) in it."
        )
    return files


def _footer(path: Path) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.read_metadata(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise OptionError(
            f"{str(path)!r} can't be read as a parquet file ({error}). Write other formats as "
            "parquet first, or pass an iterator of frames, such as "
            "pandas.read_csv(path, chunksize=10_000)."
        ) from error


def _check_alike(path: Path, schema: Any, first_path: Path, first: Any) -> None:
    there = {field.name: field.type for field in schema}
    wanted = {field.name: field.type for field in first}
    if there == wanted:  # perhaps in another order
        return
    if name := next((each for each in wanted if each not in there), None):
        problem = f"has no column {name!r}"
    elif name := next((each for each in there if each not in wanted), None):
        problem = f"has the further column {name!r}"
    else:
        name = next(each for each in wanted if there[each] != wanted[each])
        problem = f"has the column {name!r} as {there[name]}, not {wanted[name]}"
    raise OptionError(
        f"The files differ: {str(path)!r} {problem}; compared with {str(first_path)!r}. Write them "
        "with one schema, or run over those that are alike."
    )
