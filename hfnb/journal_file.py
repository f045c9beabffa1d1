"""The journal's file: rows that are finished, in SQLite, so that none is computed twice.

It holds answers by what they depend on: a context (the model and how it generates) and a prompt,
both as hashes; prompts themselves are not kept. Several processes may have the file open. Each row
carries a checksum of its own, since SQLite does not notice a flipped bit in a text.

SQLite's write-ahead log is used where the file system has what it needs
(https://www.sqlite.org/wal.html), and a commit is on disk when it returns (``synchronous=FULL``).
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from hfnb.errors import OptionError

APPLICATION = 0x68666E62  # "hfnb"
_VERSION = 1
_PATIENCE_S = 20.0
"""How long to wait for another process that writes."""
_CACHE_KIB = 32_768
_LOG_PAGES = 16_000
"""Pages (of 4 KiB) of the log after which SQLite moves it into the file: rarely, in large steps."""
_AT_ONCE = 500
"""Prompts asked for in one query; SQLite takes at least 999 parameters."""
_PARAMETERS = 960
"""Of an insertion, which is faster for many rows than for each: it leaves Python only once."""
_FINISH_REASONS = ("eos", "stop", "length")
BESIDE = ("", "-wal", "-shm")
"""What SQLite puts behind the file's name for the files beside it."""
_TABLES = """
CREATE TABLE IF NOT EXISTS contexts (
    id INTEGER PRIMARY KEY,
    key BLOB NOT NULL UNIQUE,
    about TEXT NOT NULL,
    made REAL NOT NULL,
    used REAL NOT NULL
);
CREATE TABLE IF NOT EXISTS answers (
    context INTEGER NOT NULL,
    prompt BLOB NOT NULL,
    text BLOB NOT NULL,
    finish_reason INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    new_tokens INTEGER NOT NULL,
    latency_s REAL NOT NULL,
    checksum INTEGER NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS answers_by_prompt ON answers (context, prompt);
"""


def default_path() -> Path:
    """Return where the journal lies unless a run names another place."""
    return Path(platformdirs.user_data_dir("hfnb", appauthor=False)) / "journal.sqlite3"


class Answer(NamedTuple):
    """What a model answered to a prompt."""

    text: str
    finish_reason: str
    prompt_tokens: int
    new_tokens: int
    latency_s: float
    """Seconds that computing it took."""


class Context(NamedTuple):
    """What some answers have in common."""

    id: int
    about: dict[str, Any]
    """The model and how it generates."""
    rows: int
    size: int
    """Bytes of the texts and what is kept with them, roughly."""
    made: float
    """When the first run with it began, in seconds since 1970."""
    used: float
    """When the last one did."""


