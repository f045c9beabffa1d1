"""Decoders through OpenVINO GenAI's continuous batching, with paged attention.

OpenVINO GenAI schedules prompts and decoding steps itself; here rows are handed to it as places
become free, and its tokens are handed on as they come.

It keeps the keys and values of prompts, and computes a beginning that it has already had no second
time; but rows that are handed to it together are all scheduled before any of them is kept. So where
rows share a beginning, one of them goes first, and the others wait until its prompt is computed.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import openvino
import openvino_genai

from hfnb.engines.memory import MemoryBudget, tokens_of
from hfnb.engines.openvino_settings import PagedState
from hfnb.engines.openvino_signals import own_signal_stack
from hfnb.engines.row import Row
from hfnb.engines.scheduler import Tokens
from hfnb.errors import ModelError, RowError

# Their numbers: two members of pybind11's enumerations take a microsecond to compare.
_RUNNING = openvino_genai.GenerationStatus.RUNNING.value
_IGNORED = openvino_genai.GenerationStatus.IGNORED.value
BLOCK = 64
"""Tokens of a beginning that are worth waiting for; OpenVINO keeps blocks of 16 or 32."""
STORE_BLOCK = 32
"""Tokens in a block of the store of keys and values, on a CPU."""
_MOST_KNOWN = 100_000
"""Blocks that are remembered as computed; OpenVINO itself forgets the oldest."""
_MOST_PASSED = 1024
"""Waiting rows that are passed over in search of one that need not wait."""
_READ_EVERY = 32
"""Steps after which the tokens of all rows are read, to know how much they hold."""
_DRAIN_STEPS = 8
"""Steps in which a sound pipeline has let go of all cancelled rows; it takes one or two."""
_SURE = 64
"""Rows that are taken even if the store could not hold what they may become: most end sooner."""


class Pipeline(NamedTuple):
    """An ``openvino_genai.ContinuousBatchingPipeline``, and what its store can hold."""

    pipeline: Any
    blocks: int | None
    """The most blocks of its store; ``None`` where that is not known."""


class PagedBatch:
    """The requests that a pipeline has; see `hfnb.engines.scheduler.Batch`.

    Args:
        make: Makes a pipeline; called again where a failure has left one that can't go on.
        closed: What to say once the batch is closed.
        budget: How much memory rows may take.
    """

    pads = False

    def __init__(self, make: Callable[[], Pipeline], closed: str, budget: MemoryBudget) -> None:
        self.budget = budget
        self._make = make
        self._closed_message = closed
        self._pipeline: Any = None
        self._pipeline, self._most_blocks = make()
        self._closed = False
        self._lock = threading.RLock()
        """A pipeline takes one call at a time, and `close` may come from any thread."""
        self._handles: dict[Row, Any] = {}
        self._ended: list[tuple[Row, RowError | None]] = []
        self._count = 0
        self._steps = 0
        self._stored = False
        """Whether the pipeline has computed anything."""
        self._store_was_full = False
        """Whether the pipeline's store was too small, and not the memory."""
        self._beginnings = Beginnings()

    @property
    def rows(self) -> list[Row]:
        """Those that are being computed."""
        return list(self._handles)

    def begin(self) -> None:
        """Look how much memory there is; the pipeline is always ready."""
        self.budget.look_anew()

    def take(self, waiting: list[Row], limit: int) -> list[Row]:
        """Take as many rows as there are places for, the longest first.

        Rows whose next tokens are just being computed, for another row, stay where they are. Of
        more than `_SURE` rows, those stay that the store has no place for: OpenVINO would take
        them, drop others in the midst of their answers, and compute these again.
        """
        free = limit - len(self._handles)
        if free <= 0:
            return []
        if not self._handles:
            self._beginnings.clear()  # an interrupt may have come between `take` and `start`
            self._make_room(waiting)
        room = self.budget.room(self.rows)
        group: list[Row] = []
        passed: list[Row] = []
        awaited: set[Row] = set()
        blocks = sum(map(_store_blocks, self._handles))
        while waiting and len(group) < free and len(passed) < _MOST_PASSED:
            row = waiting.pop()
            before = self._beginnings.begin(row)
            if before is None:
                blocks += _store_blocks(row)
                rows = len(self._handles) + len(group) + 1
                if not (self._can_store(rows, blocks) and room.take(row)):
                    self._beginnings.leave(row)
                    waiting.append(row)
                    break
                group.append(row)
            else:
                passed.append(row)
                awaited.add(before)
        waiting += reversed(passed)
        # The pipeline computes prompts in this order.
        return sorted(group, key=lambda row: row not in awaited) if awaited else group

    def _can_store(self, rows: int, blocks: int) -> bool:
        """Whether there may be so many rows, which may come to need so many blocks."""
        return self._most_blocks is None or rows <= _SURE or blocks <= self._most_blocks

    def _make_room(self, waiting: list[Row]) -> None:
        """Between rows, give back a store that has taken the memory which the next row needs.

        OpenVINO fills all of it with what it has computed, and never makes it smaller. The next
        pipeline's size goes by what is free.
        """
        if not waiting or not self._stored or self.budget.room().has_memory_for(waiting[-1]):
            return
        with self._lock:
            self.clear()
            self._drop()
        self.budget.look_anew()

    def start(self, group: list[Row]) -> Tokens:
        """Hand rows to the pipeline, and compute a step."""
        with self._lock:
            pipeline = self._open()
            self._stored = True
            for row in group:
                ids = openvino.Tensor(np.array([row.prompt_ids], dtype=np.int64))
                config = row.call.settings.config_of(row)
                self._handles[row] = pipeline.add_request(self._count, ids, config)
                self._count += 1
            return self.step()

    def step(self) -> Tokens:
        """Compute a step of every row, and return new tokens.

        Reading takes a part of the time of a small model's step. So where nobody looks at a row's
        tokens one by one, they are read every `_READ_EVERY` steps and with the last. The first,
        which tells that the prompt is computed, is read at once after prompts of a block or more:
        other rows may wait for them, and the budget counts what they hold.

        Raises:
            RuntimeError: It failed.
            MemoryError: There was no memory for the keys and values of all rows.
            ModelError: The model was unloaded.
        """
        with self._lock:
            self._open().step()
            self._steps += 1
            every = self._steps % _READ_EVERY == 0
            tokens: list[tuple[Row, int]] = []
            for row, handle in self._handles.items():
                status = handle.get_status().value
                if status != _RUNNING:
                    if status == _IGNORED:
                        # OpenVINO then drops all that it has, small ones too.
                        self._store_was_full = True
                        raise MemoryError("OpenVINO's store of keys and values was too small")
                    outputs = handle.read_all()
                    self._ended.append((row, None))
                elif every or row.call.by_token or _begins_to_answer(row):
                    outputs = _unread(handle)
                else:
                    continue
                for output in outputs:
                    tokens += [(row, token) for token in output.generated_ids]
                if outputs:
                    self._beginnings.computed(row)
            return tokens

    def ended(self) -> Iterable[tuple[Row, RowError | None]]:
        """Return rows that the pipeline has ended."""
        ended, self._ended = self._ended, []
        return ended

    def keep(self, going: Callable[[Row], bool]) -> None:
        """Let all rows go but these; the pipeline drops them at its next step."""
        with self._lock:
            for row in [row for row in self._handles if not going(row)]:
                handle = self._handles.pop(row)
                self._beginnings.leave(row)
                if handle.get_status().value == _RUNNING:
                    handle.cancel()

    def lost(self, rows: Sequence[Row], *, short: bool = False) -> list[Row]:
        """Let go of all rows after a failed step: it is not known which of them failed.

        A pipeline never makes its store of keys and values smaller: where memory is short, the next
        rows get another, whose size goes by what is free then.
        """
        again = list(dict.fromkeys([*self._handles, *rows]))
        self.clear()
        if short and not self._store_was_full:
            self._drop()
        self._store_was_full = False
        return again

    def clear(self) -> None:
        """Let all rows go, and let the pipeline drop them: it must not be left with any."""
        with self._lock:
            self.keep(lambda _: False)
            self._ended = []
            self._beginnings.clear()
            if self._pipeline is not None and not _drained(self._pipeline):
                self._drop()  # the next rows get another one

    def close(self) -> None:
        """Let all rows go, and give the pipeline's memory back."""
        with self._lock:
            self._closed = True
            self.clear()
            self._drop()

    def __del__(self, _ends: Callable[[], bool] = sys.is_finalizing) -> None:
        """Let the pipeline go as `close` does, where nobody has called that."""
        if not _ends():
            self._drop()

    def _drop(self) -> None:
        with own_signal_stack():
            self._pipeline = None

    def _open(self) -> Any:
        if self._closed:
            raise ModelError(self._closed_message)
        if self._pipeline is None:
            self._pipeline, self._most_blocks = self._make()
            self._beginnings = Beginnings()
            self._stored = False
        return self._pipeline


