"""PyTorch for encoder-decoders: our own generate loop over transformers' models.

Texts of nearly equal length make a group: the encoder reads them at once, and their answers begin
together, since these models count positions from the start of the batch. A row that finishes
leaves its group. A new group begins when the last one has ended, or beside it where a call has
only few rows and somebody waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from transformers import DynamicCache, EncoderDecoderCache
from transformers.modeling_outputs import BaseModelOutput

from hfnb.engines.row import Row
from hfnb.engines.scheduler import Tokens
from hfnb.engines.torch_cache import RowCache, keep_rows, order_after_keep
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_plan import Planner
from hfnb.engines.torch_sampling import choose, stopped_by_grammar
from hfnb.errors import RowError

_GROUP_TOKENS = 8192
"""Source tokens in a group, padding included."""


class _Group:
    """Rows whose answers began together."""

    def __init__(self, loaded: TorchModel, rows: list[Row]) -> None:
        self.rows = rows
        self._model = loaded.in_memory()
        longest = max(len(row.prompt_ids) for row in rows)
        ids = torch.full((len(rows), longest), loaded.pad_id)
        mask = torch.zeros((len(rows), longest), dtype=torch.long)
        for i, row in enumerate(rows):
            ids[i, : len(row.prompt_ids)] = torch.tensor(row.prompt_ids)
            mask[i, : len(row.prompt_ids)] = 1
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

    def step(self) -> torch.Tensor:
        self._own.prepare()
        logits = self._forward(self.last.unsqueeze(-1), EncoderDecoderCache(self._own, self._cross))
        self._own.advance()
        self.last = choose(logits, self.rows)
        return self.last

    def keep(self, going: Sequence[int]) -> None:
        order = order_after_keep(going)
        self._own.keep(going)
        layers: Sequence[Any] = self._cross.layers
        for layer in layers:
            layer.keys = keep_rows(layer.keys, order)
            layer.values = keep_rows(layer.values, order)
        self._mask = keep_rows(self._mask, order)
        self._source = keep_rows(self._source, order)
        self.last = self.last[order]
        self.rows = [self.rows[i] for i in order]

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


class Seq2SeqBatch:
    """Groups of rows that are answered side by side; see `scheduler.Batch`."""

    pads = True

    def __init__(self, loaded: TorchModel) -> None:
        self._loaded = loaded
        self._planner = Planner(loaded, _GROUP_TOKENS)
        self._groups: list[_Group] = []

    @property
    def rows(self) -> list[Row]:
        """All rows, group by group."""
        return [row for group in self._groups for row in group.rows]

    def begin(self) -> None:
        """Look how much memory there is."""
        self._planner.measure()

    def take(self, waiting: list[Row], limit: int) -> list[Row]:
        """Take rows of nearly equal length, when it is time for a new group."""
        if self._groups and not waiting[-1].call.few:
            return []
        return self._planner.take(waiting, self.rows, limit)

    @torch.inference_mode()
    def start(self, group: list[Row]) -> Tokens:
        """Read the texts of a group and return each row's first token."""
        made = _Group(self._loaded, group)
        self._groups.append(made)
        return list(zip(group, made.last.tolist(), strict=True))

    @torch.inference_mode()
    def step(self) -> Tokens:
        """Return the next token of every row."""
        tokens: list[tuple[Row, int]] = []
        for group in self._groups:
            tokens += zip(group.rows, group.step().tolist(), strict=True)
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

    def lost(self, rows: Sequence[Row]) -> list[Row]:
        """Let go of rows that failed: a group that could not begin, or all that were stepping."""
        if any(row in rows for row in self.rows):
            self.clear()
        self._loaded.release_cache()
        return list(rows)

    def clear(self) -> None:
        """Let all rows go, and their memory."""
        self._groups = []
