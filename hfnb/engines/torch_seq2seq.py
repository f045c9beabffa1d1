"""PyTorch for encoder-decoders: our own generate loop over transformers' models.

The encoder reads texts of nearly equal length at once. Their answers make a group, and those of
other texts join it before its first step, never later: these models count positions from the start
of the batch. A row that finishes leaves its group. A new group begins when the last one has ended,
or beside it where a call has only few rows and somebody waits for them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from hfnb.engines.batches import encoder_tokens
from hfnb.engines.memory import MemoryBudget
from hfnb.engines.row import Row
from hfnb.engines.scheduler import Tokens
from hfnb.engines.torch_cache import RowCache, keep_rows, moves_of, order_after_keep
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_padding import padded
from hfnb.engines.torch_plan import Planner, kv_bytes_per_token, weight_bytes_of_a_step
from hfnb.engines.torch_sampling import choose, stopped_by_grammar
from hfnb.errors import RowError


class _Group:
    """Rows whose answers begin together: texts of nearly equal length, until others join."""

    def __init__(self, loaded: TorchModel, rows: list[Row]) -> None:
        self.rows = rows
        self._choosing = False
        """Whether tokens are being drawn: a failure in the midst can't be taken back."""
        self._model = loaded.in_memory()
        ids, mask = padded([row.prompt_ids for row in rows], loaded.pad_id, left=False)
        self._mask = mask.to(loaded.device)
        encoder = self._model.get_encoder()
        self._source = encoder(
            input_ids=ids.to(loaded.device), attention_mask=self._mask
        ).last_hidden_state
        begin = torch.tensor([row.context_ids for row in rows], device=loaded.device)
        filled = EncoderDecoderCache(DynamicCache(), DynamicCache())
        logits = self._forward(begin, filled)
        self._own = RowCache(len(filled.self_attention_cache.layers), len(rows))
        self._own.add(filled.self_attention_cache, [begin.shape[1]] * len(rows))
        self._cross = filled.cross_attention_cache
        self.last = choose(logits, rows)
        self.has_stepped = False

    def may_join(self, other: _Group, padding: int) -> bool:
        """Whether another group, that has just begun, can go on with this one.

        Args:
            other: The other group.
            padding: The most tokens by which the shorter texts may be padded for it.
        """
        mine, others = self._mask.shape, other._mask.shape
        wider = max(mine[1], others[1])
        needed = mine[0] * (wider - mine[1]) + others[0] * (wider - others[1])
        return not self.has_stepped and self._own.width == other._own.width and needed <= padding

    def join(self, other: _Group) -> None:
        """Take over the rows of another group that has just begun."""
        wider = max(self._mask.shape[1], other._mask.shape[1])
        layers: Sequence[Any] = self._cross.layers
        others: Sequence[Any] = other._cross.layers
        cross = [
            (_stacked(mine.keys, new.keys, wider, 2), _stacked(mine.values, new.values, wider, 2))
            for mine, new in zip(layers, others, strict=True)
        ]
        source = _stacked(self._source, other._source, wider, 1)
        mask = _stacked(self._mask, other._mask, wider, 1)
        self._own.take_over(other._own)
        for layer, (keys, values) in zip(layers, cross, strict=True):
            layer.keys, layer.values = keys, values
        self._source, self._mask = source, mask
        self.last = torch.cat([self.last, other.last])
        self.rows = self.rows + other.rows

    def step(self) -> torch.Tensor:
        self.has_stepped = True
        self._own.prepare()
        logits = self._forward(self.last.unsqueeze(-1), EncoderDecoderCache(self._own, self._cross))
        self._choosing = True
        self.last = choose(logits, self.rows)
        self._choosing = False
        self._own.advance()
        return self.last

    @property
    def is_whole(self) -> bool:
        """Whether its rows can go on after a failure."""
        return not self._own.torn and not self._choosing

    def keep(self, going: Sequence[int]) -> None:
        order = order_after_keep(going)
        self._own.keep(going)
        moves, count = moves_of(order, self._mask.device), len(order)
        layers: Sequence[Any] = self._cross.layers
        for layer in layers:
            layer.keys = keep_rows(layer.keys, moves)[:count]
            layer.values = keep_rows(layer.values, moves)[:count]
        self._mask = keep_rows(self._mask, moves)[:count]
        self._source = keep_rows(self._source, moves)[:count]
        self.last = self.last[order]
        self.rows = [self.rows[i] for i in order]

    def shrink(self) -> None:
        """Give back the memory of rows that have gone."""
        self._own.shrink()
        layers: Sequence[Any] = self._cross.layers
        for layer in layers:
            layer.keys, layer.values = layer.keys.clone(), layer.values.clone()
        self._source = self._source.clone()

    def _forward(self, ids: torch.Tensor, cache: Any) -> torch.Tensor:
        """Return the logits after the last column, [rows, vocabulary]."""
        out = self._model(
            encoder_outputs=BaseModelOutput(last_hidden_state=self._source),
            attention_mask=self._mask,
            decoder_input_ids=ids,
            past_key_values=cache,
            use_cache=True,
        )
        logits: torch.Tensor = out.logits[:, -1]
        return logits


