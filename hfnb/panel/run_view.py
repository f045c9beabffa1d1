"""The panel's third part: run, stop, how far it is, and what it costs."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from hfnb.frame.progress import duration, number
from hfnb.frame.stats import RunStats
from hfnb.panel import events as on
from hfnb.panel.parts import Line, Problem, button, column, draw, row, show_if, title
from hfnb.panel.picture import picture_of
from hfnb.panel.state import State
from hfnb.show import size

_TRY_ROWS = 3
_NONE = "\N{EN DASH}"


class RunView:
    """Shows how a run goes, and tells what a person does there.

    Args:
        post: Takes what a person does.
    """

    def __init__(self, post: Callable[[on.Event], Any]) -> None:
        self._try = button(f"Try {_TRY_ROWS} rows", lambda: post(on.RunPressed(_TRY_ROWS)))
        self._run = button("Run", lambda: post(on.RunPressed()), primary=True)
        self._stop = button(
            "Stop", lambda: post(on.StopPressed()), tip="End the run; finished rows stay"
        )
        self._bar = widgets.HTML()
        self._text = Line("hfnb-status", live=True)
        self._problem = Problem()
        self._figures = widgets.HTML(figures(None))
        self._pictures = widgets.HTML(picture_of(()))
        self._seen = 0
        self.widget = column(
            title("Run"),
            row(self._try, self._run, self._stop),
            self._bar,
            self._text.widget,
            self._problem.widget,
            row(self._figures, self._pictures, name="hfnb-measured"),
            name="hfnb-section",
        )

    def show(self, state: State) -> None:
        """Draw what has changed."""
        show_if(self.widget, state.tab == "run")
        rows = 0 if state.table is None else state.table.rows
        busy = state.running is not None
        ready = state.in_use is not None and state.loading is None and not busy and rows > 0
        draw(self._try, disabled=not ready)
        draw(
            self._run,
            disabled=not ready,
            description=f"Run {rows:,} row{'' if rows == 1 else 's'}",
        )
        draw(self._stop, disabled=state.running is None or state.running.stopping)
        self._show_progress(state)
        self._problem.show(state.run_problem)
        if state.seen != self._seen:
            self._seen = state.seen
            stats = None if state.result is None else state.result.stats
            draw(self._figures, value=figures(stats))
            draw(self._pictures, value=picture_of(state.points))

    def _show_progress(self, state: State) -> None:
        progress = state.progress
        share = progress.done / progress.total if progress is not None and progress.total else 0.0
        draw(
            self._bar,
            value=(
                f'<div class="hfnb-bar" aria-hidden="true"><div style="width: {share:.1%}"></div>'
                "</div>"
            ),
        )
        text = "" if progress is None else str(progress)
        if state.running is not None:
            if progress is None:
                text = "starting …"
            elif state.running.stopping:
                text = f"stopping … {text}"
            elif state.running.again:
                text = f"running again: {text}"
        elif progress is not None and progress.total and progress.done < progress.total:
            text = (
                f"stopped at {text.split(' · ')[0]} · {progress.failed:,} failed · press Run to go "
                "on: finished rows are kept"
            )
        self._text.show(text or "Nothing has run yet.")


def figures(stats: RunStats | None) -> str:
    """Return latency and memory as a row of figures whose places do not move."""
    shown = [
        ("model load", "" if stats is None else duration(stats.load_s)),
        ("latency p50", _seconds(None if stats is None else stats.latency_p50_s)),
        ("latency p95", _seconds(None if stats is None else stats.latency_p95_s)),
        ("new tokens/s", _rate(stats, "tokens_per_s")),
        ("rows/s", _rate(stats, "rows_per_s")),
        ("peak memory", "" if stats is None else size(stats.peak_rss_bytes)),
    ]
    if stats is not None and stats.peak_device_bytes is not None:
        shown.append((f"peak on {stats.device}", size(stats.peak_device_bytes)))
    cells = "".join(
        f"<div><dt>{html.escape(name)}</dt><dd>{html.escape(value or _NONE)}</dd></div>"
        for name, value in shown
    )
    return f'<dl class="hfnb-figures">{cells}</dl>'


def _rate(stats: RunStats | None, name: str) -> str:
    """Return a rate; there is none where every answer is from the journal."""
    return "" if stats is None or stats.no_rate else number(getattr(stats, name))


def _seconds(value: float | None) -> str:
    return "" if value is None else duration(value)
