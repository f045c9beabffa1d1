"""Share one model among all calls that are going on: their rows are computed together.

There is no thread of its own. Whoever waits for an answer computes: one of the calling threads has
the turn and advances every row by a token, and the others wait until there is something for them.
So a call from the main thread runs there, its errors and interrupts arrive where they belong, and
leaving a generator ends its computation.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from hfnb.engines.base import Completion, Delta
from hfnb.engines.call import Call
from hfnb.engines.memory import MemoryBudget, held, tokens_of
from hfnb.engines.row import Row
from hfnb.engines.shortage import is_out_of_memory, let_go, no_memory_for
from hfnb.errors import RowError

_PATIENCE_S = 0.2
"""How long a thread sleeps at most; an interrupt may have to wait for this on Windows."""
_STEP_ERRORS = (RuntimeError, IndexError, ValueError, MemoryError)
"""What a model's forward pass raises for rows that it can't compute."""
Tokens = Sequence[tuple[Row, int]]
"""New tokens of rows, in the order in which they follow."""


class Batch(Protocol):
    """Rows that are computed together, each by one token a step."""

    pads: bool
    """Whether prompts that start together are padded to the longest."""
    budget: MemoryBudget
    """What the rows may take of memory."""

    @property
    def rows(self) -> list[Row]:
        """Those that are being computed."""

    def begin(self) -> None:
        """Get ready: there were no rows, and the first are coming."""

    def take(self, waiting: list[Row], limit: int) -> list[Row]:
        """Take the rows to start now off the end of ``waiting``."""

    def start(self, group: list[Row]) -> Tokens:
        """Begin to compute rows, and return the tokens that are there."""

    def step(self) -> Tokens:
        """Compute a step of every row, and return the new tokens."""

    def ended(self) -> Iterable[tuple[Row, RowError | None]]:
        """Return rows after which nothing may follow, or that can't go on, and why."""

    def keep(self, going: Callable[[Row], bool]) -> None:
        """Let all rows go but these."""

    def lost(self, rows: Sequence[Row], *, short: bool = False) -> list[Row]:
        """Let go of rows after a start or a step that failed, or for want of memory.

        Args:
            rows: These rows.
            short: Whether memory is short, so that what can be given back should be.

        Returns:
            These rows, and all others that are lost with them.
        """

    def clear(self) -> None:
        """Let all rows go, and their memory."""