def _stacked(first: Any, second: Any, width: int, dim: int) -> torch.Tensor:
    """Return the rows of two tensors, each filled up with zeros to a width along a dimension."""
    rows = first.shape[0] + second.shape[0]
    shape = [rows, *first.shape[1:]]
    shape[dim] = width
    both: torch.Tensor = first.new_empty(shape)
    for part, given in ((both[: len(first)], first), (both[len(first) :], second)):
        filled = given.shape[dim]
        part.narrow(dim, 0, filled).copy_(given)
        part.narrow(dim, filled, width - filled).zero_()
    return both


class Seq2SeqBatch:
    """Groups of rows that are answered side by side; see `scheduler.Batch`."""

    pads = True

    def __init__(self, loaded: TorchModel, budget: MemoryBudget) -> None:
        self.budget = budget
        self._loaded = loaded
        self._planner = Planner(budget, encoder_tokens(loaded.device.type))
        self._padding = weight_bytes_of_a_step(loaded) // max(1, kv_bytes_per_token(loaded))
        """Padding that a step reads as fast as the weights, which another group would read anew."""
        self._groups: list[_Group] = []
        self._in_part = False
        """Whether a step was broken off after some rows' tokens were drawn."""

    @property
    def rows(self) -> list[Row]:
        """All rows, group by group."""
        return [row for group in self._groups for row in group.rows]

    def begin(self) -> None:
        """Look how much memory there is."""
        self.budget.look_anew()

    def take(self, waiting: list[Row], limit: int) -> list[Row]:
        """Take rows of nearly equal length, when it is time for a new group, or for more of one."""
        begins = not self._groups or not self._groups[-1].has_stepped
        if not begins and not waiting[-1].call.few:
            return []
        return self._planner.take(waiting, self.rows, limit, begins=begins)

    @torch.inference_mode()
    def start(self, group: list[Row]) -> Tokens:
        """Read the texts of a group and return each row's first token."""
        made = _Group(self._loaded, group)
        tokens = list(zip(group, made.last.tolist(), strict=True))
        if self._groups and self._groups[-1].may_join(made, self._padding):
            self._groups[-1].join(made)
        else:
            self._groups.append(made)
        return tokens

    @torch.inference_mode()
    def step(self) -> Tokens:
        """Return the next token of every row."""
        tokens: list[tuple[Row, int]] = []
        for group in self._groups:
            tokens += zip(group.rows, group.step().tolist(), strict=True)
            self._in_part = True
        self._in_part = False
        return tokens

    def ended(self) -> Iterable[tuple[Row, RowError | None]]:
        """Return rows whose grammar lets nothing follow."""
        return stopped_by_grammar(self.rows)

    @torch.inference_mode()
    def keep(self, going: Callable[[Row], bool]) -> None:
        """Let all rows go but these."""
        for group in self._groups:
            places = [i for i, row in enumerate(group.rows) if going(row)]
            if len(places) < len(group.rows):
                group.keep(places)
        self._groups = [group for group in self._groups if group.rows]

    @torch.inference_mode()
    def lost(self, rows: Sequence[Row], *, short: bool = False) -> list[Row]:
        """Let go of rows; of all, where a step was broken off so that none can go on."""
        again = list(rows)
        others = [row for row in self.rows if row not in rows]
        if len(others) < len(self.rows):
            if others and self._is_whole:
                with contextlib.suppress(MemoryError, RuntimeError):  # then one of them is torn
                    self.keep(lambda row: row in others)
                    for group in self._groups if short else ():
                        group.shrink()
            if not (others and self._is_whole):
                again += others
                self.clear()
        self._loaded.release_cache()
        return again

    @property
    def _is_whole(self) -> bool:
        """Whether rows can go on after a failure."""
        return not self._in_part and all(group.is_whole for group in self._groups)

    def clear(self) -> None:
        """Let all rows go, and their memory."""
        self._groups = []
        self._in_part = False
