"""PyTorch through transformers' own ``generate``, in batches sorted by length.

For beam search and other options that our own loops leave to transformers, and for models whose
cache is of their own kind.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria

from hfnb.engines.base import Completion, Delta
from hfnb.engines.call import Call
from hfnb.engines.memory import MemoryBudget, Room, held
from hfnb.engines.row import Row
from hfnb.engines.shortage import is_out_of_memory, let_go, no_memory_for
from hfnb.engines.torch_grammar import mask_logits
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_padding import padded
from hfnb.engines.torch_processors import thaw
from hfnb.engines.torch_sampling import (
    RowRandom,
    TorchState,
    draw,
    grammar_of,
    stopped_by_grammar,
    warpers,
)

_BATCH_TOKENS = 8192
_BATCH_ROWS = 64
_PATIENCE_S = 0.2
_BATCH_ERRORS = (RuntimeError, IndexError, ValueError, MemoryError)
"""What `generate` raises for rows that it can't compute."""
_OWN_OPTIONS = frozenset(
    "max_new_tokens max_length temperature do_sample top_k top_p min_p typical_p".split()
)
"""Options that are applied here, row by row, and not by ``generate``."""


class _Giver(StoppingCriteria):
    """Gives each row its tokens, ends it at its own limits, and ends all when cancelled.

    A beam search has more sequences than rows: its tokens are given when it has ended.
    """

    def __init__(self, call: Call, batch: list[Row]) -> None:
        self._call = call
        self._batch = batch

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        self._call.work.forwards += 1
        rows = input_ids.shape[0]
        ended = torch.zeros(rows, dtype=torch.bool, device=input_ids.device)
        if _ended(self._call):
            return ~ended
        if rows == len(self._batch):
            for row, token in zip(self._batch, input_ids[:, -1].tolist(), strict=True):
                _give(row, token)
            for row, problem in stopped_by_grammar(self._batch):
                if row.reason is None or problem is not None:
                    row.end(problem)
            for i, row in enumerate(self._batch):
                ended[i] = row.reason is not None
                if row.reason is not None and row in self._call.unfinished:
                    self._call.finish(row, row.completion())  # whatever becomes of the others
        return ended


class _Hold(LogitsProcessor):
    """Leaves each row only the tokens that its grammar lets follow."""

    def __init__(self, batch: list[Row]) -> None:
        self._batch = batch

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return mask_logits(scores.clone(), [grammar_of(row) for row in self._batch])


class _Draw(LogitsProcessor):
    """Draws each row's token from its own random numbers, and leaves ``generate`` no choice."""

    def __init__(self, options: dict[str, Any], batch: list[Row]) -> None:
        self._warpers = warpers(options)
        self._batch = batch

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        uniform = [_random(row).next() for row in self._batch]
        chosen = draw(self._warpers(input_ids, scores.float()), uniform)
        only = torch.full_like(scores, -torch.inf)
        return only.scatter_(1, chosen.unsqueeze(-1), 0.0)


Compute = Callable[[TorchModel, Call, list[Row], MemoryBudget], None]
"""Computes a batch to its end and hands out its rows."""


def generate_in_batches(
    loaded: TorchModel, call: Call, lock: threading.Lock, budget: MemoryBudget
) -> Iterator[Completion | Delta]:
    """Yield a call's completions batch by batch; see `hfnb.engines.base.Engine.generate`."""
    key = _key(loaded, call.options)
    # transformers copies all keys and values whenever they grow.
    copies = 2 * _copies(call.options)
    return in_batches(_run_batch, loaded, call, lock, budget, key=key, copies=copies)


def in_batches(
    compute: Compute,
    loaded: TorchModel,
    call: Call,
    lock: threading.Lock,
    budget: MemoryBudget,
    *,
    key: Callable[[Row], Any],
    copies: int = 1,
) -> Iterator[Completion | Delta]:
    """Yield a call's completions, batch by batch of rows that are sorted by length.

    Args:
        compute: What computes a batch.
        loaded: The model.
        call: What is asked.
        lock: Held while a batch is computed.
        budget: How much memory rows may take.
        key: Returns what the rows of a batch must have in common.
        copies: How many sequences are kept for each row.
    """
    most_rows = min(call.most_rows, _BATCH_ROWS)
    apart: list[list[Row]] = []
    """Groups among which a row is that fails."""
    budget.look_anew()

    def run(batch: list[Row]) -> None:
        failure: Exception | None = None
        try:
            with lock:
                compute(loaded, call, batch, budget)
        except _BATCH_ERRORS as error:
            failure = error
        # Outside of the handler: until its end, an error holds all that the batch had made.
        if failure is not None:
            let_go(failure)
            loaded.release_cache()
            _failed(call, batch, failure, budget, apart)

    try:
        while True:
            while call.out:
                yield call.out.popleft()
            if call.cancel.is_set() or call.done:
                return
            if call.hungry:
                call.draw()
                call.line_up()
                continue
            if apart:
                batch = apart.pop()
            else:
                batch = _take_batch(call.waiting, most_rows, key, budget.room(copies=copies))
            if call.stream:
                yield from _while_running(call, functools.partial(run, batch))
            else:
                run(batch)
    finally:
        call.left = True


