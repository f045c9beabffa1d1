"""Attention for rows of different length that decode together on a CPU.

`RowCache` reads the columns of its longest row for all of them, and reading keys and values is most
of what attention costs in decoding. So rows are taken in a few groups, each with the columns of its
own longest row. In half precision, where PyTorch's CPU kernel for a single query is slower than the
one for float32 by more than the conversion costs, pieces that fit the processor's cache are
converted first. transformers' SDPA attention does the rest.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from typing import Any

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

NAME = "hfnb_groups"
_GROUPS = 4
_WORTH_IT = 0.85
"""Groups are used where they read at most this share of what one group would."""
_PIECE = 4_000_000
"""Bytes of keys that are converted at a time."""

Group = tuple[slice, int]
_groups: ContextVar[Sequence[Group]] = ContextVar("hfnb_attention_groups", default=())


def groups_of(lengths: Sequence[int]) -> list[Group]:
    """Divide rows, as they stand, into groups of rows with the length of their longest.

    Example:
        >>> groups_of([100, 90, 12, 10])
        [(slice(0, 1, None), 100), (slice(1, 2, None), 90), (slice(2, 3, None), 12), \
(slice(3, 4, None), 10)]
        >>> groups_of([12, 12, 11, 12])
        [(slice(0, 4, None), 12)]
    """
    rows, longest = len(lengths), max(lengths)
    size = -(-rows // _GROUPS)
    slices = [slice(begin, min(begin + size, rows)) for begin in range(0, rows, size)]
    groups = [(each, max(lengths[each])) for each in slices]
    read = sum((each.stop - each.start) * width for each, width in groups)
    return groups if read <= _WORTH_IT * rows * longest else [(slice(0, rows), longest)]


@contextlib.contextmanager
def attend_in(groups: Sequence[Group]) -> Iterator[None]:
    """Let a model's attention to one new token, inside this block, read each group's columns."""
    before = _groups.set(groups)
    try:
        yield
    finally:
        _groups.reset(before)


def use(model: Any) -> None:
    """Make a model that attends by SDPA attend in groups, where it knows how to."""
    if model.config._attn_implementation == "sdpa" and model._can_set_attn_implementation():
        AttentionInterface.register(NAME, _attend)
        AttentionMaskInterface.register(NAME, sdpa_mask)
        model.set_attn_implementation(NAME)


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend from ``query`` [rows, heads, 1, size] to ``key`` and ``value`` [.., columns, size]."""
    groups = _groups.get()
    if not groups or query.shape[2] != 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    half = query.dtype in (torch.bfloat16, torch.float16)
    parts = []
    for rows, width in _pieces(groups, key) if half else groups:
        q, k, v = query[rows], key[rows, :, -width:], value[rows, :, -width:]
        if half:
            q, k, v = q.float(), k.float(), v.float()
        mask = None if attention_mask is None else attention_mask[rows, ..., -width:]
        if mask is not None and mask.is_floating_point():
            mask = mask.to(q.dtype)
        parts.append(sdpa_attention_forward(module, q, k, v, mask, **options)[0])
    return torch.cat(parts).to(query.dtype), None


def _pieces(groups: Sequence[Group], key: torch.Tensor) -> Iterator[Group]:
    """Cut groups into pieces whose keys fit the cache when they are converted to float32."""
    for rows, width in groups:
        size = max(1, _PIECE // (key.shape[1] * width * key.shape[3] * 4))
        for begin in range(rows.start, rows.stop, size):
            yield slice(begin, min(begin + size, rows.stop)), width
