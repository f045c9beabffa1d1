"""PyTorch through transformers' own ``generate``, in batches sorted by length.

For encoder-decoders, for beam search and other options that our decoder loop leaves to
transformers, and for models whose cache is of their own kind.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria

from hfnb.engines.base import Completion, Delta, FinishReason, Request, Work
from hfnb.engines.stopping import cut_at_stop
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_plan import LOOKAHEAD, new_token_limit
from hfnb.engines.torch_sampling import RowRandom, draw, warpers
from hfnb.engines.torch_text import GrowingText, new_text
from hfnb.errors import EngineError, RowError
from hfnb.spec import GenerationSpec

_BATCH_TOKENS = 8192
_BATCH_ROWS = 64
_OWN_OPTIONS = frozenset(
    "max_new_tokens max_length temperature do_sample top_k top_p min_p typical_p".split()
)
"""Options that are applied here, row by row, and not by ``generate``."""


class _Rows(StoppingCriteria):
    """Ends rows at their own limits and stop strings, and all of them when cancelled."""

    def __init__(
        self,
        loaded: TorchModel,
        batch: list[_Job],
        stop: tuple[str, ...],
        prompt_columns: int,
        cancel: threading.Event,
        work: Work,
        eos: frozenset[int],
    ) -> None:
        self._batch = batch
        self._stop = stop
        self._columns = prompt_columns
        self._cancel = cancel
        self._work = work
        self._texts = [GrowingText(loaded.tokenizer, job.context_ids) for job in batch]
        self.reasons: list[FinishReason | None] = [None] * len(batch)
        self._eos = eos

    def __call__(
        self, input_ids: torch.Tensor, scores: torch.Tensor, **kwargs: Any
    ) -> torch.Tensor:
        self._work.forwards += 1
        rows = input_ids.shape[0]
        if self._cancel.is_set():
            return torch.ones(rows, dtype=torch.bool, device=input_ids.device)
        ended = torch.zeros(rows, dtype=torch.bool, device=input_ids.device)
        if rows != len(self._batch):  # beams: a row is several; its text is cut afterwards
            return ended
        new = input_ids.shape[1] - self._columns
        for i, token in enumerate(input_ids[:, -1].tolist()):
            if self.reasons[i] is None:
                self.reasons[i] = self._reason(i, token, new)
            ended[i] = self.reasons[i] is not None
        return ended

    def _reason(self, i: int, token: int, new: int) -> FinishReason | None:
        if token in self._eos:
            return "eos"
        if self._stop:
            growing = self._texts[i]
            piece = growing.add(token)
            reach = len(piece) + max(map(len, self._stop))
            if piece and cut_at_stop(growing.text[-reach:], self._stop)[1]:
                return "stop"
        return "length" if new >= self._batch[i].most_new else None


class _Draw(LogitsProcessor):
    """Draws each row's token from its own random numbers, and leaves ``generate`` no choice."""

    def __init__(self, options: dict[str, Any], batch: list[_Job]) -> None:
        self._warpers = warpers(options)
        self._batch = batch

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        uniform = [job.random.next() for job in self._batch]
        chosen = draw(self._warpers(input_ids, scores.float()), uniform)
        only = torch.full_like(scores, -torch.inf)
        return only.scatter_(1, chosen.unsqueeze(-1), 0.0)


class _Job:
    """One request with its tokens and limits."""

    def __init__(
        self, request: Request, ids: list[int], most_new: int, seed: int | None, *, context: bool
    ) -> None:
        self.index = request.row
        self.copy = request.copy
        self.ids = ids
        self.most_new = most_new
        self.random = RowRandom(seed, ids, request.copy)
        self.context_ids = ids if context else []
        """Prompt tokens that the answer continues; an encoder-decoder's answer continues none."""


