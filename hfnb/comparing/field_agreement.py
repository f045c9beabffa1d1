"""How alike typed answers are, field by field: labels, numbers, texts, lists."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import pandas as pd

from hfnb.comparing.agreement import (
    REFERENCE,
    edit_similarity,
    exact_match,
    mean_of,
    pairs_of,
    table_of,
    token_f1,
)

WHOLE = ""
"""What the line of a whole answer has for its field."""
Fields = Mapping[str, Sequence[Any]]
"""Values by the names of fields, one a row; ``None`` for a null."""
_MEASURES = ("exact_match", "edit_similarity", "token_f1", "mean_difference")


def same_value(value: Any, other: Any) -> float:
    """Return 1 where two values of a field are the same, else 0.

    Example:
        >>> same_value(7, 7.0), same_value(["a"], ["a", "b"]), same_value("good", "good ")
        (1.0, 0.0, 1.0)
    """
    if isinstance(value, str) and isinstance(other, str):
        return exact_match(value, other)
    if isinstance(value, Real) and isinstance(other, Real):
        return float(math.isclose(value, other, rel_tol=1e-9))
    return float(bool(value == other))


def shared_items(value: Sequence[Any], other: Sequence[Any]) -> float:
    """Return the F1 of the items that two lists share, in any order.

    Example:
        >>> shared_items(["a", "b", "c"], ["c"])
        0.5
    """
    items, others = Counter(map(repr, value)), Counter(map(repr, other))
    count = items.total() + others.total()
    return 2 * (items & others).total() / count if count else 1.0


def difference(value: float, other: float) -> float:
    """Return how far two numbers are apart."""
    return abs(float(value) - float(other))


_OF_KIND: dict[str, dict[str, Any]] = {
    "string": {"edit_similarity": edit_similarity, "token_f1": token_f1},
    "list": {"token_f1": shared_items},
    "integer": {"mean_difference": difference},
    "number": {"mean_difference": difference},
}
"""What there is to say of two values beside their being the same, by what they are."""


def field_agreement(
    answers: Mapping[str, Fields],
    answered: Mapping[str, Sequence[bool]],
    reference: Fields | None,
    kinds: Mapping[str, str],
) -> pd.DataFrame:
    """Compare answers by their fields; see `hfnb.comparing.agreement.agreement`.

    Args:
        answers: Values by candidate and field.
        answered: Which rows a candidate has an answer in.
        reference: The right values, of the fields that have some.
        kinds: What the fields are: "category", "string", "number", ...

    Returns:
        As there, with the column ``field`` and a line for each; where there are several fields the
        first line of a pair, whose ``field`` is empty, is for the whole answer. ``exact_match`` is
        that of the values. Of texts there are ``edit_similarity`` and ``token_f1``, of lists the
        F1 of their items as ``token_f1``, and of numbers ``mean_difference``, without its sign.
    """
    lines: list[dict[str, Any]] = []
    for name, other, own, others in pairs_of(answers, reference):
        is_right = other == REFERENCE
        there = answered[name]
        if not is_right:
            there = [a and b for a, b in zip(there, answered[other], strict=True)]
        rows = [at for at, both in enumerate(there) if both]
        fields = [field for field in own if field in others]
        # A right answer that is missing is not known; an answer's null is a value.
        known = {
            field: [at for at in rows if not is_right or others[field][at] is not None]
            for field in fields
        }
        told = {"candidate": name, "compared_with": other}
        if len(kinds) > 1:
            whole = sorted(set(rows).intersection(*known.values()))
            same = [min(same_value(own[f][at], others[f][at]) for f in fields) for at in whole]
            line = {**told, "field": WHOLE, "rows": len(whole)}
            lines.append({**line, **mean_of("exact_match", same)})
        for field in fields:
            pairs = [(own[field][at], others[field][at]) for at in known[field]]
            line = {**told, "field": field, "rows": len(pairs)}
            lines.append({**line, **_measured(kinds[field], pairs)})
    return table_of(lines, ["candidate", "compared_with", "field", "rows"], _MEASURES)


def likeness(own: Fields, others: Fields, rows: Sequence[bool], kinds: Mapping[str, str]) -> float:
    """Return how alike the answers of two candidates are, 0 to 1: the mean over rows and fields.

    Texts count by their edit similarity, other values by being the same.
    """
    alike = [
        _alike(kinds[field], a, b)
        for field in own
        for a, b, both in zip(own[field], others[field], rows, strict=True)
        if both
    ]
    return sum(alike) / len(alike) if alike else float("nan")


def _alike(kind: str, value: Any, other: Any) -> float:
    if kind == "string" and value is not None and other is not None:
        return edit_similarity(value, other)
    return same_value(value, other)


def _measured(kind: str, pairs: Sequence[tuple[Any, Any]]) -> dict[str, float]:
    found = mean_of("exact_match", [same_value(a, b) for a, b in pairs])
    both = [(a, b) for a, b in pairs if a is not None and b is not None]
    for measure, function in _OF_KIND.get(kind, {}).items():
        found |= mean_of(measure, [function(a, b) for a, b in both])
    return found
