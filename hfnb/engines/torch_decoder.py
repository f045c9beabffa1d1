"""PyTorch for decoders: our own generate loop over transformers' models.

Prompts are computed in groups of nearly equal length. All rows then decode together; a row that
finishes leaves at once, and waiting rows take its place.

What prompts begin with alike is computed once, where the model's attention can read it from a place
of its own: such rows have only their other tokens in the cache.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from hfnb.engines.memory import MemoryBudget, tokens_of
from hfnb.engines.prefixes import Prefix
from hfnb.engines.row import Row
from hfnb.engines.scheduler import Tokens
from hfnb.engines.torch_attention import KeysAndValues, Shared, attend_in, reads_prefixes
from hfnb.engines.torch_cache import RowCache, order_after_keep
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_padding import padded
from hfnb.engines.torch_plan import Planner, prefill_tokens
from hfnb.engines.torch_prefix import Prefixes
from hfnb.engines.torch_sampling import choose, stopped_by_grammar
from hfnb.errors import RowError

_CLAIM = 0.25
"""The share of free memory that a new cache may make room for before there are rows for it."""


class DecoderBatch:
    """Rows that decode together, each with its own length; see `scheduler.Batch`."""

    pads = True

    def __init__(self, loaded: TorchModel, budget: MemoryBudget) -> None:
        self.rows: list[Row] = []
        self.budget = budget
        self._loaded = loaded
        self._planner = Planner(budget, prefill_tokens(loaded))
        self._prefixes = Prefixes()
        self.shares_prefixes = reads_prefixes(loaded.model)
        """Whether prefixes are computed once; set to false to compare."""
        self._cache: RowCache | None = None
        self._coming = 0
        """How many rows a new cache should have room for."""
        self._last = torch.empty(0, dtype=torch.long)
        """The newest token of each row."""
        self._choosing = False
        """Whether tokens are being drawn: a failure in the midst can't be taken back."""

    def begin(self) -> None:
        """Look how much memory there is."""
        self.budget.look_anew()

    def take(self, waiting: list[Row], limit: int) -> list[Row]:
        """Take rows with the same prefix and of nearly equal length, when enough of them fit."""
        if not self.rows and self._cache is not None:  # the next rows need other buffers
            self._let_go()
            self.budget.freed()
        if self._cache is None:
            self._coming = self._rows_to_come(waiting, limit)
        if not self.shares_prefixes:
            return self._planner.take(waiting, self.rows, limit)
        if not self._planner.has_room(waiting, self.rows, limit):
            return []
        alike = self._prefixes.alike(waiting)
        to_come = self._prefixes.tokens_to_come(alike[-1].prefix)
        group = self._planner.take(alike, self.rows, limit, to_come)
        taken = set(group)
        waiting[:] = [row for row in waiting if row not in taken]
        return group

    def _rows_to_come(self, waiting: Sequence[Row], limit: int) -> int:
        """Return how many rows a new cache should have room for, so that it need not grow soon.

        On a CPU alone: only there a buffer takes memory no sooner than it is written. A limit of
        the process may count it at once.
        """
        learned = self.budget.ceiling.tokens  # memory has run out before: take what is needed
        if not waiting or learned is not None or self._loaded.device.type != "cpu":
            return 0
        fitting = int(self.budget.tokens_free() * _CLAIM) // max(1, tokens_of(waiting[-1]))
        return min(limit, len(waiting), fitting)

    @torch.inference_mode()
    def start(self, group: list[Row]) -> Tokens:
        """Compute the prompts of a group and return each row's first token."""
        prefix = group[0].prefix
        shared: list[Shared] = []
        if prefix is not None:
            shared = [Shared.by(range(len(group)), self._layers_of(prefix, group[0]))]
        lengths = [row.own_tokens for row in group]
        longest = max(lengths)
        own = [row.prompt_ids[row.shared_tokens :] for row in group]
        ids, mask = padded(own, self._loaded.pad_id, left=True)
        positions = (mask.cumsum(dim=-1) - 1).clamp_(min=0) + group[0].shared_tokens
        filled = DynamicCache()
        with attend_in([longest] * len(group), shared):
            logits = self._forward(ids, mask, positions, filled)
        tokens = choose(logits, group)
        if self._cache is None:
            rows, self._coming = max(self._coming, len(group)), 0
            self._cache = RowCache(len(filled.layers), rows)
        last = torch.cat([self._last.to(tokens.device), tokens])
        self._cache.add(filled, lengths)
        self.rows, self._last = self.rows + group, last
        return list(zip(group, tokens.tolist(), strict=True))

    @torch.inference_mode()
    def step(self) -> Tokens:
        """Return the next token of every row."""
        cache = self._cache
        assert cache is not None  # rows are here only after a start
        cache.prepare()
        mask = cache.mask(1, self._loaded.device)
        before = [row.shared_tokens for row in self.rows]
        positions = (torch.tensor(cache.lengths) + torch.tensor(before)).unsqueeze(-1)
        # Each row also reads the column that this step writes.
        with attend_in([length + 1 for length in cache.lengths], self._shared()):
            logits = self._forward(self._last.unsqueeze(-1), mask, positions, cache)
        self._choosing = True
        self._last = choose(logits, self.rows)
        self._choosing = False
        cache.advance()
        return list(zip(self.rows, self._last.tolist(), strict=True))

    def ended(self) -> Iterable[tuple[Row, RowError | None]]:
        """Return rows whose grammar lets nothing follow."""
        return stopped_by_grammar(self.rows)

    @torch.inference_mode()
    def keep(self, going: Callable[[Row], bool]) -> None:
        """Let all rows go but these."""
        if self._cache is None:
            return
        places = [i for i, row in enumerate(self.rows) if going(row)]
        order = order_after_keep(places)
        self._cache.keep(places)
        self._last = self._last[order]
        self.rows = [self.rows[i] for i in order]

    @torch.inference_mode()
    def lost(self, rows: Sequence[Row], *, short: bool = False) -> list[Row]:
        """Let go of rows; of all, where their memory is lost with them."""
        again = list(rows)
        others = [row for row in self.rows if row not in rows]
        if others and len(others) < len(self.rows) and self._is_whole:
            with contextlib.suppress(MemoryError, RuntimeError):  # then it is torn
                self.keep(lambda row: row in others)
                assert self._cache is not None  # it has these rows
                if short:
                    self._cache.shrink()
        if self._cache is not None and not (others and self._is_whole):
            again += others
            self._let_go()
        self._prefixes.drop_idle(self.rows)
        self._loaded.release_cache()
        return again

    @property
    def _is_whole(self) -> bool:
        """Whether rows can go on after a failure."""
        return self._cache is not None and not self._cache.torn and not self._choosing

    def clear(self) -> None:
        """Let all rows go, and their memory."""
        self._let_go()
        self._prefixes.clear()

    def _let_go(self) -> None:
        self.rows = []
        self._cache, self._last = None, self._last[:0]
        self._choosing = False

    def _layers_of(self, prefix: Prefix, row: Row) -> list[KeysAndValues]:
        """Return the keys and values of a prefix; compute them, if ``row`` is the first with it."""
        if prefix.layers is None:
            ids = torch.tensor([prefix.ids])
            filled = DynamicCache()
            positions = torch.arange(len(prefix)).unsqueeze(0)
            self._forward(ids, torch.ones_like(ids), positions, filled)
            layers: Sequence[Any] = filled.layers
            prefix.layers = [(layer.keys, layer.values) for layer in layers]
            work = row.call.work
            work.forwards += 1
            work.prompt_tokens += len(prefix)
            work.shared_tokens -= len(prefix)  # the row counts as the others do
        self._prefixes.keep(prefix, self.rows, self._planner.prefix_budget)
        return prefix.layers

    def _shared(self) -> list[Shared]:
        """Return the prefixes of the rows, each with the places of those that have it."""
        places: dict[Prefix, list[int]] = {}
        for i, row in enumerate(self.rows):
            if row.prefix is not None:
                places.setdefault(row.prefix, []).append(i)
        return [Shared.by(rows, prefix.layers or ()) for prefix, rows in places.items()]

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
        logits: torch.Tensor = out.logits[:, -1]
        return logits
