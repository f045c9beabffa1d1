"""A comparison as pictures: speed against quality and memory, latencies, memory over time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pandas as pd

from hfnb.errors import OptionError, closest, listing
from hfnb.frame.picture import TEXT, Picture, colour, draw_latency, draw_memory, plain
from hfnb.frame.progress import number
from hfnb.show import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hfnb.comparing.measuring import Measured

__all__ = ["Picture", "picture"]
_KINDS = ("overview", "latency", "memory")
_MARKS = "osD^vP*X"
_INCHES = (7.5, 3.6)


def picture(
    what: str,
    measured: Mapping[str, Measured],
    stats: pd.DataFrame,
    quality: tuple[str, Mapping[str, float]],
) -> Picture:
    """Draw a picture of what was measured.

    Args:
        what: ``"overview"``, ``"latency"`` or ``"memory"``.
        measured: What was measured, by candidate.
        stats: The figures, a line a candidate.
        quality: What quality means, and that of each candidate, 0 to 1.

    Raises:
        OptionError: There is no such picture, or nothing was measured.
    """
    if what not in _KINDS:
        raise OptionError(
            f"There is no picture {what!r}.{closest(what, _KINDS)} Use {listing(_KINDS)}."
        )
    if not measured:
        raise OptionError("There is nothing to show: no candidate was measured. See .stats.")
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    axes = figure.subplots()
    if what == "overview":
        title = "Speed and quality; the larger the mark, the more memory"
        said = _overview(axes, stats.loc[list(measured)], quality)
    elif what == "latency":
        title = "How many rows were answered within which time"
        said = draw_latency(axes, {label: _latencies(each) for label, each in measured.items()})
    else:
        title = "Memory while each candidate loads and runs"
        said = draw_memory(axes, {label: each.memory for label, each in measured.items()})
        axes.set_xlabel("seconds since it began to load", color=TEXT)
    plain(axes, title)
    return Picture(figure, f"{title}. {'; '.join(said)}.", title)


def _overview(
    axes: Axes, stats: pd.DataFrame, quality: tuple[str, Mapping[str, float]]
) -> list[str]:
    from matplotlib.collections import PathCollection

    meaning, of_candidate = quality
    most = float(stats["peak_rss_bytes"].max())
    said = []
    for at, (label, line) in enumerate(stats.iterrows()):
        speed, good = float(line["rows_per_s"]), of_candidate.get(str(label), float("nan"))
        memory = float(line["peak_rss_bytes"])
        axes.scatter(
            [speed],
            [good],
            s=60 + 600 * memory / most,
            color=colour(at),
            alpha=0.55,
            marker=_MARKS[at % len(_MARKS)],
            edgecolor=TEXT,
            linewidth=0.8,
            label=f"{label}\n{size(int(memory))}",
        )
        said.append(
            f"{label}: {number(speed)} rows a second, {meaning} {good:.0%}, {size(int(memory))}"
        )
    axes.set_xlabel("rows a second", color=TEXT)
    axes.set_ylabel(meaning, color=TEXT)
    axes.yaxis.set_major_formatter("{x:.0%}")
    least = min(axes.dataLim.y0, 1.0)
    room = 0.3 * max(1.0 - least, 0.1)  # for whole marks
    axes.set_ylim(least - room, 1.0 + room)
    axes.set_yticks([each for each in axes.get_yticks() if max(0.0, least - room) <= each <= 1])
    axes.set_xlim(0, 1.15 * float(stats["rows_per_s"].max()))
    # Beside the axes: candidates that are alike lie over each other, and so would labels at them.
    legend = axes.legend(
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        frameon=False,
        labelcolor=TEXT,
        fontsize=9,
        labelspacing=1.0,
    )
    for mark in legend.legend_handles:
        if isinstance(mark, PathCollection):
            mark.set_sizes([60])
    return said


def _latencies(each: Measured) -> list[float]:
    return each.rows["latency_s"].dropna().tolist()
