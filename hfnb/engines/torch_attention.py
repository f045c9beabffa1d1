"""Attention for rows of different length that decode together on a CPU.

`RowCache` reads the columns of its longest row for all of them, and reading keys and values is most
of what attention costs in decoding. So rows are taken in groups, each with the columns of its own
longest row. In half precision, where PyTorch's CPU kernel for a single query is slower than the one
for float32 by more than the conversion costs, groups fit the processor's cache and are converted
first. transformers' SDPA attention does the rest.

Rows that share a prefix have only their other tokens in the cache. The prefix stands once in a
place of its own, where all of them read it together: attention to one part of the keys and to
another can be put together by how much weight each part had, which its log-sum-exp tells.
"""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "hfnb_groups"
_WASTE = 500_000
"""Bytes of keys that cost as much to read, with their values, as one group more costs to start."""
_CONVERTED = 4_000_000
"""Bytes of keys that are converted at a time, once they are."""
_HALF = (torch.bfloat16, torch.float16)
_KERNEL = "_scaled_dot_product_flash_attention_for_cpu"

_READ_PREFIXES = frozenset(
    "arcee cohere ernie4_5 gemma gpt2 gpt_neox granite granitemoe helium llama mistral mixtral "
    "olmo olmo2 olmoe opt persimmon phi phi3 qwen2 qwen2_moe qwen3 qwen3_moe seed_oss smollm3 "
    "stablelm starcoder2".split()
)
"""Decoders whose answers with a prefix that stands apart were compared with ``generate``'s."""
_LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Rotary positions that turn with a prompt's length: its first tokens then depend on the others."""

Group = tuple[slice, int]
KeysAndValues = tuple[torch.Tensor, torch.Tensor]
"""Of one layer, shaped [1, KV heads, columns, head size]."""


@dataclasses.dataclass(frozen=True)
class Shared:
    """Keys and values that come before the own ones of some rows."""

    rows: slice | torch.Tensor
    layers: Sequence[KeysAndValues]

    @classmethod
    def by(cls, rows: Sequence[int], layers: Sequence[KeysAndValues]) -> Shared:
        """Make one for rows in rising order; where they are neighbours, nothing is gathered."""
        neighbours = slice(rows[0], rows[-1] + 1)
        alone = neighbours.stop - neighbours.start == len(rows)
        return cls(neighbours if alone else torch.tensor(rows), layers)


