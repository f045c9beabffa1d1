"""The panel's fourth part: the rows with their outputs, one of them by itself, and the code."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from hfnb.errors import HfnbError
from hfnb.panel import events as on
from hfnb.panel.code import code_of
from hfnb.panel.page import Page, as_html, caption, page_of
from hfnb.panel.parts import Field, Fold, Line, button, column, draw, row, show_if, title
from hfnb.panel.reduce import pages
from hfnb.panel.state import State

_LABEL_LENGTH = 60
_NO_ROW = "choose a row"


class ResultView:
    """Shows what a run has given so far, and tells what a person does there.

    Args:
        post: Takes what a person does.
    """

    def __init__(self, post: Callable[[on.Event], Any]) -> None:
        self._all = button("All rows", lambda: post(on.Filtered("all")))
        self._failed = button("Failed rows", lambda: post(on.Filtered("failed")))
        self._again_failed = button(
            "Run failed rows again", lambda: post(on.AgainPressed(failed=True))
        )
        self._table = widgets.HTML()
        self._previous = button("← Previous", lambda: post(on.Turned(-1)))
        self._next = button("Next →", lambda: post(on.Turned(1)))
        self._caption = Line("hfnb-note", live=True)
        self._drawn: tuple[object, ...] = ()
        self._positions: dict[str, int] = {}
        self._row = Field(
            widgets.Dropdown(description="Look at row", options=[_NO_ROW]),
            lambda value: post(on.RowPicked(self._positions.get(value))),
        )
        self._asked = widgets.HTML()
        self._asked.add_class("hfnb-rendered")
        self._answer = Field(
            widgets.Textarea(description="Answer, to be corrected", rows=3),
            lambda value: post(on.AnswerEdited(value)),
        )
        self._again = button("Run this row again", lambda: post(on.AgainPressed()))
        self._example = button(
            "Use as example",
            lambda: post(on.ExamplePressed()),
            tip="Put this row with its corrected answer in front of the prompt",
        )
        self._by_itself = column(
            self._asked, self._answer.widget, row(self._again, self._example), name="hfnb-look"
        )
        self._code = widgets.HTML()
        self._fold = Fold(
            "Code for this run", self._code, lambda is_open: post(on.Folded("code", is_open))
        )
        self.widget = column(
            title("Result"),
            row(self._all, self._failed, self._again_failed),
            self._table,
            row(self._previous, self._caption.widget, self._next, name="hfnb-turn"),
            self._row.widget,
            self._by_itself,
            self._fold.widget,
            name="hfnb-section",
        )

    def show(self, state: State) -> None:
        """Draw what has changed."""
        show_if(self.widget, state.result is not None and state.tab == "run")
        if state.result is None:
            return
        failed = 0 if state.progress is None else state.progress.failed
        busy = state.running is not None
        for made, label, name in (
            (self._all, f"All {len(state.result):,} rows", "all"),
            (self._failed, f"{failed:,} failed", "failed"),
        ):
            chosen = state.shown == name
            draw(
                made,
                description=f"{'●' if chosen else '○'} {label}",
                button_style="info" if chosen else "",
            )
        draw(self._again_failed, disabled=busy or not failed)
        self._show_page(state)
        self._show_row(state)
        if "code" in state.open:
            draw(self._code, value=_code(state))
        self._fold.show(is_open="code" in state.open)

    def _show_page(self, state: State) -> None:
        wanted = (state.seen, state.shown, state.page, state.look and state.look.at)
        if wanted == self._drawn:
            return
        self._drawn = wanted
        page = page_of(state)
        assert page is not None
        assert state.result is not None
        picked = None if state.look is None else state.look.at
        draw(self._table, value=as_html(page, state.result, picked))
        self._caption.show(caption(page, state.shown))
        draw(self._previous, disabled=state.page <= 0)
        draw(self._next, disabled=state.page >= pages(state) - 1)
        self._offer_rows(page, picked)

    def _offer_rows(self, page: Page, picked: int | None) -> None:
        labels = {}
        for at, line in zip(page.positions, page.lines, strict=True):
            text = f"{line.label}: {', '.join(line.inputs)}".replace("\n", " ")
            labels[text[:_LABEL_LENGTH] + ("…" if len(text) > _LABEL_LENGTH else "")] = at
        if len(labels) < len(page.positions):  # two rows look alike
            labels = {f"position {at}": at for at in page.positions}
        value = next((label for label, at in labels.items() if at == picked), _NO_ROW)
        options = (_NO_ROW, *labels)
        self._positions = labels
        if options != self._row.widget.options or value != self._row.widget.value:
            self._row.change(lambda widget: draw(widget, options=options), value)

    def _show_row(self, state: State) -> None:
        look = state.look
        show_if(self._by_itself, look is not None)
        if look is None:
            return
        draw(
            self._asked,
            value=(
                '<pre tabindex="0" role="region" aria-label="The prompt of the row that is looked '
                f'at">{html.escape(look.asked)}</pre>'
            ),
        )
        self._answer.show(look.answer)
        draw(self._again, disabled=state.running is not None or state.in_use is None)
        draw(self._example, disabled=not look.answer.strip())


def _code(state: State) -> str:
    if state.recipe is None:
        return ""
    try:
        code = code_of(state.recipe)
    except HfnbError as error:
        return f"<div>{html.escape(str(error))}</div>"
    return "".join(
        f'<div class="hfnb-label">{label}</div><pre class="hfnb-code" tabindex="0" role="region" '
        f'aria-label="{label}">{html.escape(text)}</pre>'
        for label, text in (
            ("In Python", code.python),
            ("As a cell, after %load_ext hfnb", code.cell),
        )
    )
