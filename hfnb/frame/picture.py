"""A picture that a notebook shows in its own colours, and what runs and comparisons draw alike.

They are drawn in colours that can be told apart by anyone, on light and dark ground and in print:
text and axes take the colour of the text around them, and each line has a pattern of its own.
"""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnb.errors import OptionError
from hfnb.frame.progress import duration
from hfnb.show import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TEXT = "#010203"
"""Stands for the text's colour until the picture is SVG, where ``currentColor`` takes its place."""
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
"""Okabe and Ito's, but for those that are lost on white or on black."""
_LINES = ("-", "--", "-.", ":")
_FITS = 'style="max-width: 100%; height: auto"'
_CSS_DPI = 96
"""Pixels of a web page to an inch."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """A picture, and what it shows in words.

    A notebook shows it as SVG in the colours of its theme. It also keeps a PNG, for pages that show
    saved notebooks and leave SVG out.
    """

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
            place.write_bytes(self.png(dpi=200))
        else:
            raise OptionError(f"A picture is saved as .svg or .png; not {place.name!r}.")
        return place

    def png(self, dpi: int = 2 * _CSS_DPI) -> bytes:
        """Return it as PNG on white, with `alt` inside."""
        out = io.BytesIO()
        about = {"Title": self.title, "Description": self.alt}
        self.figure.savefig(out, format="png", dpi=dpi, facecolor="white", metadata=about)
        return out.getvalue()

    def svg(self) -> str:
        """Return it as SVG, in the colour of the text around it."""
        out = io.StringIO()
        import matplotlib

        with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "hfnb"}):
            self.figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
        drawn = out.getvalue().replace(TEXT, "currentColor")
        about = f"<title>{html.escape(self.title)}</title><desc>{html.escape(self.alt)}</desc>"
        return re.sub(
            r"<svg ([^>]*)>",
            rf'<svg role="img" aria-label="{html.escape(self.title)}" {_FITS} \1>{about}',
            drawn[drawn.index("<svg") :],
            count=1,
        )

    def _repr_html_(self) -> str:
        return (
            '<div class="hfnb-picture" style="color: var(--jp-content-font-color1, inherit)">'
            f"{self.svg()}</div>"
        )

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, str], dict[str, Any]]:
        width = round(self.figure.get_figwidth() * _CSS_DPI)
        return {
            "text/plain": repr(self),
            "text/html": self._repr_html_(),
            "image/png": base64.b64encode(self.png()).decode(),
        }, {"image/png": {"alt": self.alt, "width": width}}

    def __repr__(self) -> str:
        return self.alt


def colour(at: int) -> str:
    """Return the colour of the line or mark at a place."""
    return _COLOURS[at % len(_COLOURS)]


def plain(axes: Axes, title: str) -> None:
    """Give axes their title, the text's colour, and no frame."""
    axes.tick_params(colors=TEXT, labelsize=9)
    for side, spine in axes.spines.items():
        spine.set_color(TEXT)
        spine.set_visible(side in ("left", "bottom"))
    axes.patch.set_alpha(0)
    axes.set_title(title, color=TEXT, loc="left", fontsize=11)


def draw_latency(axes: Axes, times: Mapping[str, Sequence[float]]) -> list[str]:
    """Draw how many rows were answered within which time, a line each; return that in words."""
    said = []
    for at, (label, each) in enumerate(times.items()):
        if not len(each):
            continue
        ordered = np.sort(np.asarray(each, dtype=float))
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        axes.step(ordered, share, where="post", label=label, **_line(at))
        middle, last = float(np.median(ordered)), float(ordered[-1])
        said.append(
            _labelled(label, f"half within {duration(middle)}, all within {duration(last)}")
        )
    axes.set_xlabel("latency of a row, seconds", color=TEXT)
    axes.set_ylabel("share of rows", color=TEXT)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_xlim(left=0)
    axes.set_ylim(0, 1.05)
    _legend(axes)
    return said


def draw_memory(axes: Axes, memory: Mapping[str, Sequence[tuple[float, int]]]) -> list[str]:
    """Draw the memory of processes over time, a line each; return that in words."""
    said = []
    for at, (label, each) in enumerate(memory.items()):
        seconds, held = [time for time, _ in each], [count for _, count in each]
        if not held:
            continue
        axes.plot(seconds, [count / 1e9 for count in held], label=label, **_line(at))
        said.append(_labelled(label, f"at most {size(max(held))} over {duration(seconds[-1])}"))
    axes.set_ylabel("memory of the process, GB", color=TEXT)
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    _legend(axes)
    return said


def _line(at: int) -> dict[str, Any]:
    return {"color": colour(at), "linestyle": _LINES[at % len(_LINES)]}


def _labelled(label: str, text: str) -> str:
    return f"{label}: {text}" if label else text


def _legend(axes: Axes) -> None:
    if any(axes.get_legend_handles_labels()[1]):
        axes.legend(frameon=False, labelcolor=TEXT, fontsize=9)
