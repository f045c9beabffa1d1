"""A comparison as pictures: speed against quality and memory, latencies, memory over time.

They are drawn in colours that can be told apart by anyone, on light and dark ground and in print:
text and axes take the colour of the text around them, and each candidate has a mark of its own.
"""

from __future__ import annotations

import dataclasses
import html
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from hfnb.errors import OptionError, closest, listing
from hfnb.frame.progress import duration, number
from hfnb.show import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hfnb.comparing.measuring import Measured

_KINDS = ("overview", "latency", "memory")
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe and Ito's, but for those that are lost on white or on black."""
_MARKS = "osD^vP*X"
_LINES = ("-", "--", "-.", ":")
_TEXT = "#010203"
"""Stands for the text's colour until the picture is SVG, where ``currentColor`` takes its place."""
_INCHES = (7.0, 3.8)


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture, and what it shows in words."""

    figure: Figure
    alt: str
    """What it shows, for those who do not see it."""
    title: str

    def save(self, file: str | Path) -> Path:
        """Write it down, by the file's ending as ``.svg`` or ``.png``, with `alt` inside.

        Raises:
            OptionError: It ends otherwise.
        """
        place = Path(file)
        if place.suffix.lower() == ".svg":
            place.write_text(self.svg(), encoding="utf-8")
        elif place.suffix.lower() == ".png":
            about = {"Title": self.title, "Description": self.alt}
            self.figure.savefig(place, dpi=200, facecolor="white", metadata=about)
        else:
            raise OptionError(f"A picture is saved as .svg or .png; not {place.name!r}.")
        return place

    def svg(self) -> str:
        """Return it as SVG, in the colour of the text around it."""
        out = io.StringIO()
        import matplotlib

        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hfnb"}):
            self.figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        drawn = out.getvalue().replace(_TEXT, "currentColor")
        about = f"<title>{html.escape(self.title)}</title><desc>{html.escape(self.alt)}</desc>"
        return re.sub(
            r"<svg ([^>]*)>",
            rf'<svg role="img" aria-label="{html.escape(self.title)}" \1>{about}',
            drawn[drawn.index("<svg") :],
            count=1,
        )

    def _repr_html_(self) -> str:
        return (
            '<div class="hfnb-picture" style="color: var(--jp-content-font-color1, inherit)">'
            f"{self.svg()}</div>"
        )

    def __repr__(self) -> str:
        return self.alt


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
    _bare(axes)
    if what == "overview":
        title, alt = _overview(axes, stats.loc[list(measured)], quality)
    elif what == "latency":
        title, alt = _latency(axes, measured)
    else:
        title, alt = _memory(axes, measured)
    axes.set_title(title, color=_TEXT, loc="left", fontsize=11)
    return Picture(figure, alt, title)


def _overview(
    axes: Axes, stats: pd.DataFrame, quality: tuple[str, Mapping[str, float]]
) -> tuple[str, str]:
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
            color=_colour(at),
            alpha=0.55,
            marker=_MARKS[at % len(_MARKS)],
            edgecolor=_TEXT,
            linewidth=0.8,
            label=f"{label}\n{size(int(memory))}",
        )
        said.append(
            f"{label}: {number(speed)} rows a second, {meaning} {good:.0%}, {size(int(memory))}"
        )
    axes.set_xlabel("rows a second", color=_TEXT)
    axes.set_ylabel(meaning, color=_TEXT)
    axes.yaxis.set_major_formatter("{x:.0%}")
    least = min(axes.dataLim.y0, 1.0)
    axes.set_ylim(max(0.0, least - 0.2 * (1.1 - least) - 0.02), 1.1)  # room for the marks
    axes.set_yticks([each for each in axes.get_yticks() if 0 <= each <= 1])
    axes.set_xlim(0, 1.1 * float(stats["rows_per_s"].max()))
    _names_beside(axes)
    title = "Speed and quality; the larger the mark, the more memory"
    return title, f"{title}. {'; '.join(said)}."


def _latency(axes: Axes, measured: Mapping[str, Measured]) -> tuple[str, str]:
    said = []
    for at, (label, each) in enumerate(measured.items()):
        times = each.rows["latency_s"].dropna().sort_values().to_numpy()
        if not len(times):
            continue
        share = [(i + 1) / len(times) for i in range(len(times))]
        axes.step(
            times,
            share,
            where="post",
            color=_colour(at),
            label=label,
            linestyle=_LINES[at % len(_LINES)],
        )
        middle = float(pd.Series(times).median())
        said.append(f"{label}: half within {duration(middle)}, all within {duration(times[-1])}")
    axes.set_xlabel("latency of a row, seconds", color=_TEXT)
    axes.set_ylabel("share of rows", color=_TEXT)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_xlim(left=0)
    _legend(axes)
    title = "How many rows were answered within which time"
    return title, f"{title}. {'; '.join(said)}."


def _memory(axes: Axes, measured: Mapping[str, Measured]) -> tuple[str, str]:
    said = []
    for at, (label, each) in enumerate(measured.items()):
        seconds = [time for time, _ in each.memory]
        axes.plot(
            seconds,
            [count / 1e9 for _, count in each.memory],
            color=_colour(at),
            label=label,
            linestyle=_LINES[at % len(_LINES)],
        )
        said.append(f"{label}: at most {size(each.peak_rss_bytes)} over {duration(seconds[-1])}")
    axes.set_xlabel("seconds since it began to load", color=_TEXT)
    axes.set_ylabel("memory of the process, GB", color=_TEXT)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _legend(axes)
    title = "Memory while each candidate loads and runs"
    return title, f"{title}. {'; '.join(said)}."


def _bare(axes: Axes) -> None:
    axes.tick_params(colors=_TEXT, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_color(_TEXT)
        spine.set_visible(side in ("left", "bottom"))
    axes.patch.set_alpha(0)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, labelcolor=_TEXT, fontsize=9)


def _names_beside(axes: Axes) -> None:
    """Name the marks beside the picture: in it, names of marks that are close would overlap."""
    figure: Any = axes.figure
    legend = figure.legend(loc="outside right center", frameon=False, labelcolor=_TEXT, fontsize=8)
    for mark in legend.legend_handles:
        mark.set_sizes([60])


def _colour(at: int) -> Any:
    return _COLOURS[at % len(_COLOURS)]
