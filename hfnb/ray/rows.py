"""What may be given as rows for a cluster: a frame, a Ray Dataset, or parquet files."""

from __future__ import annotations

import fnmatch
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from hfnb.errors import OptionError
from hfnb.frame.chunks import Frames, Source, is_source, open_source
from hfnb.frame.folders import check_out
from hfnb.frame.given import Given, read_given
from hfnb.frame.parquet_files import ParquetFiles
from hfnb.frame.tables import check_names, is_reader
from hfnb.frame.template import check_columns

_SCHEME = re.compile(r"(\w\w+)://")
_GLOB = "*?["


class ClusterRows:
    """Rows that workers read: a Ray Dataset that is made when the cluster is there.

    It is what `hfnb.frame.chunks.Source` is, but for reading on this machine.
    """

    seekable = True

    def __init__(
        self,
        given: Any,
        schema: Any,
        *,
        rows: int | None = None,
        row_bytes: float = 0.0,
        identity: list[list[Any]] | None = None,
        name: str = "",
    ) -> None:
        self.given = given
        """A Dataset, paths, or a function that makes the Dataset."""
        self.schema = schema
        self.rows = rows
        self.row_bytes = row_bytes
        self.identity = identity or []
        self._name = name

    def dataset(self) -> Any:
        """Return the Dataset; a cluster has been joined."""
        if not isinstance(self.given, list):
            return self.given
        import ray

        context = ray.data.DataContext.get_current().copy()
        # Its newer reader needs aiohttp, which ray[data] does not bring, or fails now and then.
        context.use_datasource_v2 = False
        with ray.data.DataContext.current(context):
            return ray.data.read_parquet(self.given, partitioning=None, file_extensions=None)

    def tables(self, begin: int) -> Iterator[Any]:
        """Refuse: workers read these rows."""
        raise OptionError(f"The rows of {self} are read by the workers of a cluster.")

    def __str__(self) -> str:
        """Return what to call it in a message."""
        return self._name


def read_rows(given: Any, columns: tuple[str, ...], *, out: object, limit: int | None) -> Given:
    """Find out what was given, and check that the prompt's columns are there.

    Raises:
        OptionError: It is nothing that has rows, or ``out`` is no folder of this machine.
        TemplateError: A column is missing.
    """
    _check_folder(out)
    if not is_dataset(given) and not is_source(given):
        if out is None:
            return read_given(given, columns, out=out, limit=limit)
        raise OptionError(
            "With engine='ray', out is for rows that workers read: a parquet path, or a Ray "
            "Dataset, such as ray.data.from_pandas(df). A frame's result comes back without out."
        )
    source = _dataset(given) if is_dataset(given) else _files(given)
    names = pd.DataFrame({name: [] for name in source.schema.names})
    check_names(source.schema.names)
    check_columns(columns, names)
    if out is None:
        return Given(names, source=source)
    return Given(names, source=source, out=_checked_out(out, source))


def is_dataset(value: object) -> bool:
    """Whether a value is a Ray Dataset."""
    ray_data = sys.modules.get("ray.data")
    return ray_data is not None and isinstance(value, ray_data.Dataset)


def _dataset(given: Any) -> ClusterRows:
    schema = given.schema()
    if schema is None:
        raise OptionError("The Ray Dataset has no rows, so that its columns are not known.")
    return ClusterRows(given, _arrow_schema(schema), name="Dataset")


def _arrow_schema(schema: Any) -> Any:
    """Return the Arrow schema of a Dataset, also of one whose blocks are pandas frames."""
    import pyarrow as pa

    base = schema.base_schema
    if isinstance(base, pa.Schema):
        return base
    types = dict(zip(base.names, base.types, strict=True))
    return pa.Table.from_pandas(
        pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in types.items()}),
        preserve_index=False,
    ).schema


def _files(given: Any) -> ClusterRows:
    if isinstance(given, (str, os.PathLike)) and _SCHEME.match(os.fspath(given)):
        return _remote_files(os.fspath(given))
    if is_reader(given) or not isinstance(given, (str, os.PathLike)):
        raise OptionError(
            "With engine='ray', rows are a frame, a parquet path or a Ray Dataset, which workers "
            f"can read; not {type(given).__name__}. Write them as parquet first."
        )
    source = open_source(given)
    assert isinstance(source, ParquetFiles)
    return ClusterRows(
        [str(path.resolve()) for path in source.paths],
        source.schema,
        rows=source.rows,
        row_bytes=source.row_bytes,
        identity=source.identity,
        name=str(source),
    )


def _remote_files(url: str) -> ClusterRows:
    """Look at parquet files in an object store, through Arrow's own file systems."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    scheme = _SCHEME.match(url)
    assert scheme is not None
    try:
        filesystem, paths = _found(url)
        if not paths:
            raise OptionError(f"No parquet file is at {url!r}.")
        with filesystem.open_input_file(paths[0]) as file:
            footer = pq.read_metadata(file)
    except (OSError, pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise OptionError(
            f"{url!r} can't be read: {error}. See to the address and the credentials; or pass a "
            "Ray Dataset, such as ray.data.read_parquet(..., filesystem=...)."
        ) from error
    sizes = [footer.row_group(i).total_byte_size for i in range(footer.num_row_groups)]
    return ClusterRows(
        [f"{scheme[0]}{path}" for path in paths],
        footer.schema.to_arrow_schema(),
        row_bytes=sum(sizes) / max(1, footer.num_rows),
        name=url,
    )


def _found(url: str) -> tuple[Any, list[str]]:
    """Return the file system of an address, and the files that it means, sorted."""
    from pyarrow import fs

    first_sign = min((url.find(sign) for sign in _GLOB if sign in url), default=len(url))
    base = url if first_sign == len(url) else url[:first_sign].rpartition("/")[0]
    filesystem, folder = fs.FileSystem.from_uri(base)
    if base == url and filesystem.get_file_info(folder).type == fs.FileType.File:
        return filesystem, [folder]
    pattern = folder + url[len(base) :] if base != url else f"{folder}/*.parquet"
    selector = fs.FileSelector(folder, recursive="**" in url)
    every = [each.path for each in filesystem.get_file_info(selector) if each.is_file]
    hidden = ("_", ".")
    return filesystem, sorted(
        each
        for each in every
        if fnmatch.fnmatch(each, pattern) and not Path(each).name.startswith(hidden)
    )


def _check_folder(out: object) -> None:
    if isinstance(out, (str, os.PathLike)) and _SCHEME.match(os.fspath(out)):
        raise OptionError(
            f"out={os.fspath(out)!r} is not on this machine, and the parts are written by this "
            "process, so that they can be gone on with. Use a folder, or leave out away and write "
            "the Dataset that comes back: result.data.write_parquet('s3://...')."
        )


def _checked_out(out: object, source: Source) -> Path:
    """Check the folder for the parts, also that it is not among the files that are read."""
    given = getattr(source, "given", None)
    if isinstance(given, list) and not _SCHEME.match(str(source)):
        return check_out(out, ParquetFiles(str(source)))
    return check_out(out, Frames([pd.DataFrame({"x": [0]})]))
