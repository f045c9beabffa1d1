"""Which rows need not be computed: those whose prompt was had before, now or in an earlier run.

Of identical prompts one is computed, and the others get its answer. What the journal has is taken
from there, and what is computed is written to it before it counts as done.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from hfnb.engines.base import Completion, Request
from hfnb.frame.duplicates import Duplicates
from hfnb.frame.identity import prompt_key
from hfnb.frame.journaling import RunJournal
from hfnb.frame.store import RowStore
from hfnb.journal_file import Answer

Take = Callable[[Completion, str], tuple[Completion, Any]]


class Reuse:
    """Answers rows without computing them, where it can.

    Args:
        store: Where rows' answers go.
        finish: Makes of a completion what the user gets: the completion, with an error where the
            user's own code failed, and the output.
        journal: Where earlier runs' answers are; ``None`` to do without.
    """

    def __init__(
        self,
        store: RowStore,
        finish: Callable[[Completion], tuple[Completion, Any]],
        journal: RunJournal | None,
    ) -> None:
        self._store = store
        self._finish = finish
        self._journal = journal
        self._seen = Duplicates()
        self._lock = threading.Lock()
        """The worker and the journal's thread both end rows."""
        self._keys: dict[int, bytes] = {}
        """Of the rows that are being computed."""
        self._followers: dict[int, list[int]] = {}
        """Rows that wait for the answer of another one, by that one."""

    def sift(self, requests: Sequence[Request]) -> Iterable[Request]:
        """Return the requests that must be computed; the others get their answers."""
        keys = {request.row: prompt_key(request.prompt) for request in requests}
        known = [(row, key) for row, key in keys.items() if key is not None]
        firsts = self._seen.first([row for row, _ in known], [key for _, key in known])
        first_of = {row: first for (row, _), first in zip(known, firsts, strict=True)}
        alone = {row: key for row, key in known if first_of[row] == row}
        answers = self._journal.find(list(alone.values())) if self._journal and alone else {}
        for request in requests:
            row = request.row
            first = first_of.get(row, row)
            if first != row:
                self._follow(row, first)
            elif (answer := answers.get(alone.get(row, b""))) is not None:
                self._end(row, *self._finish(_completion(row, answer)), "journal")
            else:
                if self._journal is not None and row in alone:
                    self._keys[row] = alone[row]
                yield request

    def done(self, completion: Completion, output: Any) -> None:
        """Take what was computed for a row: write it down, and answer those that wait for it."""
        key = self._keys.pop(completion.row, None)
        if key is None or completion.text is None or completion.finish_reason is None:
            self._end(completion.row, completion, output, "generated")
            return
        assert self._journal is not None
        self._journal.add(
            key,
            _answer(completion),
            lambda: self._end(completion.row, completion, output, "generated"),
        )

    def _end(self, row: int, completion: Completion, output: Any, source: str) -> None:
        with self._lock:
            self._store.put(completion, output, source)
            for follower in self._followers.pop(row, ()):
                self._store.copy(row, follower)

    def _follow(self, row: int, first: int) -> None:
        with self._lock:
            if self._store.is_done(first):
                self._store.copy(first, row)
            else:
                self._followers.setdefault(first, []).append(row)


def _completion(row: int, answer: Answer) -> Completion:
    return Completion(
        row,
        answer.text,
        answer.finish_reason,  # type: ignore[arg-type]
        prompt_tokens=answer.prompt_tokens,
        new_tokens=answer.new_tokens,
        latency_s=answer.latency_s,
    )


def _answer(completion: Completion) -> Answer:
    assert completion.text is not None
    assert completion.finish_reason is not None
    return Answer(
        completion.text,
        completion.finish_reason,
        completion.prompt_tokens or 0,
        completion.new_tokens or 0,
        completion.latency_s or 0.0,
    )
