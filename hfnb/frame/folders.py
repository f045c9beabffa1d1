"""Where a run in parts may write, and how large its parts are: checked before a model loads."""

from __future__ import annotations

import os
from fnmatch import fnmatch
from pathlib import Path

from hfnb.errors import OptionError
from hfnb.frame.chunks import Source
from hfnb.frame.parquet_files import ParquetFiles


def check_part_rows(rows: object) -> int | None:
    """Check how many rows a part is to have."""
    if rows is None or (isinstance(rows, int) and not isinstance(rows, bool) and rows > 0):
        return rows
    raise OptionError(f"part_rows is a number of rows, 1 or more; not {rows!r}.")


def check_out(out: object, source: Source) -> Path:
    """Check the folder for the parts: it may not be where the source is read from.

    Raises:
        OptionError: It is missing, not a path, or among the source's files.
    """
    if out is None:
        raise OptionError(
            f"Rows of {source} are read piece by piece, and their outputs are written so: say "
            "where to, such as out='answers'."
        )
    if not isinstance(out, (str, os.PathLike)) or not os.fspath(out):
        raise OptionError(f"out is a folder for the parts; not {out!r}.")
    folder = Path(out).expanduser()
    if isinstance(source, ParquetFiles) and _is_read_from(folder.resolve(), source):
        raise OptionError(
            f"out={str(out)!r} lies where the input is read from, and the parts would be read as "
            "input the next time. Choose a folder elsewhere."
        )
    return folder


def _is_read_from(folder: Path, source: ParquetFiles) -> bool:
    """Whether files in a folder would be found among the source's."""
    given = Path(str(source)).expanduser().resolve()
    if "**" in str(given):
        return fnmatch(str(folder / "part.parquet"), str(given))
    inside = given.is_dir() and given in (folder, *folder.parents)
    return inside or any(path.resolve().parent == folder for path in source.paths)
