"""The keys and values of rows that decode together, in buffers that are written in place.

Rows end at the same column, so that one step writes one column. A row that finishes is dropped
at once, and the columns on the left that only it needed are no longer read:

    row 0   . . a a a a a|      left = 2 columns are not read
    row 1   . . . . b b b|      the next token of each row goes to the column after the bar

transformers' own `DynamicCache` copies all keys and values at each step, and can't let rows go.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from transformers.cache_utils import Cache, CacheLayerMixin

_ROOM = 64
"""Columns to add when a buffer is made or is full."""


class _Window:
    """What all layers share: how many rows there are, and which columns are read."""

    def __init__(self) -> None:
        self.rows = 0
        self.left = 0
        self.right = 0

    @property
    def width(self) -> int:
        return self.right - self.left


class _Layer(CacheLayerMixin):
    """One layer's buffers, shaped [rows, heads, columns, head size]."""

    keys: torch.Tensor
    values: torch.Tensor
    is_sliding = False

    def __init__(self, window: _Window) -> None:
        # Not super().__init__(): it sets the buffers to None, and `RowCache.add` makes them.
        self.is_initialized = False
        self.window = window

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Do nothing: `RowCache.add` makes the buffers."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new columns and return what attention may read."""
        at = self.window
        end = at.right + key_states.shape[-2]
        self.keys[: at.rows, :, at.right : end] = key_states
        self.values[: at.rows, :, at.right : end] = value_states
        return (
            self.keys[: at.rows, :, at.left : end],
            self.values[: at.rows, :, at.left : end],
        )

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """Return the length and the offset that an attention mask has to cover."""
        return self.window.width + query_length, 0

    def get_seq_length(self) -> int:
        """Return the number of columns that are read."""
        return self.window.width

    def get_max_cache_shape(self) -> int:
        """Return -1: there is no limit."""
        return -1


class _Rows(NamedTuple):
    """Keys and values in one layer, [rows, heads, columns, head size]."""

    keys: torch.Tensor
    values: torch.Tensor


class _Filled(NamedTuple):
    """Rows that were computed, layer by layer."""

    layers: Sequence[_Rows]


