"""A run's side of the journal: what it has already, and what is written to it as rows finish.

A thread of its own writes, several rows at a time, so that the model never waits for the disk.
Whatever is wrong with the file, the run goes on without it, and says so once.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hfnb.errors import OptionError
from hfnb.journal import DAMAGED
from hfnb.journal_file import BESIDE, Answer, JournalFile, default_path, is_damage

_AT_ONCE = 5_000
"""Rows in one commit, at most."""
_MOST_WAITING = 20_000
"""Rows that may wait to be written, before the model has to wait too."""
_PROBLEMS = (sqlite3.Error, OSError)

Done = Callable[[], None]


class RunJournal:
    """The journal, as one run uses it.

    Args:
        path: Its file.
        about: What the run's answers have in common; see `hfnb.frame.identity.context_of`.
        key: The hash of that.

    Raises:
        OptionError: The file is another program's database.
    """

    def __init__(self, path: Path, about: Mapping[str, Any], key: bytes) -> None:
        self._path = path
        self._about = about
        self._key = key
        self._problem: str | None = None
        self._reads = True
        self._writes = True
        self._reader: tuple[JournalFile, int] | None = None
        self._waiting: queue.SimpleQueue[tuple[bytes, Answer, Done] | None] = queue.SimpleQueue()
        self._room = threading.Event()
        self._room.set()
        self._thread: threading.Thread | None = None
        with self._or_without("_reads"):
            self._reader = self._open()

    def find(self, prompts: Sequence[bytes]) -> dict[bytes, Answer]:
        """Return the answers that the journal has."""
        if self._reads and self._reader is not None:
            file, context = self._reader
            with self._or_without("_reads"):
                return file.find(context, prompts)
        return {}

    def add(self, prompt: bytes, answer: Answer, done: Done) -> None:
        """Have an answer written; ``done`` is called once it is, from another thread."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write, name="hfnb-journal", daemon=True)
            self._thread.start()
        if self._waiting.qsize() > _MOST_WAITING:
            self._room.clear()
            self._room.wait()
        self._waiting.put((prompt, answer, done))

    def close(self) -> None:
        """Wait until everything is written, and close the file."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
            self._thread = None
        if self._reader is not None:
            self._reader[0].close()
            self._reader = None

    def take_problem(self) -> str | None:
        """Return what went wrong with the file, once."""
        problem, self._problem = self._problem, None
        return problem

    def _open(self) -> tuple[JournalFile, int]:
        file = JournalFile(self._path)
        try:
            return file, file.context(self._about, self._key)
        except BaseException:
            file.close()
            raise

    def _write(self) -> None:
        opened: tuple[JournalFile, int] | None = None
        more = True
        while more:
            batch = [self._waiting.get()]
            with contextlib.suppress(queue.Empty):
                while len(batch) < _AT_ONCE:
                    batch.append(self._waiting.get_nowait())
            more = batch[-1] is not None
            rows = [each for each in batch if each is not None]
            if rows and self._writes:
                with self._or_without("_writes"):
                    opened = opened or self._open()
                    opened[0].add(opened[1], [(prompt, answer) for prompt, answer, _ in rows])
            for _, _, done in rows:
                done()
            if self._waiting.qsize() < _MOST_WAITING // 2:
                self._room.set()
        if opened is not None:
            opened[0].close()

    @contextlib.contextmanager
    def _or_without(self, what: str) -> Any:
        """Go on without reading or writing where that fails."""
        try:
            yield
        except OptionError:
            raise
        except _PROBLEMS as error:
            setattr(self, what, False)
            self._problem = self._problem or self._say(error)

    def _say(self, error: Exception) -> str:
        """Say what went wrong; a file of ours that is damaged makes room for a new one."""
        if is_damage(error) and self._path == default_path():
            aside = self._path.name + f"{DAMAGED}-{time.strftime('%Y%m%d-%H%M%S')}"
            with contextlib.suppress(OSError):
                for end in reversed(BESIDE):
                    part = self._path.with_name(self._path.name + end)
                    if part.exists():
                        part.rename(self._path.with_name(aside + end))
                return (
                    f"The journal was damaged ({error}), so that rows of earlier runs are computed "
                    f"again. It was set aside as {self._path.with_name(aside)}; what finishes from "
                    "now on is kept in a new one."
                )
        return (
            f"The journal {self._path} can't be used ({error}), so this run goes on without it: "
            "its result is whole, but after a crash it would begin anew. See to its folder and "
            "disk, name another file (journal=...), or remove it with hfnb.journal.clear()."
        )
