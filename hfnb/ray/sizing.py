"""How many rows are a block: what a worker is given at a time, and loses if it dies.

A block is to have about as many tokens whatever the rows are like: so many that starting it costs
nothing, and so few that little is computed again and every worker has some.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from hfnb.frame.chunks import MOST_ROWS
from hfnb.spec import DEFAULT_MAX_NEW_TOKENS, GenerationSpec

BLOCK_TOKENS = 131_072
"""Tokens of a block, prompts and answers together."""
_FEWEST = 32
"""Rows of a block, where there are as many: the model computes them together."""
_BYTES_A_TOKEN = 4
_PROMPT_TOKENS = 128
"""Of a prompt, where none is known."""
_BLOCKS_A_WORKER = 4


def rows_of_a_block(
    prompt_bytes: float | None,
    generation: GenerationSpec,
    rows: int | None = None,
    workers: int = 1,
) -> int:
    """Return how many rows a block has.

    Args:
        prompt_bytes: About how long a prompt is; ``None`` if not known.
        generation: How long answers may be.
        rows: How many rows there are in all, where each worker is to have some.
        workers: The most workers.
    """
    prompt = _PROMPT_TOKENS if prompt_bytes is None else prompt_bytes / _BYTES_A_TOKEN
    answer = generation.get("max_new_tokens") or DEFAULT_MAX_NEW_TOKENS
    by_tokens = int(BLOCK_TOKENS / (prompt + answer))
    if rows is not None:
        by_tokens = min(by_tokens, math.ceil(rows / (workers * _BLOCKS_A_WORKER)))
    return max(min(by_tokens, MOST_ROWS), min(_FEWEST, rows or _FEWEST), 1)


def prompt_bytes(prompts: Sequence[Any]) -> float | None:
    """Return about how long prompts are, by some of them; ``None`` without any."""
    texts = [len(str(each).encode("utf-8", "replace")) for each in prompts]
    return sum(texts) / len(texts) if texts else None