def _failed(
    call: Call,
    batch: list[Row],
    error: Exception,
    budget: MemoryBudget,
    apart: list[list[Row]],
) -> None:
    """After a failure, try a batch's rows again, fewer at a time; one row alone has failed."""
    rows = [row for row in batch if row in call.unfinished]
    short = is_out_of_memory(error)
    if short:
        budget.recover()
    if short and len(batch) > 1:
        budget.ceiling.failed(held(batch))
        call.work.memory_backoffs += 1
        call.wait_again(rows)
    elif short:
        budget.ceiling.does_not_fit(held(batch))
        for row in rows:
            call.finish(row, row.failure(no_memory_for(row, error)))
    elif len(batch) > 1:  # in halves, until the culprit stands alone
        middle = (len(rows) + 1) // 2
        for row in rows:
            row.restart()
            call.work.recomputed_rows += 1
        apart += [half for half in (rows[middle:], rows[:middle]) if half]
    else:
        for row in rows:
            call.finish(row, row.failure(error))


def _copies(options: dict[str, Any]) -> int:
    """Return how many sequences are kept for each row."""
    beams = int(options.get("num_beams") or 1)
    return max(beams, int(options.get("num_return_sequences") or 1))


def _key(loaded: TorchModel, options: dict[str, Any]) -> Callable[[Row], tuple[int, int]]:
    """Return what the rows of a batch must have in common.

    transformers' processors count padding as tokens, and beams have one limit a batch. An
    encoder-decoder's padding stands apart from its answer.
    """
    beams = int(options.get("num_beams") or 1) > 1
    even = loaded.is_decoder or any(name.startswith("encoder_") for name in options)

    def key(row: Row) -> tuple[int, int]:
        return (len(row.prompt_ids) if even else 0, row.most_new if beams else 0)

    return key


def _take_batch(
    waiting: list[Row], most_rows: int, key: Callable[[Row], tuple[int, int]], room: Room
) -> list[Row]:
    """Take the next batch off the end of rows that are sorted by length."""
    first = waiting[-1]
    fits = max(1, _BATCH_TOKENS // len(first.prompt_ids))
    batch: list[Row] = []
    while waiting and len(batch) < min(most_rows, fits) and key(waiting[-1]) == key(first):
        if not room.take(waiting[-1]):
            break
        batch.append(waiting.pop())
    return batch


def _while_running(call: Call, run: Callable[[], None]) -> Iterator[Completion | Delta]:
    """Run in another thread, and yield meanwhile what comes: ``generate`` is no generator."""
    problems: list[BaseException] = []

    def guarded() -> None:
        try:
            run()
        except BaseException as problem:
            problems.append(problem)
        finally:
            call.woken.set()

    thread = threading.Thread(target=guarded, name="hfnb-generate", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            call.woken.wait(_PATIENCE_S)
            call.woken.clear()
            while call.out:
                yield call.out.popleft()
    finally:
        call.left = thread.is_alive()  # the caller has gone: the next token is the last
        thread.join()
    if problems:
        raise problems[0]


def _random(row: Row) -> RowRandom:
    assert isinstance(row.state, TorchState)  # rows that are sampled have one
    return row.state.random


def _ended(call: Call) -> bool:
    return call.left or call.cancel.is_set()


def _give(row: Row, token: int) -> None:
    if row.reason is None and (delta := row.give(token)) is not None:
        row.call.out.append(delta)
        row.call.woken.set()


def begin_batch(
    loaded: TorchModel, batch: list[Row], *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Begin the rows of a batch; return their prompts and the mask of these, [rows, longest]."""
    now = time.perf_counter()
    for row in batch:
        row.begin(now)
        row.batch_rows = len(batch)
    ids, mask = padded([row.prompt_ids for row in batch], loaded.pad_id, left=left)
    return ids.to(loaded.device), mask.to(loaded.device)


def count_batch(call: Call, batch: list[Row]) -> None:
    """Add a batch to the call's work."""
    longest = max(len(row.prompt_ids) for row in batch)
    work = call.work
    work.batches += 1
    work.batch_rows = max(work.batch_rows, len(batch))
    work.prompt_tokens += sum(len(row.prompt_ids) for row in batch)
    work.padding_tokens += sum(longest - len(row.prompt_ids) for row in batch)


def _run_batch(loaded: TorchModel, call: Call, batch: list[Row], budget: MemoryBudget) -> None:
    """Compute a batch to its end and hand out its rows."""
    ids, mask = begin_batch(loaded, batch, left=loaded.is_decoder)
    longest = ids.shape[1]
    options, sampling = call.options, call.generation.sampling
    copies = _copies(options)
    passed = {name: thaw(v) for name, v in options.items() if name not in _OWN_OPTIONS}
    with torch.inference_mode(), budget.measured(len(batch) * longest * copies):
        out = loaded.in_memory().generate(
            input_ids=ids,
            attention_mask=mask,
            max_new_tokens=max(row.most_new for row in batch),
            do_sample=False,
            logits_processor=LogitsProcessorList(
                [
                    *([_Hold(batch)] if call.generation.grammar is not None else []),
                    *([_Draw(options, batch)] if sampling else []),
                ]
            ),
            stopping_criteria=[_Giver(call, batch)],
            **{**passed, "pad_token_id": loaded.pad_id, "eos_token_id": sorted(call.eos_ids)},
        )
    if _ended(call):
        return
    count_batch(call, batch)
    before = longest if loaded.is_decoder else len(batch[0].context_ids)
    new = out[:, before:].tolist()
    sequences = len(new) // len(batch)  # the best beams, where several were asked for
    for i, row in enumerate(batch):
        if row in call.unfinished:
            ends = [_ended_row(row, at, new[i * sequences + at]) for at in range(sequences)]
            call.unfinished.discard(row)
            call.out.extend(ends)
    budget.finished(batch, batch)


def _ended_row(row: Row, beam: int, tokens: list[int]) -> Completion:
    """Return a row's completion, or that of one of its beams."""
    if beam:
        row = dataclasses.replace(row, copy=beam, new_ids=[], reason=None, _growing=None)
    for token in tokens:
        _give(row, token)
    row.reason = row.reason or "length"
    return row.completion()
