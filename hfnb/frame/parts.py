"""The folder that a run in parts writes: its parts, a line a row beside them, and what made them.

    out/part-00000.parquet            rows of the input with their outputs, and nothing else
    out/_hfnb/rows-00000.parquet      a line a row: status, finish reason, error, tokens, times
    out/_hfnb/run.json                what the parts come from: source, prompt, model, options
    out/_hfnb/parts.jsonl             a line for each part that is finished, appended when it is

A part counts once its line is there; each file before it is written whole or not at all. So a
folder is valid whenever the process ends. Readers of parquet folders skip names with ``_``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from hfnb.errors import OptionError
from hfnb.frame.parts_manifest import FORMAT, check_same, read_manifest
from hfnb.frame.tables import values_of
from hfnb.frame.whole_files import replacing

_SLICE = 4096
"""Rows whose values are Python objects at a time."""


class Part(NamedTuple):
    """What is known of a part that is finished."""

    number: int
    fingerprint: str
    """Of the prompt's columns: tells whether a source still gives the same rows."""
    rows: int
    ok: int
    failed: int
    skipped: int
    cancelled: int
    cut_off: int
    tokens_in: int
    tokens_out: int
    shared: bool
    """Whether any row was computed together with others."""

    @property
    def whole(self) -> bool:
        """Whether no row is left to be tried again."""
        return not self.failed and not self.cancelled


class Parts:
    """The parts in a folder. `open_parts` makes one; one process at a time may write.

    Args:
        folder: The folder, which has a manifest.
        manifest: What the manifest says.
    """

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.known: dict[int, Part] = {
            part.number: part
            for part in _read_lines(self._hidden / "parts.jsonl")
            if self.data_file(part.number).exists() and self.lines_file(part.number).exists()
        }

    @property
    def _hidden(self) -> Path:
        return self.folder / "_hfnb"

    def data_file(self, number: int) -> Path:
        """Return where a part's rows and outputs are."""
        return self.folder / f"part-{number:05d}.parquet"

    def lines_file(self, number: int) -> Path:
        """Return where a part's lines are, one a row."""
        return self._hidden / f"rows-{number:05d}.parquet"

    def lines(self, number: int) -> Any:
        """Return a part's lines as an Arrow table."""
        return _read(self.lines_file(number))

    def data(self, number: int) -> Any:
        """Return a part's rows with their outputs as an Arrow table."""
        return _read(self.data_file(number))

    def latencies(self, number: int) -> np.ndarray[Any, Any]:
        """Return the latencies of a part's rows that are ok, in seconds."""
        lines = _read(self.lines_file(number), ["status", "latency_s"])
        ok = lines.column("status").to_pandas() == "ok"
        seconds: np.ndarray[Any, Any] = lines.column("latency_s").to_pandas()[ok].to_numpy()
        return seconds

    def write(self, number: int, data: Any, lines: Any, fingerprint: str) -> Part:
        """Write a part, or write it anew, and then say that it is finished.

        Raises:
            OSError: The disk is full, or can't be written to. What was there before still counts.
        """
        part = Part(number, fingerprint, **_figures(lines))
        _write(data, self.data_file(number))
        _write(lines, self.lines_file(number))
        with (self._hidden / "parts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(part._asdict()) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.known[number] = part
        return part


@contextlib.contextmanager
def open_parts(
    out: str | os.PathLike[str],
    what: Mapping[str, Any],
    source: Mapping[str, Any],
    made: Mapping[str, Any],
) -> Iterator[Parts]:
    """Open a folder to write parts into, or to go on with those that are in it.

    Args:
        out: The folder. It is made where it is not there.
        what: What decides the outputs, for JSON. It must be what the parts there were made with.
        source: Where the rows come from, for a person and for `same_source`.
        made: Everything that is known of the run that began it, for a person.

    Raises:
        OptionError: The folder holds the parts of another run, other parquet files, or another
            process writes to it.
    """
    folder = Path(out)
    hidden = folder / "_hfnb"
    _check_folder(folder)
    hidden.mkdir(parents=True, exist_ok=True)
    with _only_here(folder, hidden / "lock"):
        what = json.loads(json.dumps(what, default=str))
        manifest = read_manifest(folder)
        if manifest is None:
            manifest = {"format": FORMAT, "what": what, "source": source, "run": made}
            _write_text(json.dumps(manifest, indent=1), hidden / "run.json")
        else:
            check_same(folder, manifest["what"], what)
        _mend_lines(hidden / "parts.jsonl")
        yield Parts(folder, manifest)


@contextlib.contextmanager
def _only_here(folder: Path, path: Path) -> Iterator[None]:
    """Hold a lock that the system lets go of when the process ends, however it does."""
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise OptionError(
            f"Another run is writing to {str(folder)!r}. Wait for it, or choose another folder "
            "(out=...)."
        ) from None
    try:
        yield
    finally:
        lock.release()


def fingerprint_of(table: Any, columns: Sequence[str]) -> str:
    """Return a fingerprint of some columns' values, the same wherever their buffers are cut."""
    digest = hashlib.blake2b(digest_size=16)
    for begin in range(0, table.num_rows, _SLICE):
        for name in columns:
            values = values_of(table.column(name).slice(begin, _SLICE))
            digest.update(repr(values).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"out is a folder for the parts, and {str(folder)!r} is a file.")
    if not (folder / "_hfnb").exists() and any(folder.glob("*.parquet")):
        raise OptionError(
            f"The folder {str(folder)!r} holds parquet files that hfnb did not write. Choose an "
            "empty or new folder (out=...)."
        )


def _read_lines(path: Path) -> Iterator[Part]:
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        with contextlib.suppress(ValueError, TypeError):  # damaged: that part is not finished
            yield Part(**json.loads(line))


def _mend_lines(path: Path) -> None:
    """Drop a last line that a killed process did not finish."""
    if not path.exists():
        return
    with path.open("rb+") as file:
        written = file.read()
        whole = written.rfind(b"\n") + 1
        if whole < len(written):
            file.truncate(whole)


def _read(path: Path, columns: list[str] | None = None) -> Any:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read(columns)


def _write(table: Any, path: Path) -> None:
    """Write a parquet file whole or not at all."""
    import pyarrow.parquet as pq

    with replacing(path) as temporary:
        pq.write_table(table, temporary)


def _write_text(text: str, path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _figures(lines: Any) -> dict[str, Any]:
    """Return what the lines of a part's rows add up to."""
    import pyarrow.compute as pc

    status = lines.column("status").cast("string")

    def count(column: Any, value: str) -> int:
        return int(pc.sum(pc.equal(column, value)).as_py() or 0)

    ok = lines.filter(pc.equal(status, "ok"))
    return {
        "rows": lines.num_rows,
        "ok": ok.num_rows,
        "failed": count(status, "error"),
        "skipped": count(status, "skipped"),
        "cancelled": count(status, "cancelled"),
        "cut_off": count(ok.column("finish_reason").cast("string"), "length"),
        "tokens_in": int(pc.sum(ok.column("prompt_tokens")).as_py() or 0),
        "tokens_out": int(pc.sum(ok.column("new_tokens")).as_py() or 0),
        "shared": bool(pc.any(pc.greater(lines.column("batch_rows"), 1)).as_py()),
    }
