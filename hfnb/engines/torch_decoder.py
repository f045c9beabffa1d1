"""PyTorch for decoders: our own generate loop over transformers' models.

Prompts are taken in windows, sorted by length, and computed in groups of nearly equal length.
All rows then decode together; a row that finishes leaves at once, and waiting rows take its place.
"""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

import torch
from transformers import DynamicCache

from hfnb import hardware
from hfnb.engines.base import Completion, Delta, FinishReason, Request, Work
from hfnb.engines.stopping import cut_at_stop, safe_length
from hfnb.engines.torch_attention import attend_in, groups_of
from hfnb.engines.torch_cache import RowCache
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_plan import LOOKAHEAD, Planner, auto_rows, new_token_limit
from hfnb.engines.torch_sampling import RowRandom, TokenChooser
from hfnb.engines.torch_text import GrowingText, new_text
from hfnb.errors import EngineError
from hfnb.spec import GenerationSpec


@dataclasses.dataclass
class _Row:
    """One request while it is being answered."""

    index: int
    prompt_ids: list[int]
    most_new: int
    arrived: float
    random: RowRandom
    copy: int = 0
    growing: GrowingText | None = None
    shown: int = 0
    new_ids: list[int] = dataclasses.field(default_factory=list)
    started: float = 0.0
    batch_rows: int = 1
    reason: FinishReason | None = None

    def restart(self) -> None:
        """Forget what was computed, but not what was shown: it comes out the same again."""
        self.new_ids = []
        self.reason = None
        self.growing = None
        self.random.restart()