def generate_in_batches(
    loaded: TorchModel,
    requests: Iterable[Request],
    generation: GenerationSpec,
    options: dict[str, Any],
    *,
    batch_size: int | Literal["auto"],
    cancel: threading.Event,
    stream: bool,
    work: Work,
    lock: threading.Lock,
) -> Iterator[Completion | Delta]:
    """Yield completions batch by batch; see `hfnb.engines.base.Engine.generate`."""
    source = iter(requests)
    most_rows = _BATCH_ROWS if batch_size == "auto" else batch_size
    decoder = not loaded.model.config.is_encoder_decoder
    # transformers' processors count padding as tokens, and beams have one limit a batch: rows of
    # equal length then make a batch. An encoder-decoder's padding stands apart from its answer.
    beams = int(options.get("num_beams") or 1) > 1
    even = decoder or any(name.startswith("encoder_") for name in options)

    def key(job: _Job) -> tuple[int, int]:
        """Return what the rows of a batch must have in common."""
        return (len(job.ids) if even else 0, job.most_new if beams else 0)

    while requested := list(islice(source, LOOKAHEAD)):
        arrived = time.perf_counter()
        jobs: list[_Job] = []
        encoded = loaded.encode_each([request.prompt for request in requested])
        for request, ids in zip(requested, encoded, strict=True):
            if isinstance(ids, EngineError):
                yield Completion(request.row, None, None, ids, copy=request.copy)
                continue
            problem: RowError | None
            most_new, problem = new_token_limit(
                options, len(ids), loaded.context_length, shared=decoder
            )
            if not ids:
                problem = EngineError("The prompt is empty: there is no token to begin with.")
            if problem is not None:
                yield Completion(request.row, None, None, problem, len(ids), copy=request.copy)
                continue
            jobs.append(_Job(request, ids, most_new, generation.seed, context=decoder))
        jobs.sort(key=lambda job: (len(job.ids), job.most_new))
        while jobs:
            if cancel.is_set():
                return
            batch = _take_batch(jobs, most_rows, key)
            try:
                with lock:
                    done = _run_batch(loaded, batch, generation, options, arrived, cancel, work)
            except (RuntimeError, IndexError, ValueError) as error:
                if len(batch) == 1:
                    fault = EngineError(f"{type(error).__name__}: {error}")
                    fault.__cause__ = error
                    job = batch[0]
                    yield Completion(job.index, None, None, fault, len(job.ids), copy=job.copy)
                else:  # the rows are tried again in halves, until the culprit stands alone
                    work.recomputed_rows += len(batch)
                    most_rows = max(1, len(batch) // 2)
                    for job in batch:
                        job.random.restart()
                    jobs.extend(batch)
                continue
            if cancel.is_set():
                return
            for each in done:
                if stream and each.text:
                    yield Delta(each.row, each.text, each.new_tokens or 0)
                yield each


def _take_batch(
    jobs: list[_Job], most_rows: int, key: Callable[[_Job], tuple[int, int]]
) -> list[_Job]:
    """Take the next batch off the end of jobs that are sorted by length."""
    first = jobs[-1]
    fits = max(1, _BATCH_TOKENS // len(first.ids))
    batch: list[_Job] = []
    while jobs and len(batch) < min(most_rows, fits) and key(jobs[-1]) == key(first):
        batch.append(jobs.pop())
    return batch


def _run_batch(
    loaded: TorchModel,
    batch: list[_Job],
    generation: GenerationSpec,
    options: dict[str, Any],
    arrived: float,
    cancel: threading.Event,
    work: Work,
) -> list[Completion]:
    started = time.perf_counter()
    longest = max(len(job.ids) for job in batch)
    decoder = not loaded.model.config.is_encoder_decoder
    ids = torch.full((len(batch), longest), loaded.pad_id)
    mask = torch.zeros_like(ids)
    for i, job in enumerate(batch):
        columns = slice(longest - len(job.ids), None) if decoder else slice(len(job.ids))
        ids[i, columns] = torch.tensor(job.ids)
        mask[i, columns] = 1
    eos = loaded.eos_of(dict(generation.options))
    rows = _Rows(loaded, batch, generation.stop, longest if decoder else 1, cancel, work, eos)
    passed = {name: _thaw(v) for name, v in options.items() if name not in _OWN_OPTIONS}
    processors = LogitsProcessorList([_Draw(options, batch)] if generation.sampling else [])
    with torch.inference_mode():
        out = loaded.in_memory().generate(
            input_ids=ids.to(loaded.device),
            attention_mask=mask.to(loaded.device),
            max_new_tokens=max(job.most_new for job in batch),
            do_sample=False,
            logits_processor=processors,
            stopping_criteria=[rows],
            **{**passed, "pad_token_id": loaded.pad_id, "eos_token_id": sorted(eos)},
        )
    finished = time.perf_counter()
    new = out[:, longest if decoder else 1 :].tolist()
    work.batches += 1
    work.batch_rows = max(work.batch_rows, len(batch))
    work.prompt_tokens += sum(len(job.ids) for job in batch)
    work.padding_tokens += sum(longest - len(job.ids) for job in batch)
    sequences = len(new) // len(batch)  # the best beams, where several were asked for
    done = []
    for i, tokens in enumerate(new):
        job = batch[i // sequences]
        ended = rows.reasons[i] if sequences == 1 else None
        text, kept, reason = _read(loaded, job, tokens, generation.stop, ended, eos)
        work.new_tokens += kept
        done.append(
            Completion(
                row=job.index,
                text=text,
                finish_reason=reason,
                prompt_tokens=len(job.ids),
                new_tokens=kept,
                queue_s=started - arrived,
                latency_s=finished - started,
                batch_rows=len(batch),
                copy=job.copy if sequences == 1 else i % sequences,
            )
        )
    return done


def _read(
    loaded: TorchModel,
    job: _Job,
    tokens: list[int],
    stop: tuple[str, ...],
    reason: FinishReason | None,
    eos: frozenset[int],
) -> tuple[str, int, FinishReason]:
    """Return a row's text, its number of new tokens, and why it ended."""
    end = next((i for i, token in enumerate(tokens) if token in eos), None)
    if end is None:
        tokens = tokens[: job.most_new]
        fallback: FinishReason = "length"
    else:
        tokens = tokens[:end]
        fallback = "eos"
    text, stopped = cut_at_stop(new_text(loaded.tokenizer, job.context_ids, tokens), stop)
    if stopped:
        fallback = "stop"
    return text, len(tokens), reason or fallback


def _thaw(value: Any) -> Any:
    """Turn the tuples of a specification back into the lists that transformers wants."""
    return [_thaw(each) for each in value] if isinstance(value, tuple) else value