class Beginnings:
    """Which beginnings of prompts were computed, and which are being computed, in whole blocks."""

    def __init__(self) -> None:
        self._known: set[int] = set()
        self._coming: dict[int, Row] = {}
        self._blocks: dict[Row, list[int]] = {}

    def begin(self, row: Row) -> Row | None:
        """Note that a row's prompt is being computed, or return the row that it should wait for."""
        blocks = _blocks_of(row)
        next_block = next((each for each in blocks if each not in self._known), None)
        if next_block is None:
            return None
        if next_block in self._coming:
            return self._coming[next_block]
        for block in blocks:
            self._coming.setdefault(block, row)
        self._blocks[row] = blocks
        return None

    def computed(self, row: Row) -> None:
        """Note that a row's whole prompt is computed."""
        if row not in self._blocks:
            return
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        self._known.update(self._blocks[row])
        self.leave(row)

    def leave(self, row: Row) -> None:
        """Note that nothing of a row's prompt is being computed any more."""
        for block in self._blocks.pop(row, ()):
            if self._coming.get(block) is row:
                del self._coming[block]

    def clear(self) -> None:
        """Forget what was being computed."""
        self._coming.clear()
        self._blocks.clear()


def _blocks_of(row: Row) -> list[int]:
    """Return a number for each whole block of a prompt, by all tokens up to its end.

    The last token is never among them: it is computed again, for the first token of the answer.
    """
    state = row.state
    assert isinstance(state, PagedState)
    if state.blocks is None:
        ids, before = row.prompt_ids, 0
        state.blocks = []
        for end in range(BLOCK, len(ids), BLOCK):
            before = hash((before, *ids[end - BLOCK : end]))
            state.blocks.append(before)
    return state.blocks


def _store_blocks(row: Row) -> int:
    """Return the most blocks that a row can come to need."""
    return -(-tokens_of(row) // STORE_BLOCK)


def _begins_to_answer(row: Row) -> bool:
    """Whether a row of a long prompt has no token yet."""
    return not row.new_ids and len(row.prompt_ids) > BLOCK


def _unread(handle: Any) -> list[Any]:
    """Return what a row that goes on has to read; each step adds one output."""
    outputs: list[Any] = []
    while handle.can_read():
        outputs += handle.read().values()
    return outputs


def _drained(pipeline: Any) -> bool:
    """Let a pipeline drop its cancelled rows; return whether it has none left."""
    try:
        for _ in range(_DRAIN_STEPS):
            if not pipeline.has_non_finished_requests():
                return True
            pipeline.step()
        return not pipeline.has_non_finished_requests()
    except RuntimeError:  # what failed before fails again
        return False