class _Reads:
    """What attention reads: the last columns of each row, and prefixes that stand apart."""

    def __init__(self, columns: Sequence[int], shared: Sequence[Shared]) -> None:
        self.shared = shared
        self._columns = columns
        self._groups: dict[tuple[int, bool], list[Group]] = {}

    def groups(self, key: torch.Tensor) -> list[Group]:
        """Return the groups in which keys [rows, KV heads, columns, size] are read."""
        column = key.shape[1] * key.shape[3] * 4  # bytes, in float32
        kind = column, key.dtype in _HALF
        if kind not in self._groups:  # layers are mostly alike
            most = _CONVERTED // column if key.dtype in _HALF else None
            self._groups[kind] = groups_of(self._columns, _WASTE // column, most)
        return self._groups[kind]


_reads: ContextVar[_Reads] = ContextVar("hfnb_attention_reads")


def groups_of(columns: Sequence[int], waste: int, most: int | None = None) -> list[Group]:
    """Divide rows, as they stand, into groups that each read the columns of their widest row.

    Args:
        columns: How many columns each row has to read.
        waste: How many columns a group may read in vain, all its rows together.
        most: How many it may read, where it has more than one row.

    Example:
        >>> groups_of([100, 90, 12, 10], waste=20)
        [(slice(0, 2, None), 100), (slice(2, 4, None), 12)]
        >>> groups_of([12, 12, 11, 12], waste=20, most=30)
        [(slice(0, 2, None), 12), (slice(2, 4, None), 12)]
    """
    groups: list[Group] = []
    begin = needed = widest = 0
    for end, width in enumerate(columns):
        read = max(widest, width) * (end - begin + 1)
        too_many = most is not None and read > most
        if end > begin and (read - needed - width > waste or too_many):
            groups.append((slice(begin, end), widest))
            begin, needed, widest = end, 0, 0
        needed += width
        widest = max(widest, width)
    return [*groups, (slice(begin, len(columns)), widest)]


@contextlib.contextmanager
def attend_in(columns: Sequence[int], shared: Sequence[Shared] = ()) -> Iterator[None]:
    """Let a model's attention, inside this block, read each row's last columns, and prefixes.

    Where there are several new tokens for each row, all its columns are read.
    """
    before = _reads.set(_Reads(columns, shared))
    try:
        yield
    finally:
        _reads.reset(before)


def use(model: Any) -> None:
    """Make a model that attends by SDPA attend in groups, where it knows how to."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def reads_prefixes(model: Any) -> bool:
    """Whether a model attends so that a prefix may stand apart, and computes it the same alone.

    It must attend to all columns alike, however far they are, and be told each token's position.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    rotary = getattr(config, "rope_parameters", None) or {}
    return (
        config.model_type in _READ_PREFIXES
        and config._attn_implementation == NAME
        and hasattr(torch.ops.aten, _KERNEL)
        and "position_ids" in inspect.signature(model.forward).parameters
        and kinds == {"full_attention"}
        and not getattr(config, "sliding_window", None)
        and rotary.get("rope_type") not in _LENGTH_DEPENDENT
    )


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend from ``query`` [rows, heads, new, size] to ``key`` and ``value``.

    These are [rows, KV heads, columns, size]; what comes back is [rows, new, heads, size].
    """
    reads, one_token = _reads.get(None), query.shape[2] == 1
    if reads is not None and reads.shared:
        groups = reads.groups(key) if one_token else [(slice(0, len(key)), key.shape[2])]
        scale = options.get("scaling") or query.shape[-1] ** -0.5
        layer: Any = module.layer_idx
        layers = [(each.rows, *each.layers[layer]) for each in reads.shared]
        out = _attend_with_prefixes(query, key, value, attention_mask, scale, groups, layers)
        return out.transpose(1, 2).contiguous(), None
    if reads is None or not one_token:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    half = query.dtype in _HALF
    parts = []
    for rows, width in reads.groups(key):
        q, k, v = query[rows], key[rows, :, -width:], value[rows, :, -width:]
        if half:
            q, k, v = q.float(), k.float(), v.float()
        mask = None if attention_mask is None else attention_mask[rows, ..., -width:]
        if mask is not None and mask.is_floating_point():
            mask = mask.to(q.dtype)
        parts.append(sdpa_attention_forward(module, q, k, v, mask, **options)[0])
    return torch.cat(parts).to(query.dtype), None


def _attend_with_prefixes(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scale: float,
    groups: Sequence[Group],
    prefixes: Sequence[tuple[slice | torch.Tensor, torch.Tensor, torch.Tensor]],
) -> torch.Tensor:
    """Attend to the own columns of rows, and to the prefixes of those that have one."""
    one_token = query.shape[2] == 1
    half = one_token and query.dtype in _HALF
    parts = []
    for rows, width in groups:
        q, k, v = query[rows], key[rows, :, -width:], value[rows, :, -width:]
        if half:
            q, k, v = q.float(), k.float(), v.float()
        mask = None if attention_mask is None else attention_mask[rows, ..., -width:]
        parts.append(_attend_and_weigh(q, k, v, mask, scale, causal=not one_token))
    out = torch.cat([each for each, _ in parts])
    weight = torch.cat([each for _, each in parts])
    for places, k, v in prefixes:
        mine = query[places]
        count, heads, new, size = mine.shape
        # All queries of all rows at once, as if they were the tokens of one row.
        together = mine.transpose(0, 1).reshape(1, heads, count * new, size)
        read, read_weight = _attend_and_weigh(together, k, v, None, scale, causal=False)
        read = read.view(heads, count, new, size).transpose(0, 1).to(out.dtype)
        read_weight = read_weight.view(heads, count, new).transpose(0, 1)
        share = torch.sigmoid(weight[places] - read_weight).unsqueeze(-1).to(out.dtype)
        out[places] = torch.lerp(read, out[places], share)
    return out.to(query.dtype)


def _attend_and_weigh(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float,
    *,
    causal: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend, and tell the weight of what was read: the log-sum-exp of its scores.

    The public function of PyTorch does not tell it, so this is the kernel that it calls on a CPU.

    Returns:
        [rows, heads, new, size], and [rows, heads, new] in float32.
    """
    rows, heads, new, size = query.shape
    kv_heads = key.shape[1]
    shared_by = heads // kv_heads
    if mask is None and causal:
        mask = torch.ones(new, key.shape[2], dtype=torch.bool).tril()[None, None]
    if mask is not None:
        # Not minus infinity: where a query may read nothing, that gives NaN.
        least = torch.finfo(query.dtype).min
        mask = torch.zeros(mask.shape, dtype=query.dtype).masked_fill_(~mask, least)
        mask = mask.repeat(1, 1, shared_by, 1)
    out, weight = getattr(torch.ops.aten, _KERNEL)(
        query.reshape(rows, kv_heads, shared_by * new, size),
        key,
        value,
        attn_mask=mask,
        scale=scale,
    )
    return out.reshape(query.shape), weight.reshape(rows, heads, new)