class JournalFile:
    """An open journal. It belongs to one thread at a time.

    Args:
        path: The file; made with its folder where there is none, readable by its owner alone.

    Raises:
        sqlite3.Error: It can't be opened, read or made.
        OSError: Its folder can't be made.
        OptionError: It is another program's database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # SQLite gives the files beside it the same permissions.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        self._db = sqlite3.connect(
            path, timeout=_PATIENCE_S, isolation_level=None, check_same_thread=False
        )
        try:
            self._set_up()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(sqlite3.Error):
            self._db.close()

    def __enter__(self) -> JournalFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def context(self, about: Mapping[str, Any], key: bytes) -> int:
        """Return the number of a context, and note that it is used now."""
        now = time.time()
        self._db.execute(
            "INSERT INTO contexts (key, about, made, used) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET used = excluded.used",
            (key, json.dumps(about), now, now),
        )
        found = self._db.execute("SELECT id FROM contexts WHERE key = ?", (key,)).fetchone()
        return int(found[0])

    def find(self, context: int, prompts: Sequence[bytes]) -> dict[bytes, Answer]:
        """Return the answers that are there; one that is damaged is not."""
        found: dict[bytes, Answer] = {}
        for begin in range(0, len(prompts), _AT_ONCE):
            asked = prompts[begin : begin + _AT_ONCE]
            marks = ",".join("?" * len(asked))
            for prompt, *row, checksum in self._db.execute(
                "SELECT prompt, text, finish_reason, prompt_tokens, new_tokens, latency_s, checksum"
                f" FROM answers WHERE context = ? AND prompt IN ({marks})",
                (context, *asked),
            ):
                if (answer := _answer(prompt, row, checksum)) is not None:
                    found[prompt] = answer
        return found

    def add(self, context: int, answers: Iterable[tuple[bytes, Answer]]) -> None:
        """Write answers; they are on disk when this returns."""
        values: list[Any] = []
        for prompt, answer in answers:
            row = (
                # Half of a surrogate pair, which a tokenizer may give, is no UTF-8.
                answer.text.encode("utf-8", "surrogatepass"),
                _FINISH_REASONS.index(answer.finish_reason),
                answer.prompt_tokens,
                answer.new_tokens,
                answer.latency_s,
            )
            values += (context, prompt, *row, _checksum(prompt, *row))
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        try:
            for begin in range(0, len(values), _PARAMETERS):
                some = values[begin : begin + _PARAMETERS]
                rows = ",".join(["(?,?,?,?,?,?,?,?)"] * (len(some) // 8))
                db.execute(f"INSERT OR REPLACE INTO answers VALUES {rows}", some)
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise

    def contexts(self) -> list[Context]:
        """Return all contexts, the one last used first."""
        return [
            Context(number, _read(about), rows, size, made, used)
            for number, about, made, used, rows, size in self._db.execute(
                "SELECT c.id, c.about, c.made, c.used, count(a.context), "
                "coalesce(sum(length(a.text) + 80), 0) "
                "FROM contexts c LEFT JOIN answers a ON a.context = c.id "
                "GROUP BY c.id ORDER BY c.used DESC"
            )
        ]

    def remove(self, contexts: Sequence[int]) -> int:
        """Remove contexts with their answers, give the disk back, and return how many rows went."""
        rows = 0
        with contextlib.closing(self._db.cursor()) as cursor:
            cursor.execute("BEGIN IMMEDIATE")
            for number in contexts:
                cursor.execute("DELETE FROM answers WHERE context = ?", (number,))
                rows += cursor.rowcount
                cursor.execute("DELETE FROM contexts WHERE id = ?", (number,))
            cursor.execute("COMMIT")
        # It frees a page a step, and has no rows that `execute` would take the steps for.
        self._db.executescript("PRAGMA incremental_vacuum; PRAGMA wal_checkpoint(TRUNCATE);")
        return rows

    def _set_up(self) -> None:
        db = self._db
        is_new = self._look()
        if is_new:
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for setting in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"wal_autocheckpoint = {_LOG_PAGES}",
            f"cache_size = -{_CACHE_KIB}",
        ):
            db.execute(f"PRAGMA {setting}").fetchall()
        if is_new:
            db.executescript(
                f"BEGIN IMMEDIATE; PRAGMA application_id = {APPLICATION}; "
                f"PRAGMA user_version = {_VERSION}; {_TABLES} COMMIT;"
            )

    def _look(self) -> bool:
        """Return whether the file is empty; refuse one that is somebody else's."""
        db = self._db
        db.execute("BEGIN")  # what is read now belongs together, whatever others write
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        db.execute("COMMIT")
        if (application, version) == (APPLICATION, _VERSION):
            return False
        if tables:
            whose = "another version of hfnb" if application == APPLICATION else "another program"
            raise OptionError(
                f"{self.path} is a database of {whose}. Name a file for the journal that does not "
                "exist yet."
            )
        return True


def is_damage(error: BaseException) -> bool:
    """Whether an error says that the file itself is broken, not that it can't be reached."""
    name = getattr(error, "sqlite_errorname", "") or ""
    return name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB"))


def _checksum(prompt: bytes, text: bytes, *numbers: float) -> int:
    return zlib.crc32(repr(numbers).encode(), zlib.crc32(text, zlib.crc32(prompt)))


def _answer(prompt: bytes, row: Sequence[Any], checksum: Any) -> Answer | None:
    """Return what a row says; ``None`` if it is not what was written."""
    try:
        if checksum != _checksum(prompt, *row):
            return None
        text, reason, *numbers = row
        return Answer(text.decode("utf-8", "surrogatepass"), _FINISH_REASONS[reason], *numbers)
    except (TypeError, ValueError, LookupError):  # even the kinds of its values are damaged
        return None


def _read(about: str) -> dict[str, Any]:
    try:
        read = json.loads(about)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}
