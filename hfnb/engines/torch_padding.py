"""Put token ids of different length into one rectangle."""

from __future__ import annotations

from collections.abc import Sequence

import torch


def padded(
    rows: Sequence[Sequence[int]], pad_id: int, *, left: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return token ids, and a mask that is 1 for them and 0 for padding, both [rows, longest].

    Example:
        >>> padded([[5, 6], [7]], 0, left=True)
        (tensor([[5, 6],
                [0, 7]]), tensor([[1, 1],
                [0, 1]]))
    """
    lengths = [len(row) for row in rows]
    longest = max(lengths)
    filling = [[pad_id] * (longest - length) for length in lengths]
    ids = [
        [*before, *row] if left else [*row, *before]
        for row, before in zip(rows, filling, strict=True)
    ]
    filled = torch.tensor(lengths).unsqueeze(-1)
    columns = torch.arange(longest).unsqueeze(0)
    mask = columns >= longest - filled if left else columns < filled
    return torch.tensor(ids, dtype=torch.long), mask.long()