class RowCache(Cache):
    """A transformers cache in which rows come and go while others are decoded.

    Args:
        layers: The number of layers of the model.
        rows: How many rows to make room for at first, if there is memory.
    """

    def __init__(self, layers: int, rows: int = 1) -> None:
        self._window = _Window()
        self._room_for_rows = rows
        self._columns = 0
        self._used_rows = 0
        self.lengths: list[int] = []
        """The number of tokens of each row."""
        self.torn = False
        """Whether a change was broken off in the middle, so that nothing in it can be used."""
        self._layers = [_Layer(self._window) for _ in range(layers)]
        super().__init__(layers=list(self._layers))

    @property
    def rows(self) -> int:
        """The number of rows that are in it."""
        return self._window.rows

    @property
    def width(self) -> int:
        """The number of columns that a step reads."""
        return self._window.width

    def add(self, filled: Any, lengths: Sequence[int]) -> None:
        """Add rows whose prompts were computed with a cache of their own, padded on the left.

        Args:
            filled: The other cache; its layers are shaped [new rows, heads, columns, head size].
            lengths: The number of tokens of each new row.
        """
        self.torn = True
        longest = max(lengths)
        at, count = self._window, len(lengths)
        if not at.rows:
            at.left = at.right = 0
        self._make_room(filled, at.rows + count, max(longest, at.width) + 1)
        if at.right < longest:
            self._shift(longest - at.right)
        rows = slice(at.rows, at.rows + count)
        columns = slice(at.right - longest, at.right)
        left = min(at.left, columns.start) if at.rows else columns.start
        # What earlier rows left here is masked, but a NaN comes through any mask: to the left of
        # the new rows, and of the others where more columns are read from now on.
        stale = [
            (slice(at.rows, min(at.rows + count, self._used_rows)), slice(left, columns.start)),
            (slice(at.rows), slice(left, at.left)),
        ]
        self._used_rows = max(self._used_rows, at.rows + count)
        for mine, new in zip(self._layers, filled.layers, strict=True):
            for some, before in stale:
                mine.keys[some, :, before] = 0
                mine.values[some, :, before] = 0
            mine.keys[rows, :, columns] = new.keys[:, :, -longest:]
            mine.values[rows, :, columns] = new.values[:, :, -longest:]
        at.rows += count
        self.lengths.extend(lengths)
        self._trim()
        self.torn = False

    def take_over(self, other: RowCache) -> None:
        """Add the rows of another cache."""
        at = other._window
        columns = slice(at.left, at.right)
        layers = [
            _Rows(each.keys[: at.rows, :, columns], each.values[: at.rows, :, columns])
            for each in other._layers
        ]
        self.add(_Filled(layers), other.lengths)

    def advance(self) -> None:
        """Count the column that a forward pass has just written."""
        self._window.right += 1
        self.lengths = [length + 1 for length in self.lengths]

    def prepare(self) -> None:
        """Make sure that there is a column for the next token."""
        at = self._window
        if at.right < self._columns:
            return
        self.torn = True
        if at.left >= _ROOM:
            self._shift(-at.left)
        else:
            self._resize(at.right + max(_ROOM, at.right // 4))
        self.torn = False

    def keep(self, rows: Sequence[int]) -> None:
        """Keep only these rows, given in rising order. The others' places are filled from the end.

        `order_after_keep` says which row then stands where.
        """
        order = order_after_keep(rows)
        self.torn = True
        if order:
            moves = moves_of(order, self._layers[0].keys.device)
            read = slice(self._window.left, self._window.right)
            for layer in self._layers:
                keep_rows(layer.keys[:, :, read], moves)
                keep_rows(layer.values[:, :, read], moves)
        self.lengths = [self.lengths[source] for source in order]
        self._window.rows = len(order)
        self._trim()
        self.torn = False

    def shrink(self) -> None:
        """Give back the memory of rows that have gone."""
        self.torn = True
        self._room_for_rows = max(1, self.rows)
        self._resize(self.width + _ROOM)
        self.torn = False

    def mask(self, extra: int, device: torch.device) -> torch.Tensor:
        """Return the attention mask, [rows, width + extra]: 1 for tokens, 0 for padding."""
        columns = torch.arange(self.width + extra)
        starts = self.width - torch.tensor(self.lengths)
        return (columns[None, :] >= starts[:, None]).long().to(device)

    def clear(self) -> None:
        """Drop all rows; the buffers stay."""
        self.lengths = []
        self._window.rows = self._window.left = self._window.right = 0

    def _trim(self) -> None:
        at = self._window
        at.left = at.right - max(self.lengths, default=0)

    def _make_room(self, like: Any, rows: int, columns: int) -> None:
        if not self._layers[0].is_initialized:
            self._columns = columns + _ROOM
            self._room_for_rows = max(self._room_for_rows, rows)
            try:
                self._make(like)
            except MemoryError:  # then it grows as rows come
                self._room_for_rows = rows
                self._make(like)
            return
        if rows > self._room_for_rows:
            self._room_for_rows = max(rows, 2 * self._room_for_rows)
            self._resize(max(columns, self._columns))
        if columns > self._columns:
            self._resize(columns + max(_ROOM, columns // 4))

    def _make(self, like: Any) -> None:
        """Make the buffers, for keys and values in the shape of another cache's."""
        made = [
            [
                _zeros((self._room_for_rows, each.shape[1], self._columns, each.shape[3]), each)
                for each in (layer.keys, layer.values)
            ]
            for layer in like.layers
        ]
        for mine, buffers in zip(self._layers, made, strict=True):
            mine.keys, mine.values = buffers
            mine.is_initialized = True

    def _resize(self, columns: int) -> None:
        at, width = self._window, self._window.width
        for layer in self._layers:
            for name in ("keys", "values"):
                old = getattr(layer, name)
                new = _zeros((self._room_for_rows, old.shape[1], columns, old.shape[3]), old)
                new[: at.rows, :, :width] = old[: at.rows, :, at.left : at.right]
                setattr(layer, name, new)
        at.left, at.right, self._columns = 0, width, columns
        self._used_rows = at.rows

    def _shift(self, by: int) -> None:
        """Move all rows by so many columns, to the right when ``by`` is positive."""
        at = self._window
        old = slice(at.left, at.right)
        at.left, at.right = at.left + by, at.right + by
        if at.right >= self._columns:
            raise AssertionError("a row cache was shifted beyond its buffers")
        for layer in self._layers:
            for buffer in (layer.keys, layer.values):
                moved = buffer[: at.rows, :, old].clone()
                buffer[: at.rows, :, at.left : at.right] = moved


def order_after_keep(rows: Sequence[int]) -> list[int]:
    """Return which row comes to stand at each place when only ``rows`` are kept.

    Most stay where they are; rows from the end fill the places of those that go.

    Example:
        >>> order_after_keep([0, 2, 3])
        [0, 3, 2]
    """
    count = len(rows)
    stay = {row for row in rows if row < count}
    movers = iter(sorted((row for row in rows if row >= count), reverse=True))
    return [place if place in stay else next(movers) for place in range(count)]


Moves = tuple[torch.Tensor, torch.Tensor]


def moves_of(order: Sequence[int], device: torch.device) -> Moves:
    """Return the places that get another row, and where these rows stand until then.

    Example:
        >>> moves_of([0, 3, 2], torch.device("cpu"))
        (tensor([1]), tensor([3]))
    """
    places = [place for place, source in enumerate(order) if place != source]
    sources = [order[place] for place in places]
    return (
        torch.tensor(places, dtype=torch.long, device=device),
        torch.tensor(sources, dtype=torch.long, device=device),
    )


def keep_rows(tensor: torch.Tensor, moves: Moves) -> torch.Tensor:
    """Move a tensor's rows in place, all at once; return the tensor."""
    places, sources = moves
    if len(places):
        tensor[places] = tensor[sources]
    return tensor


def _zeros(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Return zeros of a tensor's dtype and device.

    On a CPU numpy makes them: it leaves it to the operating system to zero a page when it is first
    written, and the columns left of short rows never are. PyTorch writes all of them.
    """
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    count = math.prod(shape) * like.element_size()
    return torch.from_numpy(np.zeros(count, dtype=np.uint8)).view(like.dtype).view(shape)
