"""Which prompts a run has had before, in few bytes a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

_Numbers = np.ndarray[Any, np.dtype[Any]]


class _Sorted(NamedTuple):
    """Digests by their first half, with the rows that they belong to."""

    low: _Numbers
    high: _Numbers
    rows: _Numbers


class Duplicates:
    """Remembers where each digest of 16 bytes came first, in 24 bytes each.

    A dictionary would take about 130 bytes. Instead there are sorted arrays, each of them at
    least twice as long as the next; two that have become too alike are merged, so that there are
    few to look into.

    Example:
        >>> seen = Duplicates()
        >>> seen.first([0, 1, 2], [b"a" * 16, b"b" * 16, b"a" * 16])
        [0, 1, 0]
        >>> seen.first([3, 4], [b"b" * 16, b"c" * 16])
        [1, 4]
    """

    def __init__(self) -> None:
        self._parts: list[_Sorted] = []

    def first(self, rows: Sequence[int], digests: Sequence[bytes]) -> list[int]:
        """Return for each row the first one that had the same digest: itself, if none had."""
        here: dict[bytes, int] = {}
        firsts = [here.setdefault(each, row) for row, each in zip(rows, digests, strict=True)]
        halves = np.frombuffer(b"".join(here), dtype=np.uint64).reshape(-1, 2)
        new = np.fromiter(here.values(), dtype=np.int64, count=len(here))
        before = self._find(halves[:, 0], halves[:, 1])
        unseen = before < 0
        self._add(halves[unseen, 0], halves[unseen, 1], new[unseen])
        if unseen.all():
            return firsts
        earlier = dict(zip(new[~unseen].tolist(), before[~unseen].tolist(), strict=True))
        return [earlier.get(row, row) for row in firsts]

    def _find(self, low: _Numbers, high: _Numbers) -> _Numbers:
        """Return the rows of digests, -1 for those that are new."""
        found = np.full(len(low), -1, dtype=np.int64)
        for part in self._parts:
            at = np.searchsorted(part.low, low).clip(max=len(part.low) - 1)
            same = (part.low[at] == low) & (part.high[at] == high)
            found[same] = part.rows[at[same]]
        return found

    def _add(self, low: _Numbers, high: _Numbers, rows: _Numbers) -> None:
        if not len(rows):
            return
        self._parts.append(_by_low(low, high, rows))
        while len(self._parts) > 1 and len(self._parts[-2].low) < 2 * len(self._parts[-1].low):
            last, before = self._parts.pop(), self._parts.pop()
            joined = (np.concatenate(pair) for pair in zip(before, last, strict=True))
            self._parts.append(_by_low(*joined))


def _by_low(low: _Numbers, high: _Numbers, rows: _Numbers) -> _Sorted:
    order = np.argsort(low, kind="stable")
    return _Sorted(low[order], high[order], rows[order])
