"""Prefixes that rows share: their keys and values, computed once and kept while calls run."""

from __future__ import annotations

from collections.abc import Iterable

from hfnb.engines.prefixes import Prefix, shared_runs
from hfnb.engines.row import Row

_MOST_KNOWN = 16_384
"""Rows that are remembered as looked at; one that is forgotten is only looked at again."""


class Prefixes:
    """Finds the prefixes of waiting rows, and keeps those that were computed."""

    def __init__(self) -> None:
        self._kept: list[Prefix] = []
        """Those that are computed, the latest use last."""
        self._known: set[Row] = set()
        """Rows whose prefix was chosen."""

    @property
    def tokens(self) -> int:
        """The tokens whose keys and values are kept."""
        return sum(map(len, self._kept))

    def tokens_to_come(self, prefix: Prefix | None) -> int:
        """Return the tokens of a prefix if it is not computed yet."""
        return 0 if prefix is None or prefix.layers is not None else len(prefix)

    def alike(self, waiting: list[Row]) -> list[Row]:
        """Return the waiting rows that may start together with the last one, in their order."""
        if not self._known.issuperset(waiting):
            self._choose(waiting)
        prefix = waiting[-1].prefix
        return [row for row in waiting if row.prefix is prefix]

    def keep(self, prefix: Prefix, active: Iterable[Row], budget: int) -> None:
        """Keep a prefix that is used now; drop the oldest idle ones beyond a number of tokens."""
        if prefix in self._kept:
            self._kept.remove(prefix)
        self._kept.append(prefix)
        in_use = {id(row.prefix) for row in active} | {id(prefix)}
        excess = self.tokens - budget
        for each in [each for each in self._kept if id(each) not in in_use]:
            if excess > 0:
                excess -= len(each)
                self._drop(each)

    def drop_idle(self, active: Iterable[Row]) -> None:
        """Drop those that no active row needs."""
        in_use = {id(row.prefix) for row in active}
        for each in [each for each in self._kept if id(each) not in in_use]:
            self._drop(each)

    def clear(self) -> None:
        """Drop all."""
        self.drop_idle(())
        self._known.clear()

    def _drop(self, prefix: Prefix) -> None:
        prefix.layers = None  # rows that wait for it compute it again
        self._kept.remove(prefix)

    def _choose(self, rows: list[Row]) -> None:
        """Choose the prefix of each waiting row: one that is computed already, or a new one."""
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known.update(rows)
        planned: dict[Row, tuple[Prefix, int]] = {}
        for run in shared_runs([row.prompt_ids for row in rows]):
            members = [rows[i] for i in run.members]
            prefix = Prefix(members[0].prompt_ids[: run.length])
            planned.update((row, (prefix, len(members))) for row in members)
        by_length = sorted(self._kept, key=len, reverse=True)
        for row in rows:
            new, count = planned.get(row, (None, 1))
            there = next((each for each in by_length if each.begins(row.prompt_ids)), None)
            saved = 0 if new is None else len(new) * (count - 1)
            row.prefix = there if there is not None and len(there) * count >= saved else new
