"""The cache in which rows come and go, against lists of each row's own columns."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import DynamicCache

from hfnb.engines import torch_cache
from hfnb.engines.torch_cache import RowCache, order_after_keep

LAYERS, HEADS, SIZE = 2, 2, 3
MOST_ROWS = 5


class Naive:
    """Keeps every row's columns in a list of its own."""

    def __init__(self) -> None:
        self.rows: list[list[float]] = []


def columns(numbers: list[float], layer: int, *, values: bool) -> torch.Tensor:
    """Make the keys or values of some columns, [heads, columns, size], that tell all apart."""
    heads = torch.arange(HEADS)[:, None, None] * 1000
    inner = torch.arange(SIZE)[None, None, :] * 100
    return torch.tensor(numbers)[None, :, None] + heads + inner + layer * 10_000 + values * 50_000


def filled_with(prompts: list[list[float]]) -> DynamicCache:
    """A transformers cache as a forward pass over a padded batch leaves it; padding is NaN."""
    longest = max(map(len, prompts))
    cache = DynamicCache()
    for layer in range(LAYERS):
        both = []
        for values in (False, True):
            rows = torch.full((len(prompts), HEADS, longest, SIZE), -1.0)
            for i, prompt in enumerate(prompts):
                rows[i, :, longest - len(prompt) :] = columns(prompt, layer, values=values)
            both.append(rows)
        cache.update(both[0], both[1], layer)
    return cache


def step(cache: RowCache, naive: Naive, numbers: list[float]) -> None:
    """Decode one column with both, and compare what attention would read."""
    cache.prepare()
    mask = cache.mask(1, torch.device("cpu"))
    width = max(map(len, naive.rows)) + 1
    assert cache.width == width - 1
    assert cache.get_seq_length() == width - 1
    assert mask.shape == (len(naive.rows), width)
    for row, number in zip(naive.rows, numbers, strict=True):
        row.append(number)
    assert mask.sum(dim=1).tolist() == [len(row) for row in naive.rows]
    for layer in range(LAYERS):
        new = [
            torch.stack([columns([number], layer, values=values) for number in numbers])
            for values in (False, True)
        ]
        read = cache.update(new[0], new[1], layer)
        for values, got in zip((False, True), read, strict=True):
            assert got.shape == (len(naive.rows), HEADS, width, SIZE)
            for i, row in enumerate(naive.rows):
                assert got[i].isfinite().all()  # 0 times NaN is NaN: masked columns count too
                expected = columns(row, layer, values=values)
                assert torch.equal(got[i, :, width - len(row) :], expected)
                assert mask[i, width - len(row) :].all()
    cache.advance()
    assert cache.lengths == [len(row) for row in naive.rows]


def poison(cache: RowCache, rows: set[int]) -> None:
    """Let rows that are about to go have overflowed."""
    window = slice(cache._window.left, cache._window.right)
    for row in rows:
        for layer in cache._layers[: LAYERS if row < cache.rows else 0]:
            layer.keys[row, :, window] = layer.values[row, :, window] = float("nan")


def check_against_naive(actions: list[tuple[str, Any]]) -> None:
    cache, naive = RowCache(LAYERS, 2), Naive()  # it grows
    counter = 0.0

    def numbers(count: int) -> list[float]:
        nonlocal counter
        counter += count
        return [counter - i for i in range(count)]

    for action, value in actions:
        if action == "add":
            prompts = [numbers(length) for length in value[: MOST_ROWS - len(naive.rows)]]
            if prompts:
                cache.add(filled_with(prompts), [len(prompt) for prompt in prompts])
                naive.rows += [list(prompt) for prompt in prompts]
        elif action == "step":
            for _ in range(value if naive.rows else 0):
                step(cache, naive, numbers(len(naive.rows)))
        elif action == "keep":
            going = [i for i in range(len(naive.rows)) if i not in value]
            order = order_after_keep(going)
            assert sorted(order) == going
            poison(cache, value)
            cache.keep(going)
            naive.rows = [naive.rows[i] for i in order]
        assert cache.rows == len(naive.rows)
        assert cache.lengths == [len(row) for row in naive.rows]
    if naive.rows:
        step(cache, naive, numbers(len(naive.rows)))


ACTIONS = st.one_of(
    st.tuples(st.just("add"), st.lists(st.integers(1, 12), min_size=1, max_size=MOST_ROWS)),
    st.tuples(st.just("step"), st.integers(1, 9)),
    st.tuples(st.just("keep"), st.sets(st.integers(0, MOST_ROWS - 1))),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(ACTIONS, max_size=14))
def test_rows_that_come_and_go_keep_their_own_keys_and_values(
    actions: list[tuple[str, Any]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch_cache, "_ROOM", 4)  # so that buffers fill up, shift and grow often
        check_against_naive(actions)


def test_a_row_outlives_several_growths_of_the_buffers() -> None:
    check_against_naive([("add", [3, 1]), ("step", 200), ("keep", {0}), ("add", [90]), ("step", 9)])


def test_a_longer_prompt_joins_short_rows_that_decode() -> None:
    check_against_naive([("add", [2, 2]), ("step", 3), ("add", [12]), ("step", 3)])


def test_kept_rows_fill_the_places_of_those_that_leave_with_few_moves() -> None:
    assert order_after_keep([0, 1, 2]) == [0, 1, 2]
    assert order_after_keep([1, 3, 4]) == [4, 1, 3]
    assert order_after_keep([]) == []


def test_columns_that_only_a_finished_row_needed_are_no_longer_read() -> None:
    cache = RowCache(LAYERS, MOST_ROWS)
    cache.add(filled_with([[float(i) for i in range(10)], [1.0, 2.0]]), [10, 2])
    assert cache.width == 10
    cache.keep([1])
    assert cache.width == 2


def test_what_a_finished_row_left_behind_is_never_read_again() -> None:
    """Attention multiplies masked columns by 0, and 0 times NaN is NaN.

    A row whose activations overflow leaves NaN in its buffer; a short row that takes its place
    beside a long one would read them as its padding.
    """
    cache, nan = RowCache(LAYERS, MOST_ROWS), float("nan")
    cache.add(filled_with([[1.0] * 9, [nan] * 9]), [9, 9])
    cache.keep([0])
    cache.add(filled_with([[2.0]]), [1])
    cache.prepare()
    new = torch.zeros((2, HEADS, 1, SIZE))
    for layer in range(LAYERS):
        keys, values = cache.update(new, new, layer)
        assert keys.isfinite().all()
        assert values.isfinite().all()


def test_where_there_is_no_memory_for_all_rows_it_begins_with_those_that_are_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made, zeros = list[int](), torch_cache._zeros

    def scarce(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
        made.append(shape[0])
        if shape[0] > 2 and len(made) > 1:
            raise MemoryError
        return zeros(shape, like)

    monkeypatch.setattr(torch_cache, "_zeros", scarce)
    cache, naive = RowCache(LAYERS, 64), Naive()
    cache.add(filled_with([[1.0, 2.0], [3.0]]), [2, 1])
    naive.rows = [[1.0, 2.0], [3.0]]
    assert made == [64, 64, *[2] * 2 * LAYERS]
    step(cache, naive, [4.0, 5.0])
