"""How much PyTorch computes at a time: rows a batch, prompts a forward pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from hfnb.engines import batches
from hfnb.engines.memory import MemoryBudget
from hfnb.engines.torch_model import TorchModel, memory_of
from hfnb.hardware import Memory, tightest_memory

if TYPE_CHECKING:
    from hfnb.engines.row import Row

_EVEN = 0.85
"""A group that is large enough ends before a prompt shorter than this share of its longest."""
_PREFIX_SHARE = 0.1
"""The share of free memory that prefixes may take which no row needs just now."""


class Planner:
    """Chooses which waiting rows to compute next.

    Args:
        budget: How much memory they may take.
        most_tokens: The most prompt tokens in one forward pass, padding included, unless one row
            alone has more.
    """

    def __init__(self, budget: MemoryBudget, most_tokens: int) -> None:
        self._budget = budget
        self._most = most_tokens

    @property
    def prefix_budget(self) -> int:
        """The most tokens of prefixes to keep that no row needs just now."""
        return int(self._budget.tokens_free() * _PREFIX_SHARE)

    def has_room(self, waiting: Sequence[Row], active: Sequence[Row], limit: int) -> bool:
        """Whether to take rows now, or better to go on decoding."""
        free = limit - len(active)
        # A forward pass for a few rows costs nearly as much as for many: wait for room.
        enough = not active or free >= min(limit // 4, len(waiting))
        return bool(waiting) and free > 0 and enough

    def take(
        self,
        waiting: list[Row],
        active: Sequence[Row],
        limit: int,
        prefix_tokens: int = 0,
        *,
        begins: bool = False,
    ) -> list[Row]:
        """Take the rows to compute next off the end of ``waiting``, longest first.

        Args:
            waiting: Sorted by length, the longest last; all have the same prefix, or none.
            active: The rows that are being decoded.
            limit: The most rows to decode together.
            prefix_tokens: Tokens of their prefix, where it is not computed yet.
            begins: Whether to fill up what is about to begin, however few rows there is room for.

        Returns:
            The rows; none while it is better to go on decoding.
        """
        if not self.has_room(waiting, () if begins else active, limit):
            return []
        free = limit - len(active)
        room = self._budget.room(active, to_come=prefix_tokens)
        longest = waiting[-1].own_tokens
        group: list[Row] = []
        while waiting and len(group) < free:
            row = waiting[-1]
            computed = len(group) * longest
            full = computed + longest > self._most
            uneven = computed >= self._most // 4 and row.own_tokens < _EVEN * longest
            if group and (full or uneven):
                break
            if not room.take(row):
                break
            group.append(waiting.pop())
        return group


def budget_of(loaded: TorchModel) -> MemoryBudget:
    """Return what a model may take of its device's memory; see `MemoryBudget`."""
    key = ("torch", loaded.name, str(loaded.parameters), str(_dtype(loaded)), str(loaded.device))
    return MemoryBudget(
        key,
        kv_bytes_per_token(loaded),
        bytes_to_compute(loaded),
        look=_look_at(loaded.device),
        peak=_peak_of(loaded.device),
    )


def _look_at(device: torch.device) -> Callable[[], Memory]:
    """Return what says how much of a device's memory is free."""
    if device.type != "cuda":
        return tightest_memory
    return lambda: memory_of(device)


def _peak_of(device: torch.device) -> Callable[[], tuple[int, int]] | None:
    """Return what says how much of a device's memory is in use, and was at most."""
    if device.type != "cuda":
        return None
    return lambda: (
        torch.cuda.memory_allocated(device),
        torch.cuda.max_memory_allocated(device),
    )


def prefill_tokens(loaded: TorchModel) -> int:
    """Return how many prompt tokens to compute in one forward pass of a decoder."""
    return batches.prefill_tokens(loaded.device.type)


def kv_bytes_per_token(loaded: TorchModel) -> int:
    """Return the bytes of keys and values of one token: 2 x layers x KV heads x head size.

    0 for models that keep something else, or not the same in each layer.
    """
    text = loaded.model.config.get_text_config()
    heads = getattr(text, "num_attention_heads", None)
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    if not isinstance(heads, int) or not isinstance(kv_heads, int):
        return 0
    size = getattr(text, "head_dim", None) or getattr(text, "d_kv", None)
    size = size or text.hidden_size // heads
    return int(2 * _layers(text) * kv_heads * size * _dtype(loaded).itemsize)


def weight_bytes_of_a_step(loaded: TorchModel) -> int:
    """Return the bytes of weights that a step of an encoder-decoder's answers reads."""
    model = loaded.in_memory()
    head = model.get_output_embeddings()
    multiplied = set(head.parameters()) if head is not None else set()
    looked_up = set(model.get_input_embeddings().parameters()) - multiplied
    return sum(each.nbytes for each in {*model.get_decoder().parameters(), *multiplied} - looked_up)


def bytes_to_compute(loaded: TorchModel) -> int:
    """Return what one token of a forward pass takes, by a layer's widths: until it is measured.

    Where a model computes the logits of all tokens, these are most of it.
    """
    text = loaded.model.config.get_text_config()
    names = ("hidden_size", "intermediate_size", "vocab_size")
    found = (getattr(text, name, None) for name in names)
    hidden, inner, vocabulary = (each if isinstance(each, int) else 0 for each in found)
    widths = 8 * hidden + 3 * inner
    if loaded.is_decoder and "logits_to_keep" not in loaded.forward_options:
        widths += 2 * vocabulary
    return widths * _dtype(loaded).itemsize


def _layers(text: Any) -> int:
    return max(int(text.num_hidden_layers), getattr(text, "decoder_layers", None) or 0)


def _dtype(loaded: TorchModel) -> torch.dtype:
    """Return the dtype that a model computes in; those of optimum don't all say."""
    found = getattr(loaded.model, "dtype", None)
    return found if isinstance(found, torch.dtype) else torch.float32


def auto_rows(loaded: TorchModel) -> batches.Rows:
    """Return how many rows to decode together."""
    return batches.torch_rows(loaded.device.type, loaded.parameters)
