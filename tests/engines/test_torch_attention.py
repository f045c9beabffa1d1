"""Rows of different length that decode together: in which groups their columns are read."""

from __future__ import annotations

import types
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from hfnb.engines import torch_attention
from hfnb.engines.torch_attention import attend_in, groups_of

COLUMNS = st.lists(st.integers(1, 300), min_size=1, max_size=80)


@given(columns=COLUMNS, waste=st.integers(0, 500), most=st.none() | st.integers(1, 2000))
def test_groups_hold_each_row_once_and_read_little_in_vain(
    columns: list[int], waste: int, most: int | None
) -> None:
    groups = groups_of(columns, waste, most)
    places = [i for rows, _ in groups for i in range(len(columns))[rows]]
    assert places == list(range(len(columns)))
    for rows, width in groups:
        mine = columns[rows]
        assert width == max(mine)
        assert width * len(mine) - sum(mine) <= waste
        assert most is None or len(mine) == 1 or width * len(mine) <= most


def test_rows_of_one_length_are_one_group_and_a_ramp_is_some() -> None:
    assert groups_of([50] * 64, waste=100) == [(slice(0, 64), 50)]
    ramp = list(range(256, 0, -4))
    read = sum(width * (rows.stop - rows.start) for rows, width in groups_of(ramp, waste=160))
    assert read < 1.15 * sum(ramp)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kv_heads", [2, 4])
def test_what_is_read_in_groups_is_what_is_read_at_once(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, kv_heads: int
) -> None:
    monkeypatch.setattr(torch_attention, "_WASTE", 64_000)
    monkeypatch.setattr(torch_attention, "_CONVERTED", 512_000)
    made = torch.Generator().manual_seed(0)
    columns = [300, 296, 40, 200, 8, 1, 1, 299]
    longest = max(columns)
    query = torch.randn(len(columns), 4, 1, 16, generator=made)
    key, value = (
        torch.randn(len(columns), kv_heads, longest, 16, generator=made) for _ in range(2)
    )
    mask = torch.zeros(len(columns), 1, 1, longest, dtype=torch.bool)
    for row, width in enumerate(columns):
        mask[row, ..., longest - width :] = True
    module: Any = types.SimpleNamespace(
        num_key_value_groups=4 // kv_heads, is_causal=False, layer_idx=0
    )
    q, k, v = (each.to(dtype) for each in (query, key, value))
    at_once, _ = sdpa_attention_forward(module, q.float(), k.float(), v.float(), mask)
    with attend_in(columns):
        in_groups, _ = torch_attention._attend(module, q, k, v, mask)
    assert in_groups.dtype == dtype
    close = 1e-6 if dtype == torch.float32 else 1e-2
    torch.testing.assert_close(in_groups.float(), at_once, rtol=close, atol=close)
