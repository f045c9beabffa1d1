"""What is known of each row while a run goes on: a few bytes a row, in columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from hfnb.engines.base import Completion
from hfnb.errors import RowError
from hfnb.frame.outputs import Outputs, strings_of

STATUSES = ("cancelled", "ok", "error", "skipped")
"""A row is ``cancelled`` until it has another status."""
FINISH_REASONS = ("eos", "stop", "length")
SOURCES = ("generated", "journal", "duplicate")
_OK, _ERROR, _SKIPPED = 1, 2, 3


class RowStore:
    """The rows of one run. One thread writes, others may read.

    Args:
        size: The number of rows.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.done = 0
        self.failed = 0
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

    def put(self, completion: Completion, output: Any) -> None:
        """Note what an engine answered; ``output`` is what the user gets to see of it."""
        at = completion.row
        if completion.prompt_tokens is not None:
            self._prompt_tokens[at] = completion.prompt_tokens
        if completion.latency_s is not None:
            self._latency_s[at] = completion.latency_s
        if completion.queue_s is not None:
            self._queue_s[at] = completion.queue_s
        if completion.batch_rows is not None:
            self._batch_rows[at] = completion.batch_rows
        if completion.error is not None:
            self.fail(at, completion.error)
            return
        if completion.new_tokens is not None:
            self._new_tokens[at] = completion.new_tokens
        if completion.finish_reason in FINISH_REASONS:
            self._reason[at] = FINISH_REASONS.index(completion.finish_reason)
        self._source[at] = 0
        self.outputs.put(at, output)
        self._status[at] = _OK
        self.done += 1

    def fail(self, at: int, error: RowError) -> None:
        """Note a row that failed."""
        self.errors[at] = error
        self.outputs.put(at, None)
        self._status[at] = _ERROR
        self.failed += 1
        self.done += 1

    def skip(self, at: int, reason: str) -> None:
        """Note a row that got no prompt."""
        self.skipped[at] = reason
        self.outputs.put(at, None)
        self._status[at] = _SKIPPED
        self.done += 1

    def table(self, index: pd.Index) -> pd.DataFrame:
        """Return one line a row."""
        return pd.DataFrame(
            {
                "status": _named(self._status, STATUSES),
                "finish_reason": _named(self._reason, FINISH_REASONS),
                "error": self._messages(),
                "prompt_tokens": _whole(self._prompt_tokens),
                "new_tokens": _whole(self._new_tokens),
                "queue_s": self._queue_s.astype("float64"),
                "latency_s": self._latency_s.astype("float64"),
                "batch_rows": _whole(self._batch_rows),
                "source": _named(self._source, SOURCES),
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
        """Return the number of rows that max_new_tokens ended."""
        return int((self._reason == FINISH_REASONS.index("length")).sum())

    def latencies(self) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Return the latencies of the rows that are ok, in seconds."""
        measured: np.ndarray[Any, np.dtype[np.float32]] = self._latency_s[
            (self._status == _OK) & ~np.isnan(self._latency_s)
        ]
        return measured

    def shared(self) -> bool:
        """Whether any row was computed together with others."""
        return bool((self._batch_rows > 1).any())

    def tokens(self) -> tuple[int, int]:
        """Return the tokens in and out of the rows that are ok."""
        ok = self._status == _OK
        return (
            int(self._prompt_tokens[ok].clip(min=0).sum()),
            int(self._new_tokens[ok].clip(min=0).sum()),
        )

    def _messages(self) -> pd.api.extensions.ExtensionArray:
        messages: list[str | None] = [None] * self.size
        for at, error in self.errors.items():
            messages[at] = str(error)
        for at, reason in self.skipped.items():
            messages[at] = reason
        return strings_of(messages)


def _named(codes: np.ndarray[Any, Any], names: tuple[str, ...]) -> pd.Categorical[str]:
    """Return names by their numbers, in which -1 stands for nothing."""
    return pd.Categorical.from_codes(codes.copy(), categories=pd.Index(names))


def _whole(values: np.ndarray[Any, np.dtype[np.int32]]) -> pd.api.extensions.ExtensionArray:
    """Return integers in which -1 stands for nothing."""
    return pd.arrays.IntegerArray(values, values < 0, copy=True)
