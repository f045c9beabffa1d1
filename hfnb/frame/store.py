"""What is known of each row while a run goes on: a few bytes a row, in columns."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from hfnb.engines.base import Completion
from hfnb.errors import AnswerError, RowError
from hfnb.frame.outputs import Outputs, strings_of

STATUSES = ("cancelled", "ok", "error", "skipped")
"""A row is ``cancelled`` until it has another status."""
FINISH_REASONS = ("eos", "stop", "length")
SOURCES = ("generated", "journal", "duplicate")
_CANCELLED, _OK, _ERROR, _SKIPPED = range(4)


class RowStore:
    """The rows of one run. Several threads may write, but never the same row.

    Args:
        size: The number of rows.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.done = 0
        self.failed = 0
        self.reused = 0
        """Rows whose answers are an earlier run's."""
        self.answered = 0
        """Rows that are ok, and `reused` no answer."""
        self._lock = threading.Lock()
        self.outputs = Outputs(size)
        self.errors: dict[int, RowError] = {}
        self.skipped: dict[int, str] = {}
        self._status = np.zeros(size, dtype=np.int8)
        self._reason = np.full(size, -1, dtype=np.int8)
        self._source = np.full(size, -1, dtype=np.int8)
        self._prompt_tokens = np.full(size, -1, dtype=np.int32)
        self._new_tokens = np.full(size, -1, dtype=np.int32)
        self._queue_s = np.full(size, np.nan, dtype=np.float32)
        self._latency_s = np.full(size, np.nan, dtype=np.float32)
        self._batch_rows = np.full(size, -1, dtype=np.int32)
        self._truncated = np.zeros(size, dtype=np.int32)
        self._earlier = np.zeros(size, dtype=bool)
        """Rows that are `reused`: kept by the result, or from the journal."""

    def put(self, completion: Completion, output: Any, source: str = "generated") -> None:
        """Note what an engine answered.

        Args:
            completion: The answer, or the error.
            output: What the user gets to see of it.
            source: Where it comes from, one of `SOURCES`.
        """
        at = completion.row
        if completion.prompt_tokens is not None:
            self._prompt_tokens[at] = completion.prompt_tokens
        if completion.latency_s is not None:
            self._latency_s[at] = completion.latency_s
        if completion.queue_s is not None:
            self._queue_s[at] = completion.queue_s
        if completion.batch_rows is not None:
            self._batch_rows[at] = completion.batch_rows
        if completion.error is not None and not isinstance(completion.error, AnswerError):
            self.fail(at, completion.error)
            return
        if completion.new_tokens is not None:
            self._new_tokens[at] = completion.new_tokens
        if completion.finish_reason in FINISH_REASONS:
            self._reason[at] = FINISH_REASONS.index(completion.finish_reason)
        if completion.error is not None:
            self.fail(at, completion.error)
            return
        if completion.truncated_tokens:
            self._truncated[at] = completion.truncated_tokens
        self._source[at] = SOURCES.index(source)
        self._earlier[at] = source == "journal"
        self._end(at, _OK, output)

    def fail(self, at: int, error: RowError) -> None:
        """Note a row that failed."""
        self.errors[at] = error
        self._end(at, _ERROR, None)

    def skip(self, at: int, reason: str) -> None:
        """Note a row that got no prompt."""
        self.skipped[at] = reason
        self._end(at, _SKIPPED, None)

    def truncated(self, at: int, tokens: int) -> None:
        """Note how many tokens a row's prompt was shortened by."""
        self._truncated[at] = tokens

    def copy(self, first: int, at: int) -> None:
        """Give a row what another one with the same prompt has come to."""
        for column in (self._reason, self._prompt_tokens, self._new_tokens, self._truncated):
            column[at] = column[first]
        if self._status[first] == _ERROR:
            self.fail(at, self.errors[first])
            return
        self._source[at] = SOURCES.index("duplicate")
        self._earlier[at] = self._earlier[first]
        output = self.outputs[first]
        # What a parser made may be changed by the user, in one row and not in the other.
        self._end(at, _OK, output if isinstance(output, str) else copy.deepcopy(output))

    def is_done(self, at: int) -> bool:
        """Whether a row has come to its end."""
        return bool(self._status[at] != _CANCELLED)

    def without(self, rows: Iterable[int]) -> RowStore:
        """Return a copy in which some rows have not begun yet."""
        again = np.fromiter(rows, dtype=np.intp)
        new = RowStore(self.size)
        for name in _COLUMNS:
            column = getattr(self, name).copy()
            column[again] = getattr(new, name)[again]
            setattr(new, name, column)
        new.outputs = self.outputs.without(again[self._status[again] != _CANCELLED].tolist())
        left = set(again.tolist())
        new.errors = {at: each for at, each in self.errors.items() if at not in left}
        new.skipped = {at: each for at, each in self.skipped.items() if at not in left}
        new.failed = len(new.errors)
        new._earlier = new._status != _CANCELLED
        new.done = new.reused = int(new._earlier.sum())
        return new

    def absorb(self, rows: np.ndarray[Any, np.dtype[np.intp]], other: RowStore) -> None:
        """Take over rows of another store, of which each row is done at most once in the two.

        Args:
            rows: Where each row of the other store stands in this one.
            other: A store of ``len(rows)`` rows.
        """
        came = np.flatnonzero(other._status != _CANCELLED)
        places = rows[came]
        for name in (*_COLUMNS, "_earlier"):
            getattr(self, name)[places] = getattr(other, name)[came]
        outputs = list(other.outputs)
        for place, at in zip(places.tolist(), came.tolist(), strict=True):
            self.outputs.put(place, outputs[at])
        self.errors.update({int(rows[at]): each for at, each in other.errors.items()})
        self.skipped.update({int(rows[at]): each for at, each in other.skipped.items()})
        self.done += other.done
        self.failed += other.failed
        self.reused += other.reused
        self.answered += other.answered

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_lock"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._lock = threading.Lock()

    def _end(self, at: int, status: int, output: Any) -> None:
        with self._lock:
            self.outputs.put(at, output)
            self._status[at] = status
            self.done += 1
            self.failed += status == _ERROR
            self.reused += bool(self._earlier[at])
            self.answered += status == _OK and not self._earlier[at]

    def table(self, index: pd.Index, at: Sequence[int] | None = None) -> pd.DataFrame:
        """Return one line a row.

        Args:
            index: The lines' index.
            at: The positions of the rows; ``None`` for all.
        """
        chosen = slice(None) if at is None else np.asarray(at, dtype=np.intp)
        return pd.DataFrame(
            {
                "status": _named(self._status[chosen], STATUSES),
                "finish_reason": _named(self._reason[chosen], FINISH_REASONS),
                "error": self._messages(range(self.size) if at is None else at),
                "prompt_tokens": _whole(self._prompt_tokens[chosen]),
                "new_tokens": _whole(self._new_tokens[chosen]),
                "queue_s": self._queue_s[chosen].astype("float64"),
                "latency_s": self._latency_s[chosen].astype("float64"),
                "batch_rows": _whole(self._batch_rows[chosen]),
                "truncated_tokens": self._truncated[chosen].astype("int64"),
                "source": _named(self._source[chosen], SOURCES),
            },
            index=index,
        )

    def count(self, status: str) -> int:
        """Return the number of rows with a status."""
        return int((self._status == STATUSES.index(status)).sum())

    def where(self, status: str) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return the positions of the rows with a status."""
        return np.flatnonzero(self._status == STATUSES.index(status))

    def cut_off(self) -> int:
        """Return the number of rows that are ok, and that max_new_tokens ended."""
        return int((self._status[self.where_cut_off()] == _OK).sum())

    def where_cut_off(self) -> np.ndarray[Any, np.dtype[np.intp]]:
        """Return the positions of the rows that max_new_tokens ended.

        They are ok, unless it left half of what a schema asks for.
        """
        ended = (self._status == _OK) | (self._status == _ERROR)
        return np.flatnonzero(ended & (self._reason == FINISH_REASONS.index("length")))

    def came_from(self, source: str) -> int:
        """Return the number of rows with a source."""
        return int((self._source == SOURCES.index(source)).sum())

    def shortened(self) -> tuple[int, int]:
        """Return how many rows' prompts were shortened, and by how many tokens together."""
        return int((self._truncated > 0).sum()), int(self._truncated.sum())

    def latencies(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the latencies of the rows that are ok, in seconds."""
        measured: np.ndarray[Any, np.dtype[np.float32]] = self._latency_s[
            (self._status == _OK) & ~np.isnan(self._latency_s)
        ]
        return measured

    def shared(self) -> bool:
        """Whether any row was computed together with others."""
        return bool((self._batch_rows > 1).any())

    def computed(self) -> tuple[int, int]:
        """Return how many rows that are ok this run has answered, and with how many new tokens.

        A row with the prompt of another one counts, and its tokens do not.
        """
        now = (self._status == _OK) & ~self._earlier
        own = now & (self._source == SOURCES.index("generated"))
        return int(now.sum()), int(self._new_tokens[own].clip(min=0).sum())

    def tokens(self) -> tuple[int, int]:
        """Return the tokens in and out of the rows that are ok."""
        ok = self._status == _OK
        return (
            int(self._prompt_tokens[ok].clip(min=0).sum()),
            int(self._new_tokens[ok].clip(min=0).sum()),
        )

    def _messages(self, positions: Sequence[int]) -> pd.api.extensions.ExtensionArray:
        errors, skipped = self.errors, self.skipped
        return strings_of(
            [str(errors[at]) if at in errors else skipped.get(at) for at in positions]
        )


_COLUMNS = """
    _status _reason _source _prompt_tokens _new_tokens _queue_s _latency_s _batch_rows _truncated
""".split()


def _named(codes: np.ndarray[Any, Any], names: tuple[str, ...]) -> pd.Categorical[str]:
    """Return names by their numbers, in which -1 stands for nothing."""
    return pd.Categorical.from_codes(codes.copy(), categories=pd.Index(names))


def _whole(values: np.ndarray[Any, np.dtype[np.int32]]) -> pd.api.extensions.ExtensionArray:
    """Return integers in which -1 stands for nothing."""
    return pd.arrays.IntegerArray(values, values < 0, copy=True)
