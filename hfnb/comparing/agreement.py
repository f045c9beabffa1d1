"""How alike answers are: exact match, edit similarity, shared words, and how sure that is."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rapidfuzz.distance import Levenshtein

REFERENCE = "reference"
"""What the column of right answers is called among the candidates."""
_RESAMPLES = 2_000
_MOST_NUMBERS = 2_000_000
"""How many numbers are drawn at once, for the memory that they take."""
_WORD = re.compile(r"\w+")


def exact_match(text: str, other: str) -> float:
    """Return 1 where two texts are the same but for white space around them, else 0.

    Example:
        >>> exact_match("sept", "sept "), exact_match("sept", "Sept")
        (1.0, 0.0)
    """
    return float(text.strip() == other.strip())


def edit_similarity(text: str, other: str) -> float:
    """Return how alike two texts are: 1 less the share of characters to change (Levenshtein).

    Example:
        >>> edit_similarity("soixante", "soixante"), edit_similarity("sept", "huit")
        (1.0, 0.25)
    """
    return float(Levenshtein.normalized_similarity(text.strip(), other.strip()))


def token_f1(text: str, other: str) -> float:
    """Return the F1 of the words that two texts share, as SQuAD counts it, in any language.

    Case, punctuation and accents' encoding do not count; articles do.

    Example:
        >>> token_f1("It is seven.", "seven")
        0.5
    """
    words, others = _words(text), _words(other)
    if not words or not others:
        return float(words == others)
    shared = sum((Counter(words) & Counter(others)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(words), shared / len(others)
    return 2 * precision * recall / (precision + recall)


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFC", text).casefold())


def interval(values: Sequence[float], seed: int = 0) -> tuple[float, float]:
    """Return the 95% interval of a mean, by the percentile bootstrap with 2,000 resamples.

    Args:
        values: One number a row.
        seed: Makes it repeat.

    Example:
        >>> interval([1.0] * 20)
        (1.0, 1.0)
        >>> low, high = interval([0.0, 1.0] * 50)
        >>> 0.38 < low < 0.44 and 0.56 < high < 0.62
        True
    """
    sample = np.asarray(values, dtype=float)
    if not len(sample):
        return float("nan"), float("nan")
    draw = np.random.default_rng(seed)
    at_once = max(1, _MOST_NUMBERS // len(sample))
    means = [
        sample[draw.integers(0, len(sample), (min(at_once, _RESAMPLES - begin), len(sample)))].mean(
            1
        )
        for begin in range(0, _RESAMPLES, at_once)
    ]
    low, high = np.percentile(np.concatenate(means), [2.5, 97.5])
    return float(low), float(high)


def agreement(
    answers: Mapping[str, Sequence[str | None]], reference: Sequence[str | None] | None
) -> pd.DataFrame:
    """Compare the answers of candidates with the reference, where there is one, and each other.

    Args:
        answers: Texts by candidate, one a row; ``None`` where a row has none.
        reference: The right answers, likewise.

    Returns:
        One line for each candidate and the reference, then for each pair of candidates. ``rows``
        counts those that both have a text in; each measure has its mean and the ends of its 95%
        interval, ``..._low`` and ``..._high``.
    """
    lines: list[dict[str, Any]] = []
    for name, other, texts, others in pairs_of(answers, reference):
        both = [(a, b) for a, b in zip(texts, others, strict=True) if None not in (a, b)]
        line: dict[str, Any] = {"candidate": name, "compared_with": other, "rows": len(both)}
        for measure, function in _MEASURES.items():
            line |= mean_of(measure, [function(a, b) for a, b in both])
        lines.append(line)
    return table_of(lines, ["candidate", "compared_with", "rows"], _MEASURES)


_MEASURES: Mapping[str, Callable[[str, str], float]] = {
    "exact_match": exact_match,
    "edit_similarity": edit_similarity,
    "token_f1": token_f1,
}


def pairs_of(answers: Mapping[str, Any], reference: Any) -> Iterator[tuple[str, str, Any, Any]]:
    """Yield what is compared: each with the reference, then each pair; names, then answers."""
    if reference is not None:
        for name, own in answers.items():
            yield name, REFERENCE, own, reference
    for (name, own), (other, others) in itertools.combinations(answers.items(), 2):
        yield name, other, own, others


def mean_of(measure: str, values: Sequence[float]) -> dict[str, float]:
    """Return a measure's mean and the ends of its interval, by the names of their columns."""
    low, high = interval(values)
    mean = float(np.mean(values)) if values else float("nan")
    return {measure: mean, f"{measure}_low": low, f"{measure}_high": high}


def table_of(
    lines: Sequence[Mapping[str, Any]], first: Sequence[str], measures: Iterable[str]
) -> pd.DataFrame:
    """Return lines as a table: some columns, then each measure's."""
    ends = [f"{name}{end}" for name in measures for end in ("", "_low", "_high")]
    return pd.DataFrame(list(lines), columns=[*first, *ends])
