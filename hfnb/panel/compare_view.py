"""The panel's other tab: candidates, what each took, how alike they answer, and which to use."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from hfnb.errors import HfnbError
from hfnb.panel import events as on
from hfnb.panel.choices import why_not_load
from hfnb.panel.parts import (
    Field,
    Fold,
    Line,
    Problem,
    button,
    column,
    draw,
    row,
    show_if,
    title,
)
from hfnb.panel.state import Candidate, Choice, Comparing, State

_NO_REFERENCE = "none"


class CompareView:
    """Shows a comparison, and tells what a person does there.

    Args:
        post: Takes what a person does.
    """

    def __init__(self, post: Callable[[on.Event], Any]) -> None:
        self._post = post
        self._candidates = column(name="hfnb-candidates")
        self._shown: tuple[Choice, ...] | None = None
        self._add = button("Add what is chosen above", lambda: post(on.CandidateAdded()))
        self._reference = Field(
            widgets.Dropdown(description="Column of right answers", options=[_NO_REFERENCE]),
            lambda value: post(on.CompareSet("reference", "" if value == _NO_REFERENCE else value)),
        )
        self._rows = Field(
            widgets.Text(description="Rows", placeholder="all"),
            lambda value: post(on.CompareSet("rows", value)),
        )
        self._compare = button("Compare", lambda: post(on.ComparePressed()), primary=True)
        self._fastest = button(
            "Find the fastest",
            lambda: post(on.ComparePressed(fastest=True)),
            tip="Measure the backends, formats and batch sizes that can run the chosen model",
        )
        self._stop = button("Stop comparing", lambda: post(on.CompareStopped()))
        self._status, self._problem = Line("hfnb-status", live=True), Problem()
        self._advice = Line("hfnb-memory")
        self._table, self._picture = widgets.HTML(), widgets.HTML()
        self._differences = widgets.HTML()
        self._fold = Fold(
            "Rows that differ",
            self._differences,
            lambda is_open: post(on.Folded("differences", is_open)),
        )
        self._use = row()
        self._drawn: object = None
        self.widget = column(
            title("Compare"),
            self._candidates,
            row(self._add),
            row(self._reference.widget, self._rows.widget),
            row(self._compare, self._fastest, self._stop),
            self._status.widget,
            self._problem.widget,
            self._advice.widget,
            self._table,
            self._use,
            self._picture,
            self._fold.widget,
            name="hfnb-section",
        )

    def show(self, state: State) -> None:
        """Draw what has changed."""
        show_if(self.widget, state.tab == "compare")
        now = state.comparing
        busy = bool(now.running)
        self._show_candidates(now.candidates)
        self._show_references(state)
        self._rows.show(now.rows)
        count = len(now.candidates)
        draw(self._add, disabled=busy or bool(why_not_load(state)))
        draw(self._compare, disabled=busy or count < 2, description=f"Compare {count} candidates")
        draw(self._fastest, disabled=busy or bool(why_not_load(state)))
        draw(self._stop, disabled=not busy or now.stopping)
        self._status.show(_status(now))
        self._problem.show(now.problem)
        self._advice.show(now.advice)
        show_if(self._advice.widget, bool(now.advice))
        if now.comparison is not self._drawn:
            self._drawn = now.comparison
            self._show_comparison(now)
        show_if(self._fold.widget, now.comparison is not None)
        self._fold.show(is_open="differences" in state.open)

    def _show_candidates(self, candidates: tuple[Choice, ...]) -> None:
        if candidates == self._shown:
            return
        self._shown = candidates
        self._candidates.children = [
            self._candidate(at, each) for at, each in enumerate(candidates)
        ] or [widgets.HTML("Choose a model above and add it; then another, or another backend.")]

    def _candidate(self, at: int, choice: Choice) -> widgets.Widget:
        what = described(choice)
        remove = button(
            "Remove", lambda: self._post(on.CandidateRemoved(at)), tip=f"Do not compare {what}"
        )
        return row(remove, widgets.HTML(html.escape(what)), name="hfnb-turn")

    def _show_references(self, state: State) -> None:
        columns = () if state.table is None else state.table.columns
        value = state.comparing.reference or _NO_REFERENCE
        options = (_NO_REFERENCE, *columns)
        if value not in options:
            options = (*options, value)
        if options != self._reference.widget.options:
            self._reference.change(lambda widget: draw(widget, options=options), value)
        self._reference.show(value)

    def _show_comparison(self, now: Comparing) -> None:
        comparison = now.comparison
        if comparison is None:
            return
        draw(self._table, value=_scrolled(comparison._repr_html_(), "What each candidate took"))
        try:
            picture = comparison.plot()._repr_html_()
        except HfnbError:  # nothing was measured: the table says why
            picture = ""
        draw(self._picture, value=f'<div class="hfnb-picture">{picture}</div>')
        found = comparison.differences()._repr_html_()
        draw(self._differences, value=_scrolled(found, "Rows in which the answers differ"))
        self._use.children = [self._use_button(each) for each in now.usable]

    def _use_button(self, each: Candidate) -> widgets.Button:
        return button(
            f"Use {described(each.choice)}",
            lambda: self._post(on.UsePressed(each)),
            tip=f"Load it: {each.label}",
        )


def described(choice: Choice) -> str:
    """Return a choice in words: the model, and what is not left to hfnb.

    Example:
        >>> described(Choice("gpt2", backend="openvino", precision="int8"))
        'gpt2 · openvino · int8'
    """
    told = choice.arguments()
    return " · ".join(
        [choice.model, choice.backend, *(v for k, v in told.items() if k != "backend")]
    )


def _status(now: Comparing) -> str:
    if not now.running:
        return "" if now.comparison is None else "Done."
    what = "stopping" if now.stopping else "measuring, each in a process of its own"
    return f"{what} …" if now.progress is None else f"{what} … {now.progress}"


def _scrolled(markup: str, name: str) -> str:
    return (
        f'<div class="hfnb-scrolled" tabindex="0" role="region" aria-label="{name}">{markup}</div>'
    )
