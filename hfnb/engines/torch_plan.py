"""How much to compute at a time: rows a batch, prompts a forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hfnb.engines.torch_model import TorchModel
from hfnb.hardware import memory_free

if TYPE_CHECKING:
    from hfnb.engines.row import Row

_PREFILL_TOKENS = {"cpu": 2048}
_PREFILL_TOKENS_ELSEWHERE = 16384
"""Prompt tokens computed in one forward pass, padding included, unless one row alone has more."""
_EVEN = 0.85
"""A group that is large enough ends before a prompt shorter than this share of its longest."""
_KV_SHARE = 0.4
"""The share of free memory that keys and values may take."""
_PREFIX_SHARE = 0.25
"""The share of these that prefixes may take which no row needs just now."""


class Planner:
    """Chooses which waiting rows to compute next.

    Args:
        loaded: The model.
        most_tokens: The most prompt tokens in one forward pass, padding included, unless one row
            alone has more.
    """

    def __init__(self, loaded: TorchModel, most_tokens: int) -> None:
        self._most = most_tokens
        self._bytes_per_token = max(1, kv_bytes_per_token(loaded))
        self._tokens_that_fit = 0
        self.measure()

    def measure(self) -> None:
        """Look how much memory is free for keys and values, before the first row."""
        self._tokens_that_fit = int(memory_free() * _KV_SHARE) // self._bytes_per_token

    @property
    def prefix_budget(self) -> int:
        """The most tokens of prefixes to keep that no row needs just now."""
        return int(self._tokens_that_fit * _PREFIX_SHARE)

    def has_room(self, waiting: Sequence[Row], active: Sequence[Row], limit: int) -> bool:
        """Whether to take rows now, or better to go on decoding."""
        free = limit - len(active)
        # A forward pass for a few rows costs nearly as much as for many: wait for room.
        enough = not active or free >= min(limit // 4, len(waiting))
        return bool(waiting) and free > 0 and enough

    def take(
        self, waiting: list[Row], active: Sequence[Row], limit: int, prefix_tokens: int = 0
    ) -> list[Row]:
        """Take the rows to compute next off the end of ``waiting``, longest first.

        Args:
            waiting: Sorted by length, the longest last; all have the same prefix, or none.
            active: The rows that are being decoded.
            limit: The most rows to decode together.
            prefix_tokens: What prefixes take of the memory for keys and values.

        Returns:
            The rows; none while it is better to go on decoding.
        """
        if not self.has_room(waiting, active, limit):
            return []
        free = limit - len(active)
        longest = waiting[-1].own_tokens
        held = prefix_tokens + sum(row.own_tokens + row.most_new for row in active)
        group: list[Row] = []
        while waiting and len(group) < free:
            row = waiting[-1]
            computed = len(group) * longest
            held += row.own_tokens + row.most_new
            full = computed + longest > self._most
            uneven = computed >= self._most // 4 and row.own_tokens < _EVEN * longest
            if group and (full or uneven):
                break
            if held > self._tokens_that_fit and (group or active):
                break
            group.append(waiting.pop())
        return group


def prefill_tokens(loaded: TorchModel) -> int:
    """Return how many prompt tokens to compute in one forward pass of a decoder."""
    return _PREFILL_TOKENS.get(loaded.device.type, _PREFILL_TOKENS_ELSEWHERE)


def kv_bytes_per_token(loaded: TorchModel) -> int:
    """Return the bytes of keys and values of one token: 2 x layers x KV heads x head size."""
    text = loaded.model.config.get_text_config()
    heads = text.num_attention_heads
    size = getattr(text, "head_dim", None) or text.hidden_size // heads
    kv_heads = getattr(text, "num_key_value_heads", None) or heads
    return int(2 * text.num_hidden_layers * kv_heads * size * loaded.model.dtype.itemsize)


def auto_rows(loaded: TorchModel) -> int:
    """Return how many rows to decode together.

    A step costs a fixed time (reading the weights, starting the operators) and a time for each
    row. Rows are worth adding until the second outweighs the first: about 64 for a model of 100
    million parameters on a CPU, more for a smaller one; an accelerator takes more.
    """
    if loaded.device.type != "cpu":
        return 256
    return 256 if loaded.parameters < 20_000_000 else 64
