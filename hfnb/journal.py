"""The journal of finished rows: what is in it, how large it is, and how to make it smaller.

`hfnb.run` writes each finished row to it, so that after a crash, an interrupt or a new kernel the
same call computes only what is missing. It lies in the user's data folder, readable by the user
alone, and holds models' answers; prompts only as hashes.

    hfnb.journal.entries()         what is in it, by model and options
    hfnb.journal.size()            bytes on disk
    hfnb.journal.prune(days=30)    remove what no run has used for so long
    hfnb.journal.clear()           remove it all
"""

from __future__ import annotations

import datetime
import html
import os
import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

from hfnb.errors import HfnbError, OptionError
from hfnb.journal_file import BESIDE, JournalFile, default_path, is_damage

DAMAGED = ".damaged"
"""Behind the name of a journal that was set aside because it could not be read."""
_DAY_S = 86_400


class Entry(NamedTuple):
    """Answers of one model with one way to generate."""

    model: str
    backend: str
    dtype: str
    options: str
    """The generation options, as a person reads them."""
    rows: int
    size: int
    """Bytes, roughly."""
    made: datetime.datetime
    """When the first run with it began."""
    used: datetime.datetime
    """When the last one did."""


class Entries(Sequence[Entry]):
    """What is in a journal, the last used first."""

    def __init__(self, path: Path, every: Sequence[Entry]) -> None:
        self.path = path
        self._every = tuple(every)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Entries: ...
    def __getitem__(self, index: int | slice) -> Entry | Entries:
        if isinstance(index, slice):
            return Entries(self.path, self._every[index])
        return self._every[index]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)

    def __repr__(self) -> str:
        if not self._every:
            return f"no rows in {self.path}"
        table = [self._head(), *self._body()]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
            for line in table
        ]
        return "\n".join([*lines, self._caption()])

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{each}</th>' for each in self._head())
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(each)}</td>" for each in line) + "</tr>"
            for line in self._body()
        )
        return (
            f'<table class="dataframe"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
            f"<p><small>{html.escape(self._caption())}</small></p>"
        )

    @staticmethod
    def _head() -> list[str]:
        return ["model", "ran", "options", "rows", "last used"]

    def _body(self) -> list[list[str]]:
        return [
            [
                each.model,
                f"{each.backend} {each.dtype}",
                each.options,
                f"{each.rows:,}",
                f"{each.used:%Y-%m-%d %H:%M}",
            ]
            for each in self._every
        ]

    def _caption(self) -> str:
        rows = sum(each.rows for each in self._every)
        return f"{rows:,} rows, {_size_of(self.path) / 1e6:,.1f} MB, in {self.path}"


def entries(path: str | os.PathLike[str] | None = None) -> Entries:
    """Return what is in the journal, by model and options, the last used first.

    Args:
        path: Another journal than the user's own.

    Raises:
        HfnbError: It can't be read.

    Example:
        >>> import hfnb
        >>> kept = hfnb.journal.entries()
        >>> rows = sum(each.rows for each in kept)
    """
    place = _place(path)
    if not place.is_file():
        return Entries(place, [])
    with _opened(place) as file:
        return Entries(place, [_entry(each.about, each) for each in file.contexts()])


def size(path: str | os.PathLike[str] | None = None) -> int:
    """Return the bytes that the journal takes on disk; 0 where there is none.

    Example:
        >>> import hfnb
        >>> hfnb.journal.size() >= 0
        True
    """
    return _size_of(_place(path))


def prune(days: float, path: str | os.PathLike[str] | None = None) -> int:
    """Remove answers that no run has used for some days; return how many rows went.

    Args:
        days: How long ago the last run with that model and those options began, at least.
        path: Another journal than the user's own.

    Raises:
        OptionError: ``days`` is no such number.
        HfnbError: The journal can't be read or written.

    Example:
        >>> import hfnb
        >>> removed = hfnb.journal.prune(days=365)
    """
    number: object = days
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not number >= 0:
        raise OptionError(f"days is a number, 0 or more; not {days!r}.")
    place = _place(path)
    if not place.is_file():
        return 0
    before = time.time() - days * _DAY_S
    with _opened(place) as file:
        return file.remove([each.id for each in file.contexts() if each.used <= before])


def clear(path: str | os.PathLike[str] | None = None) -> int:
    """Remove the journal with all rows, and what was set aside as damaged; return the bytes.

    A run that goes on meanwhile, in this kernel or another one, goes on without it.

    Raises:
        HfnbError: The file is not a journal of hfnb, or can't be removed.

    Example:
        >>> import hfnb
        >>> freed = hfnb.journal.clear()
    """
    place = _place(path)
    if place.is_file():
        try:
            JournalFile(place).close()
        except (sqlite3.Error, OSError) as error:
            # What can't be read is removed where only a journal can lie.
            if path is not None or not is_damage(error):
                raise _unreadable(place, error) from error
    freed = 0
    for file in _files(place):
        freed += file.stat().st_size
        try:
            file.unlink()
        except OSError as error:
            raise HfnbError(f"{file} can't be removed: {error}.") from error
    return freed


def _place(path: str | os.PathLike[str] | None) -> Path:
    return default_path() if path is None else Path(path)


def _files(place: Path) -> list[Path]:
    aside = sorted(place.parent.glob(f"{place.name}{DAMAGED}*")) if place.parent.is_dir() else []
    files = [place.with_name(place.name + each) for each in BESIDE]
    return [each for each in (*files, *aside) if each.is_file()]


def _size_of(place: Path) -> int:
    return sum(each.stat().st_size for each in _files(place))


def _opened(place: Path) -> JournalFile:
    try:
        return JournalFile(place)
    except (sqlite3.Error, OSError) as error:
        raise _unreadable(place, error) from error


def _unreadable(place: Path, error: Exception) -> HfnbError:
    return HfnbError(
        f"The journal {place} can't be read: {error}. hfnb.journal.clear() removes it; runs then "
        "begin a new one."
    )


def _entry(about: dict[str, Any], context: Any) -> Entry:
    options = about.get("options") or {}
    shown = ", ".join(f"{name}={value!r}" for name, value in options.items())
    return Entry(
        model=str(about.get("model", "?")),
        backend=str(about.get("backend", "?")),
        dtype=str(about.get("dtype", "?")),
        options=shown,
        rows=context.rows,
        size=context.size,
        made=datetime.datetime.fromtimestamp(context.made).astimezone(),
        used=datetime.datetime.fromtimestamp(context.used).astimezone(),
    )
