"""How much may be computed at a time, by the memory that there really is.

Two things hold a batch down. A *ceiling* is learned: it falls when memory has run out, is
remembered as long as the process lives, and rises slowly again. The *room* is measured: before rows
are added, what they will need is compared with what is free, by the tightest limit that the process
is under, less a reserve. A row with no others beside it is always tried.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

import psutil

from hfnb.engines.row import Row
from hfnb.engines.shortage import give_back
from hfnb.hardware import Memory, tightest_memory

_LOOK_S = 0.25
"""How long a look at the free memory holds; one takes longer than a step of a small model."""
_RESERVE = 0.05
"""The share of all memory that is left alone, for the rest of this process and for others ..."""
_LEAST_RESERVE, _MOST_RESERVE = 64 << 20, 512 << 20
"""... and the fewest and the most bytes of it."""
_GROWTH = 8
"""A ceiling rises by this part of each row that finishes: it doubles in about so many batches."""
_SLOWEST = 64
"""How much slower at most a ceiling rises that was too high each time."""
_LEAST_MEASURED = 256
"""Tokens in a forward pass from which its need of memory can be told."""
_WATCH_S = 0.002
_CAUTION = 3
"""How often what a model's shapes tell must be free, until a forward pass was measured."""


def tokens_of(row: Row) -> int:
    """Return the most tokens that a row can come to hold, beside a prefix that it shares."""
    return row.own_tokens + row.most_new


