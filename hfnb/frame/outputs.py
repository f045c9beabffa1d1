"""The outputs of a run, kept small: a block whose rows are all known becomes one Arrow array."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pandas as pd

_BLOCK = 8192


class Outputs:
    """One output a row, ``None`` where there is none. Each row is put exactly once.

    A Python string takes about 50 bytes more than its text; in Arrow, which pandas' strings use
    too, it takes 8.

    Args:
        size: The number of rows.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        starts = range(0, size, _BLOCK)
        self._blocks: list[Any] = [None] * len(starts)
        self._missing = [min(_BLOCK, size - start) for start in starts]

    def put(self, at: int, output: Any) -> None:
        """Note the output of the row at a position."""
        number, place = divmod(at, _BLOCK)
        block = self._blocks[number]
        if block is None:
            block = self._blocks[number] = [None] * min(_BLOCK, self._size - number * _BLOCK)
        block[place] = None if output is pd.NA else output
        self._missing[number] -= 1
        if not self._missing[number] and _are_strings(block):
            self._blocks[number] = _as_arrow(block)

    def without(self, positions: Iterable[int]) -> Outputs:
        """Return a copy in which the rows at some positions, which were put, are so no more."""
        new = Outputs(self._size)
        new._missing = list(self._missing)
        new._blocks = [each.copy() if isinstance(each, list) else each for each in self._blocks]
        for at in positions:
            number, place = divmod(at, _BLOCK)
            if not isinstance(new._blocks[number], list):
                new._blocks[number] = new._values(number)
            new._blocks[number][place] = None
            new._missing[number] += 1
        return new

    def array(self) -> pd.api.extensions.ExtensionArray | np.ndarray[Any, Any]:
        """Return the outputs: pandas strings, or objects when a parser made something else."""
        lists = [self._list(number) for number in range(len(self._blocks))]
        if not all(each is None or _are_strings(each) for each in lists):
            return self._objects()
        import pyarrow as pa

        parts = [
            block if lists[number] is None else _as_arrow(self._values(number))
            for number, block in enumerate(self._blocks)
        ]
        strings: pd.api.extensions.ExtensionArray = pd.array(
            pa.chunked_array(parts, type=pa.large_string()), dtype=pd.StringDtype("pyarrow")
        )
        return strings

    def __getitem__(self, at: int) -> Any:
        """Return the output of the row at a position."""
        number, place = divmod(at, _BLOCK)
        block = self._blocks[number]
        if block is None or isinstance(block, list):
            return None if block is None else block[place]
        return block[place].as_py()

    def __iter__(self) -> Iterator[Any]:
        """Yield the outputs in order."""
        for number in range(len(self._blocks)):
            yield from self._values(number)

    def _list(self, number: int) -> list[Any] | None:
        """Return a block's values where they are a list still; ``None`` where they are Arrow."""
        block = self._blocks[number]
        return block if isinstance(block, list) else ([] if block is None else None)

    def _values(self, number: int) -> list[Any]:
        block = self._blocks[number]
        if block is None:
            return [None] * min(_BLOCK, self._size - number * _BLOCK)
        values: list[Any] = block if isinstance(block, list) else block.to_pylist()
        return values

    def _objects(self) -> np.ndarray[Any, Any]:
        objects = np.empty(self._size, dtype=object)
        for number in range(len(self._blocks)):
            for place, value in enumerate(self._values(number)):
                objects[number * _BLOCK + place] = value
        return objects


def _are_strings(values: list[Any]) -> bool:
    return all(each is None or isinstance(each, str) for each in values)


def _as_arrow(values: list[Any]) -> Any:
    import pyarrow as pa

    try:
        return pa.array(values, type=pa.large_string())
    except UnicodeEncodeError:
        return pa.array(_encodable(values), type=pa.large_string())


def strings_of(values: list[Any]) -> pd.api.extensions.ExtensionArray:
    """Return texts as pandas strings."""
    try:
        return pd.array(values, dtype="string")
    except UnicodeEncodeError:
        return pd.array(_encodable(values), dtype="string")


def _encodable(values: list[Any]) -> list[Any]:
    """Return texts that UTF-8 can hold: half of a surrogate pair becomes its escape."""
    return [
        each if each is None else each.encode("utf-8", "backslashreplace").decode()
        for each in values
    ]