class Scheduler:
    """Runs calls over one batch.

    Args:
        batch: What computes the rows.
        lock: Held while the model computes.
    """

    def __init__(self, batch: Batch, lock: threading.Lock) -> None:
        self._batch = batch
        self._lock = lock
        self._mutex = threading.Lock()
        """Guards who has the turn, who waits and which calls there are; held for an instant."""
        self._calls: list[Call] = []
        self._waiting: list[Call] = []
        self._computing: Call | None = None
        """The call whose thread has the turn."""
        self._apart: list[list[Row]] = []
        """Groups among which a row is that fails; each is computed with no others beside it."""
        self._suspected: list[Row] = []
        """The group of these that is being computed; nothing joins it."""
        self._alone: Row | None = None
        """A row that began with no others and is still without any."""
        self._last_try: Row | None = None
        """A row for which memory did not suffice; everything was freed, and it is tried again."""

    def run(self, call: Call) -> Iterator[Completion | Delta]:
        """Yield a call's completions, and deltas when streaming, until all are there."""
        with self._mutex:
            if not self._calls:
                self._batch.begin()
            self._calls.append(call)
        try:
            while True:
                if call.out or call.hungry:
                    self._stop_waiting(call)  # the caller may take its time
                while call.out:
                    yield call.out.popleft()
                if call.cancel.is_set() or call.done:
                    return
                if call.hungry:
                    call.draw()
                elif self._take_turn(call):
                    self._advance()
                    self._computing = None
                else:
                    call.woken.wait(_PATIENCE_S)
        finally:
            self._leave(call)

    # -- whose turn it is -------------------------------------------------------------------------

    def _take_turn(self, call: Call) -> bool:
        """Take the turn, or be told by `Call.woken` when there is something to do."""
        with self._mutex:
            if call in self._waiting:
                self._waiting.remove(call)
            if self._computing is None:
                self._computing = call
                return True
            call.woken.clear()
            if call.out or call.hungry:
                call.woken.set()
            else:
                self._waiting.append(call)
            return False

    def _stop_waiting(self, call: Call) -> None:
        """Before a thread turns to something else: let another one compute."""
        with self._mutex:
            if call in self._waiting:
                self._waiting.remove(call)
        self._pass_turn()

    def _pass_turn(self) -> None:
        """Let a waiting thread compute, if none does."""
        with self._mutex:
            if self._waiting and self._computing is None:
                self._waiting.pop(0).woken.set()

    def _leave(self, call: Call) -> None:
        with self._mutex:
            call.left = True
            self._calls.remove(call)
            if call in self._waiting:
                self._waiting.remove(call)
            try:
                if not self._calls:
                    self._apart = []
                    self._batch.clear()
                elif self._computing is call:  # it was interrupted in the middle of a step
                    self._begin_again()
            finally:  # a second interrupt may come in the midst of it
                if self._computing is call:
                    self._computing = None
        self._pass_turn()

    # -- by the thread whose turn it is -----------------------------------------------------------

    def _advance(self) -> None:
        """Take in waiting rows if it is time, else decode one token of every row."""
        calls = list(self._calls)
        batch = self._batch
        if any(map(_has_gone, {row.call for row in batch.rows})):
            batch.keep(lambda row: not _has_gone(row.call))
        for call in calls:
            call.line_up()
        group = self._next_group(calls)
        if not group and len(batch.rows) > 1 and batch.budget.is_short():
            self._give_up_half(batch.rows)
        rows = group or batch.rows
        if rows:
            now = time.perf_counter()
            if group:
                self._alone = None if batch.rows or len(group) > 1 else group[0]
            failure: Exception | None = None
            try:
                with self._lock:
                    tokens = self._start(group) if group else batch.step()
            except _STEP_ERRORS as error:
                failure = error
            # Outside of the handler: until its end, an error holds all that the pass had made.
            if failure is not None:
                self._failed(rows, failure)
            else:
                if group:
                    _note_start(group, batch, now)
                _note_forward(rows)
                self._hand_out(tokens)
        for call in calls:
            if call.out or call.hungry or call.done or call.cancel.is_set():
                call.woken.set()

    def _start(self, group: list[Row]) -> Tokens:
        batch = self._batch
        if not batch.pads:  # it computes the prompts bit by bit
            return batch.start(group)
        longest = max(len(row.prompt_ids) for row in group)
        with batch.budget.measured(len(group) * longest):
            return batch.start(group)

    def _next_group(self, calls: list[Call]) -> list[Row]:
        """Take the rows to start now. Calls with few rows come first, and are taken together."""
        if self._apart or self._suspected:
            return self._next_apart()
        waiting = [call for call in calls if call.waiting and not call.cancel.is_set()]
        if not waiting:
            return []
        busy = {id(row.call) for row in self._batch.rows}
        limit = min(call.most_rows for call in calls if call.waiting or id(call) in busy)
        if len(waiting) == 1:
            return self._batch.take(waiting[0].waiting, limit)
        few = [call for call in waiting if call.few]
        if not few:  # the one that has the fewest rows in the batch
            rows = [row.call for row in self._batch.rows]
            return self._batch.take(min(waiting, key=rows.count).waiting, limit)
        line = sorted(
            (row for call in few for row in call.waiting), key=lambda row: len(row.prompt_ids)
        )
        group = self._batch.take(line, limit)
        for row in group:
            row.call.waiting.remove(row)
        return group

    def _hand_out(self, tokens: Tokens) -> None:
        """Give each row its tokens; rows that end with them go."""
        for row, token in tokens:
            if row.reason is None:
                _show(row, row.give(token))
        for row, problem in self._batch.ended():
            if row.reason is None or problem is not None:
                _show(row, row.end(problem))
        rows = self._batch.rows
        ended = [row for row in rows if row.reason is not None]
        if not ended:
            return
        for row in ended:
            row.call.finish(row, row.completion())
        self._batch.budget.finished(ended, rows)
        self._batch.keep(lambda row: row.reason is None)

    # -- failures ---------------------------------------------------------------------------------

    def _next_apart(self) -> list[Row]:
        """Take the next group among which a row is that fails, once there are no other rows."""
        if self._batch.rows:
            return []
        self._suspected = []
        while self._apart and not self._suspected:
            self._suspected = [row for row in self._apart.pop() if not _has_gone(row.call)]
        return list(self._suspected)

    def _failed(self, tried: list[Row], error: Exception) -> None:
        """After a failure, try the rows again, fewer at a time; one row alone has failed.

        Args:
            tried: The rows that were to start, or all whose step has failed.
            error: What was raised.
        """
        let_go(error)
        if is_out_of_memory(error):
            self._ran_out_of_memory(tried, error)
            return
        again = self._batch.lost(tried)
        if len(again) == 1 and not self._batch.rows:
            row = again[0]
            row.call.finish(row, row.failure(error))
            return
        # In halves, each apart from all other rows, until the culprit stands alone.
        middle = (len(again) + 1) // 2
        _restart(again)
        self._apart += [half for half in (again[middle:], again[:middle]) if half]

    def _ran_out_of_memory(self, tried: list[Row], error: Exception) -> None:
        batch, budget = self._batch, self._batch.budget
        beside = [row for row in batch.rows if row not in tried]
        if len(tried) == 1 and not beside:
            row = tried[0]
            batch.lost(tried, short=True)
            if row is self._alone and row is self._last_try:
                budget.ceiling.does_not_fit(tokens_of(row))
                row.call.finish(row, row.failure(no_memory_for(row, error)))
            else:  # what others needed was still there: it is tried once more, with nothing
                self._last_try = row
                budget.ceiling.failed(tokens_of(row))
                _try_again(tried)
        elif any(row in batch.rows for row in tried):
            self._give_up_half(batch.rows)
        else:
            budget.ceiling.failed(held(tried), held(beside))
            _count_backoff(tried)
            _try_again(batch.lost(tried, short=True))
        budget.recover()

    def _give_up_half(self, rows: Sequence[Row]) -> None:
        """Go on with half of the rows that are being decoded: those that are furthest on."""
        self._batch.budget.ceiling.failed(held(rows))
        _count_backoff(rows)
        by_progress = sorted(rows, key=lambda row: -len(row.new_ids))
        lost = self._batch.lost(by_progress[(len(rows) + 1) // 2 :], short=True)
        _try_again(lost)
        self._batch.budget.recover()

    def _begin_again(self) -> None:
        """Begin the rows of all calls again that are left."""
        self._batch.clear()
        self._apart = []
        for call in self._calls:
            call.line_up()
            waiting = set(call.waiting)
            _try_again(row for row in list(call.unfinished) if row not in waiting)


def _show(row: Row, delta: Delta | None) -> None:
    if delta is not None:
        row.call.out.append(delta)


def _note_start(group: list[Row], batch: Batch, now: float) -> None:
    """Note when rows began, what their prompts cost, and how many were computed together."""
    longest = max(row.own_tokens for row in group)
    for row in group:
        row.begin(now)
        work = row.call.work
        work.prompt_tokens += row.own_tokens
        work.shared_tokens += row.shared_tokens
        work.padding_tokens += longest - row.own_tokens if batch.pads else 0
    active = batch.rows
    for row in active:
        row.batch_rows = max(row.batch_rows, len(active))
    for call in {row.call for row in active}:
        call.work.batch_rows = max(call.work.batch_rows, len(active))
    for call in {row.call for row in group}:
        call.work.batches += 1


def _note_forward(rows: list[Row]) -> None:
    for call in {row.call for row in rows}:
        call.work.forwards += 1


def _has_gone(call: Call) -> bool:
    """Whether nobody waits for a call's rows any more."""
    return call.left or call.cancel.is_set()


def _count_backoff(rows: Iterable[Row]) -> None:
    for call in {row.call for row in rows}:
        call.work.memory_backoffs += 1


def _restart(rows: Iterable[Row]) -> None:
    for row in rows:
        row.restart()
        row.call.work.recomputed_rows += 1


def _try_again(rows: Iterable[Row]) -> None:
    """Put rows back in line, each with those of its own call."""
    by_call: dict[Call, list[Row]] = {}
    for row in rows:
        by_call.setdefault(row.call, []).append(row)
    for call, lost in by_call.items():
        call.wait_again(lost)
