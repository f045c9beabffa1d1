"""Stop strings: where new text ends, and how much of it may already be shown."""

from __future__ import annotations

from collections.abc import Sequence


def cut_at_stop(text: str, stop: Sequence[str]) -> tuple[str, bool]:
    r"""Cut text before the first of the stop strings.

    Returns:
        The text, and whether a stop string was in it.

    Example:
        >>> cut_at_stop("soixante-douze\nWhat", ["\n"])
        ('soixante-douze', True)
    """
    found = [at for at in (text.find(each) for each in stop) if at >= 0]
    return (text[: min(found)], True) if found else (text, False)


def safe_length(text: str, stop: Sequence[str]) -> int:
    """Return how much of a growing text can't become part of a stop string any more.

    Example:
        >>> safe_length("one EN", ["END"])
        4
    """
    held = 0
    for each in stop:
        for size in range(min(len(each) - 1, len(text)), held, -1):
            if text.endswith(each[:size]):
                held = size
                break
    return len(text) - held