class DecoderLoop:
    """One call of `TorchEngine.generate`: its rows, its cache and its settings.

    Args:
        loaded: The model.
        generation: How to generate.
        options: The generation options in force.
        batch_size: The most rows at a time, or ``"auto"``.
        lock: Held while the model computes.
    """

    def __init__(
        self,
        loaded: TorchModel,
        generation: GenerationSpec,
        options: dict[str, Any],
        *,
        batch_size: int | Literal["auto"],
        cancel: threading.Event,
        stream: bool,
        work: Work,
        lock: threading.Lock,
    ) -> None:
        self._loaded = loaded
        self._generation = generation
        self._options = options
        self._cancel = cancel
        self._stream = stream
        self._work = work
        self._lock = lock
        self._eos_ids = loaded.eos_of(dict(generation.options))
        self._choose = TokenChooser(options, self._eos_ids, sampling=generation.sampling)
        self._most_rows = auto_rows(loaded) if batch_size == "auto" else batch_size
        self._limit = self._most_rows
        self._planner = Planner(loaded, hardware.memory_free())
        self._waiting: list[_Row] = []  # the next one is the last
        self._active: list[_Row] = []
        self._cache: RowCache | None = None
        self._last = torch.empty(0, dtype=torch.long)

    def run(self, requests: Iterable[Request]) -> Iterator[Completion | Delta]:
        """Yield completions, and deltas when streaming, until all requests are answered."""
        source = iter(requests)
        more = True
        while not self._cancel.is_set():
            if more and len(self._waiting) < self._most_rows:
                batch = list(islice(source, LOOKAHEAD))
                more = len(batch) == LOOKAHEAD
                yield from self._prepare(batch)
            if not self._active and not self._waiting:
                if more:
                    continue
                return
            yield from self._advance()

    def _advance(self) -> Iterator[Completion | Delta]:
        """Take in waiting rows if it is time, else decode one token of every row."""
        group = self._planner.take(self._waiting, self._active, self._limit)
        rows = group or self._active
        try:
            with self._lock, torch.inference_mode():
                tokens = self._prefill(group) if group else self._step()
        except (RuntimeError, IndexError, ValueError) as error:
            yield from self._failed(rows, error)
            return
        yield from self._took(rows, tokens)

    # -- taking rows in ---------------------------------------------------------------------------

    def _prepare(self, requests: list[Request]) -> Iterator[Completion]:
        """Tokenise requests and put them in line, the longest first; refuse those too long."""
        arrived = time.perf_counter()
        context = self._loaded.context_length
        encoded = self._loaded.encode_each([request.prompt for request in requests])
        for request, ids in zip(requests, encoded, strict=True):
            if isinstance(ids, EngineError):
                yield Completion(request.row, None, None, ids)
                continue
            tokens = len(ids)
            if not ids:
                error = EngineError("The prompt is empty: there is no token to begin with.")
                yield Completion(request.row, None, None, error, 0)
                continue
            most_new, problem = new_token_limit(self._options, tokens, context)
            if problem is not None:
                yield Completion(request.row, None, None, problem, tokens)
                continue
            random = (
                RowRandom(self._generation.seed, ids, request.copy)
                if (self._generation.sampling)
                else _NO_RANDOM
            )
            self._waiting.append(_Row(request.row, ids, most_new, arrived, random, request.copy))
        # Popping from the end gives the longest first: later rows then always fit beside them.
        self._waiting.sort(key=lambda row: len(row.prompt_ids))

    def _prefill(self, group: list[_Row]) -> torch.Tensor:
        """Compute the prompts of a group and return each row's first token."""
        now = time.perf_counter()
        lengths = [len(row.prompt_ids) for row in group]
        longest = max(lengths)
        ids = torch.full((len(group), longest), self._loaded.pad_id)
        mask = torch.zeros((len(group), longest), dtype=torch.long)
        for i, row in enumerate(group):
            row.started = row.started or now
            ids[i, longest - lengths[i] :] = torch.tensor(row.prompt_ids)
            mask[i, longest - lengths[i] :] = 1
        positions = (mask.cumsum(dim=-1) - 1).clamp_(min=0)
        filled = DynamicCache()
        logits = self._forward(ids, mask, positions, filled)
        if self._cache is None:
            self._cache = RowCache(len(filled.layers), self._most_rows)
        tokens = self._choose(logits, group)
        self._cache.add(filled, lengths)
        work = self._work
        work.batches += 1
        work.prompt_tokens += sum(lengths)
        work.padding_tokens += len(group) * longest - sum(lengths)
        self._active = self._active + group
        self._last = torch.cat([self._last.to(tokens.device), tokens])
        for row in self._active:
            row.batch_rows = max(row.batch_rows, len(self._active))
        work.batch_rows = max(work.batch_rows, len(self._active))
        return tokens

    # -- decoding ---------------------------------------------------------------------------------

    def _step(self) -> torch.Tensor:
        """Compute the next token of every active row."""
        cache = self._cache
        assert cache is not None  # rows are active only after a prefill
        cache.prepare()
        mask = cache.mask(1, self._loaded.device)
        positions = torch.tensor(cache.lengths).unsqueeze(-1)
        # Each row also reads the column that this step writes.
        with attend_in(groups_of([length + 1 for length in cache.lengths])):
            logits = self._forward(self._last.unsqueeze(-1), mask, positions, cache)
        cache.advance()
        self._last = self._choose(logits, self._active)
        return self._last

    def _forward(
        self, ids: torch.Tensor, mask: torch.Tensor, positions: torch.Tensor, cache: Any
    ) -> torch.Tensor:
        """Return the logits after the last column, [rows, vocabulary]."""
        device = self._loaded.device
        takes = self._loaded.forward_options
        options: dict[str, Any] = {}
        if "position_ids" in takes:
            options["position_ids"] = positions.to(device)
        if "logits_to_keep" in takes:
            options["logits_to_keep"] = 1
        out = self._loaded.in_memory()(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            past_key_values=cache,
            use_cache=True,
            **options,
        )
        self._work.forwards += 1
        logits: torch.Tensor = out.logits[:, -1]
        return logits

    # -- what a step gave -------------------------------------------------------------------------

    def _took(self, rows: list[_Row], tokens: torch.Tensor) -> Iterator[Completion | Delta]:
        """Hand each row its token; yield rows that ended with it and let them go."""
        ended = False
        out: list[Completion | Delta] = []
        for row, token in zip(rows, tokens.tolist(), strict=True):
            out.extend(self._give(row, token))
            if row.reason is not None:
                ended = True
                out.append(self._completion(row))
        if ended:
            self._drop_finished()
        yield from out

    def _give(self, row: _Row, token: int) -> Iterator[Delta]:
        if token in self._eos_ids:
            row.reason = "eos"
        else:
            self._work.new_tokens += 1
            row.new_ids.append(token)
            if len(row.new_ids) >= row.most_new:
                row.reason = "length"
        stop = self._generation.stop
        if not stop and not self._stream:
            return
        if row.growing is None:
            row.growing = GrowingText(self._loaded.tokenizer, row.prompt_ids)
        growing = row.growing
        piece = growing.finish() if row.reason == "eos" else growing.add(token)
        if row.reason == "length":
            piece += growing.finish()
        if stop and piece:
            reach = len(piece) + max(map(len, stop))
            if cut_at_stop(growing.text[-reach:], stop)[1]:
                row.reason = "stop"
        if self._stream:
            text, _ = cut_at_stop(growing.text, stop)
            upto = len(text) if row.reason is not None else safe_length(text, stop)
            if upto > row.shown:
                yield Delta(row.index, text[row.shown : upto], len(row.new_ids))
                row.shown = upto

    def _completion(self, row: _Row) -> Completion:
        now = time.perf_counter()
        if row.growing is not None:
            text = row.growing.text
        else:
            text = new_text(self._loaded.tokenizer, row.prompt_ids, row.new_ids)
        text, _ = cut_at_stop(text, self._generation.stop)
        return Completion(
            row=row.index,
            text=text,
            finish_reason=row.reason,
            prompt_tokens=len(row.prompt_ids),
            new_tokens=len(row.new_ids),
            queue_s=row.started - row.arrived,
            latency_s=now - row.started,
            batch_rows=row.batch_rows,
            copy=row.copy,
        )

    def _drop_finished(self) -> None:
        cache = self._cache
        assert cache is not None  # rows end only after a prefill
        going = [i for i, row in enumerate(self._active) if row.reason is None]
        order = cache.order_after_keep(going)
        with torch.inference_mode():
            cache.keep(going)
            self._last = self._last[order]
        self._active = [self._active[i] for i in order]
        if self._limit < self._most_rows:
            self._limit = min(self._most_rows, self._limit + 1)  # recover slowly after a failure

    def _failed(self, rows: list[_Row], error: Exception) -> Iterator[Completion]:
        """After a failed forward pass, try its rows again in halves; one row alone has failed."""
        again = list(rows)
        others = [row for row in self._active if row not in rows]
        if self._cache is not None and (not others or self._cache.torn):
            again += others  # the memory of the rows that went on before is lost
            others = []
            self._cache, self._last = None, self._last[:0]
        self._active = others
        self._loaded.release_cache()
        if len(again) == 1 and not others:
            row = again[0]
            problem = EngineError(f"{type(error).__name__}: {error}")
            problem.__cause__ = error
            yield Completion(row.index, None, None, problem, len(row.prompt_ids), copy=row.copy)
            return
        # One row that joined others waits until they have gone, and is then tried alone.
        self._limit = max(1, len(rows) // 2) if len(rows) > 1 else 1
        self._work.recomputed_rows += len(again)
        for row in again:
            row.restart()
        self._waiting.extend(again)
        self._waiting.sort(key=lambda row: len(row.prompt_ids))


_NO_RANDOM = RowRandom(0, (), 0)
"""For greedy rows, which draw nothing."""
