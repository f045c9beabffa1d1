"""A small picture of a run: its memory and its rate over time, as SVG with a text beside it."""

from __future__ import annotations

import html
from collections.abc import Sequence

from hfnb.frame.progress import duration, number
from hfnb.panel.state import Point
from hfnb.show import size

_WIDTH, _HEIGHT = 240, 36
_WINDOW_S = 2.0
"""Seconds that a rate is the mean of."""


def picture_of(points: Sequence[Point]) -> str:
    """Return memory and rate over a run as HTML; room for them before there are two points."""
    memory = [(seconds, float(held)) for seconds, _, held in points]
    rate = rates(points)
    return (
        '<div class="hfnb-pictures">'
        f"{_line('memory', memory, lambda value: size(int(value)), from_zero=False)}"
        f"{_line('rows/s', rate, number, from_zero=True)}</div>"
    )


def rates(points: Sequence[Point]) -> list[tuple[float, float]]:
    """Return (seconds, rows a second) over about the last two seconds before each point.

    Example:
        >>> rates([(0.0, 0, 0), (1.0, 8, 0), (2.0, 12, 0), (4.0, 22, 0)])
        [(1.0, 8.0), (2.0, 6.0), (4.0, 5.0)]
    """
    found, begin = [], 0
    for at in range(1, len(points)):
        seconds, done, _ = points[at]
        while begin < at - 1 and points[begin + 1][0] <= seconds - _WINDOW_S:
            begin += 1
        span = seconds - points[begin][0]
        if span > 0:
            found.append((seconds, (done - points[begin][1]) / span))
    return found


def _line(
    name: str,
    values: Sequence[tuple[float, float]],
    shown: object,
    *,
    from_zero: bool,
) -> str:
    assert callable(shown)
    if len(values) < 2:
        text, drawn = f"{name}: \N{EN DASH}", ""
    else:
        heights = [value for _, value in values]
        low, high = (0.0 if from_zero else min(heights)), max(heights)
        text = f"{name}: now {shown(heights[-1])} · most {shown(high)}"
        if not from_zero:
            text += f" · in {duration(values[-1][0])}"
        drawn = f'<polyline points="{_coordinates(values, low, high)}"/>'
    return (
        f'<figure><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" '
        f'aria-hidden="true">{drawn}</svg><figcaption>{html.escape(text)}</figcaption></figure>'
    )


def _coordinates(values: Sequence[tuple[float, float]], low: float, high: float) -> str:
    begin, end = values[0][0], values[-1][0]
    wide, tall = max(end - begin, 1e-9), max(high - low, 1e-9)
    return " ".join(
        f"{(seconds - begin) / wide * _WIDTH:.1f},"
        f"{_HEIGHT - 2 - (value - low) / tall * (_HEIGHT - 4):.1f}"
        for seconds, value in values
    )