class Ceiling:
    """The most tokens that rows computed together may come to hold, as failures have taught."""

    def __init__(self) -> None:
        self.tokens: int | None = None
        """``None`` while memory has never run out."""
        self._worked = 0
        """The most tokens of a batch from which rows have finished since."""
        self._slowness = 1
        self._has_risen = False

    def failed(self, added: int, beside: int = 0) -> None:
        """Note that memory did not suffice for so many tokens beside others that were there."""
        every = added + beside
        if self._worked >= every:  # there is less memory than there was
            self._worked = 0
        self.tokens = max(1, beside + added // 2, self._worked)
        if self._has_risen:
            self._slowness = min(2 * self._slowness, _SLOWEST)
            self._has_risen = False

    def does_not_fit(self, tokens: int) -> None:
        """Note that one row alone had too many tokens; what failed with it says nothing more."""
        self.tokens = max(1, tokens // 2, self.tokens or 0)

    def finished(self, tokens: int, together: int) -> None:
        """Note that a row of so many tokens has finished, one of a batch of so many together."""
        if self.tokens is not None:
            self._worked = max(self._worked, min(together, self.tokens))
            self.tokens += max(1, tokens // (_GROWTH * self._slowness))
            self._has_risen = True


_ceilings: dict[tuple[str, ...], Ceiling] = {}


class MemoryBudget:
    """What one model on one device may take of memory; its engine's ways share it.

    Args:
        key: Names the model and the device: what was learned is remembered under it.
        bytes_per_token: Keys and values of one token.
        bytes_to_compute: What a forward pass takes beside them for each of its tokens, padding
            included, as far as it is known before the first; then it is measured.
        rectangular: Whether rows take as much as the longest of them.
        look: Says how much memory there is.
        peak: Says how much was in use at most since the process began, where something counts
            that; otherwise the process's resident memory is watched.
    """

    def __init__(
        self,
        key: tuple[str, ...] = (),
        bytes_per_token: int = 0,
        bytes_to_compute: int = 0,
        *,
        rectangular: bool = True,
        look: Callable[[], Memory] = tightest_memory,
        peak: Callable[[], tuple[int, int]] | None = None,
    ) -> None:
        self._key = key
        self._own = Ceiling()
        self.bytes_per_token = bytes_per_token
        self.bytes_to_compute = bytes_to_compute
        self.rectangular = rectangular
        self._look = look
        self._peak = peak
        self._looked_at = -_LOOK_S
        self._memory = Memory(0, 0)
        self._promised = 0
        """Bytes given to rows since the last look."""
        self._measured = 0
        """Tokens of the largest forward pass that was measured."""

    @property
    def ceiling(self) -> Ceiling:
        """What failures have taught of this model on this device."""
        if not self._key:
            return self._own
        if self._key not in _ceilings:
            _ceilings[self._key] = Ceiling()
        return _ceilings[self._key]

    def finished(self, rows: Iterable[Row], batch: Iterable[Row]) -> None:
        """Note rows that have finished, of all that were computed together."""
        ceiling = self.ceiling
        if ceiling.tokens is not None:
            together = held(batch)
            for row in rows:
                ceiling.finished(tokens_of(row), together)

    def room(self, active: Sequence[Row] = (), copies: int = 1, to_come: int = 0) -> Room:
        """Return what may be added to rows that are being decoded.

        Args:
            active: These rows.
            copies: Sequences that are kept for each row, such as beams.
            to_come: Tokens that will be kept beside the rows' own, such as a prefix of theirs.
        """
        self._look_again()
        free = self._memory.free - self._reserve() - self._promised
        free -= to_come * self.bytes_per_token
        return Room(self, active, copies, free)

    def tokens_free(self) -> int:
        """Return how many tokens' keys and values there is memory for."""
        self._look_again()
        return max(0, self._memory.free - self._reserve()) // max(1, self.bytes_per_token)

    @property
    def caution(self) -> int:
        """How often what is known to be needed must be free: more while nothing was measured."""
        return 1 if self._measured or not self.rectangular else _CAUTION

    def promise(self, count: int) -> None:
        """Note bytes that are about to be taken and that the next look will show."""
        self._promised += count

    def is_short(self) -> bool:
        """Whether so little is left that fewer rows should be decoded."""
        self._look_again()
        return self._memory.free < self._reserve() // 2

    def recover(self) -> None:
        """After rows were let go for want of memory: free it, and look how much there is."""
        give_back()
        self.look_anew()

    def freed(self) -> None:
        """Note that much was given back: where not much is free, look how much there is now."""
        if self._memory.free < self._memory.most // 2:
            self.look_anew()

    def look_anew(self) -> None:
        """Look at the memory when it is next asked for, whenever the last look was."""
        self._looked_at = -_LOOK_S

    @contextlib.contextmanager
    def measured(self, tokens: int) -> Iterator[None]:
        """Measure what a forward pass of so many tokens takes, if it is the largest so far.

        It may take more than it leaves behind, so that the most is what counts.
        """
        if tokens < max(_LEAST_MEASURED, 2 * self._measured):
            yield
            return
        if self._peak is None:
            with _Watch() as watch:
                yield
            taken = watch.most - watch.before
        else:
            before = self._peak()
            yield
            after = self._peak()
            if after[1] <= before[1]:  # there was a higher one before: nothing can be told
                return
            taken = after[1] - before[0]
        self._measured = tokens
        # The keys and values that stay are counted on their own.
        self.bytes_to_compute = max(0, taken // tokens - self.bytes_per_token)

    def _look_again(self) -> None:
        now = time.monotonic()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            self._memory = self._look()
            self._promised = 0

    def _reserve(self) -> int:
        share = int(self._memory.most * _RESERVE)
        return min(max(share, _LEAST_RESERVE), _MOST_RESERVE)


class Room:
    """What may be added to rows that are being decoded; made for one decision.

    Args:
        budget: Whose memory it is.
        active: The rows that are being decoded.
        copies: Sequences that are kept for each row.
        free: Bytes that may be taken.
    """

    def __init__(self, budget: MemoryBudget, active: Sequence[Row], copies: int, free: int) -> None:
        self._budget = budget
        self._copies = copies
        self._free = free
        self._rows = len(active)
        tokens = [tokens_of(row) for row in active]
        self._tokens = sum(tokens)
        self._longest = max(tokens, default=0)
        self._held = sum(row.own_tokens + len(row.new_ids) for row in active if row.new_ids)
        """Tokens whose keys and values are there already."""
        self._added = 0
        self._longest_added = 0

    def take(self, row: Row) -> bool:
        """Take a row in, if there is room for it; with no others there always is."""
        tokens = tokens_of(row)
        if self._rows and not self._fits(row):
            return False
        self._rows += 1
        self._added += 1
        self._tokens += tokens
        self._longest = max(self._longest, tokens)
        self._longest_added = max(self._longest_added, row.own_tokens)
        self._budget.promise(row.own_tokens * self._copies * self._budget.bytes_per_token)
        return True

    def has_memory_for(self, row: Row) -> bool:
        """Whether what a row will need is free."""
        budget, tokens = self._budget, tokens_of(row)
        most = self._tokens + tokens
        if budget.rectangular:
            most = (self._rows + 1) * max(self._longest, tokens)
        computed = (self._added + 1) * max(self._longest_added, row.own_tokens)
        need = (most - self._held) * budget.bytes_per_token + computed * budget.bytes_to_compute
        return need * self._copies * budget.caution <= self._free

    def _fits(self, row: Row) -> bool:
        ceiling = self._budget.ceiling.tokens
        if ceiling is not None and self._tokens + tokens_of(row) > ceiling:
            return False
        return self.has_memory_for(row)


class _Watch:
    """Watches the resident memory of this process while something is computed."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self.before = self.most = self._now()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="hfnb-peak", daemon=True)

    def __enter__(self) -> _Watch:
        with contextlib.suppress(RuntimeError):  # no memory for a thread: the ends still count
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.most = max(self.most, self._now())

    def _watch(self) -> None:
        while not self._stop.wait(_WATCH_S):
            self.most = max(self.most, self._now())

    def _now(self) -> int:
        return int(self._process.memory_info().rss)


def held(rows: Iterable[Row]) -> int:
    """Return the most tokens that rows together can come to hold."""
    return sum(map(tokens_of, rows))
