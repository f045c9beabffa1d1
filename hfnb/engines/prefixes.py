"""Which prompts begin alike, so that what they share is worth computing once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

_LEAST_TOKENS = 8
"""A shorter prefix is not worth a place of its own: each step reads it apart from the rest ..."""
_SMALL, _LEAST_SHARE = 32, 0.25
"""... nor is one shorter than `_SMALL` that saves less than this share of its rows' prompts."""
_COST = 256
"""What a prefix costs, in prompt tokens: it has to save more over all of its rows."""


class Prefix:
    """First tokens of several prompts."""

    def __init__(self, ids: list[int]) -> None:
        self.ids = ids
        self.layers: list[Any] | None = None
        """What an engine computed of it; ``None`` while there is nothing."""

    def __len__(self) -> int:
        return len(self.ids)

    def begins(self, ids: Sequence[int]) -> bool:
        """Whether a prompt begins with it and goes on."""
        return len(ids) > len(self.ids) and ids[: len(self.ids)] == self.ids


class Run(NamedTuple):
    """Prompts that begin with the same tokens."""

    members: list[int]
    """Their places among the prompts."""
    length: int
    """How many of their first tokens are the same; every prompt has at least one more."""


def shared_runs(prompts: Sequence[list[int]]) -> list[Run]:
    """Find prefixes that are worth computing once, at most one for each prompt.

    In lexicographic order, prompts that begin alike stand next to each other, and what all of a run
    share is the least that any two neighbours in it do. Runs lie within one another as prefixes
    do: from the inside out, each is taken in place of the runs inside of it where it saves more
    prompt tokens than they, less what each of them costs.

    Args:
        prompts: The tokens of each prompt.

    Returns:
        The runs, no prompt in two of them.

    Example:
        >>> few_shot = list(range(300))
        >>> shared_runs([[*few_shot, 7], [5], [*few_shot, 9, 9]])
        [Run(members=[0, 2], length=300)]
        >>> shared_runs([[1, 2, 3], [1, 2, 4]])  # not worth it
        []
    """
    order = sorted(range(len(prompts)), key=lambda i: prompts[i])
    tokens_before = [0, *accumulate(len(prompts[i]) for i in order)]
    chosen: list[_Span] = []
    open_spans: list[_Span] = []
    for end in range(1, len(order) + 1):
        common = 0
        if end < len(order):
            common = _common(prompts[order[end - 1]], prompts[order[end]])
        span = _Span(end - 1, common, len(chosen))
        while open_spans and open_spans[-1].length >= common:
            inner = open_spans.pop()
            inner.saved += span.saved
            if inner.length > common:
                inner.close(end, chosen, tokens_before[end] - tokens_before[inner.begin])
            span = _Span(inner.begin, common, inner.chosen_before, inner.saved)
        open_spans.append(span)
    return [Run([order[i] for i in range(each.begin, each.end)], each.length) for each in chosen]


@dataclasses.dataclass
class _Span:
    """Neighbours in the order with so many first tokens in common."""

    begin: int
    length: int
    chosen_before: int
    """How many runs were chosen before those inside it."""
    saved: int = 0
    """The tokens that the runs inside it save, less what they cost."""
    end: int = 0

    def close(self, end: int, chosen: list[_Span], tokens: int) -> None:
        """End before a prompt that shares less; be chosen if that saves more.

        Args:
            end: Where that prompt stands.
            chosen: Those that were chosen by now.
            tokens: How many tokens all prompts in it have.
        """
        self.end = end
        saved = self.length * (end - self.begin - 1)
        long = self.length >= _SMALL or saved >= _LEAST_SHARE * tokens
        saved -= _COST
        if self.length >= _LEAST_TOKENS and long and saved >= max(0, self.saved):
            del chosen[self.chosen_before :]
            chosen.append(self)
            self.saved = saved


def _common(one: list[int], other: list[int]) -> int:
    """Return how many first tokens two prompts share, so that each has at least one more."""
    most = min(len(one), len(other)) - 1
    low = 0
    while low < most:  # by halves: slices are compared much faster than tokens in a loop
        middle = (low + most + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            most = middle - 1
    return max(0, low)
