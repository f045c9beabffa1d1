"""The panel's second part: the table, the prompt, one row of it rendered, and how to generate."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from hfnb.panel import events as on
from hfnb.panel.choices import Option
from hfnb.panel.parts import (
    Choose,
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
from hfnb.panel.schema_view import SchemaView
from hfnb.panel.state import State

_MOST_COLUMNS = 40
"""Buttons for columns; more of them would fill the page."""
_CHAT = (Option("auto", "auto"), Option("yes", "yes"), Option("no", "no"))
_GENERATION = (
    ("max_new_tokens", "Max new tokens", "the model's own, or 256"),
    ("temperature", "Temperature", "0: the likeliest token"),
    ("top_p", "Top p", "1"),
    ("seed", "Seed", "none"),
    ("batch_size", "Batch size", "auto"),
)


class PromptView:
    """Shows what is asked of each row, and tells what a person does there.

    Args:
        post: Takes what a person does.
    """

    def __init__(self, post: Callable[[on.Event], Any]) -> None:
        self._post = post
        self._table = Field(
            widgets.Dropdown(description="DataFrame", options=[""]),
            lambda value: post(on.Asked("table", value)),
        )
        refresh = button(
            "Refresh",
            lambda: post(on.RefreshPressed()),
            tip="Look for DataFrames among the notebook's variables again",
        )
        self._prompt = Field(
            widgets.Textarea(
                description="Prompt",
                placeholder="What is the number {i} in french?",
                rows=4,
            ),
            lambda value: post(on.Asked("prompt", value)),
        )
        self._columns = row(name="hfnb-columns")
        self._names: tuple[str, ...] = ()
        self._rendered = widgets.HTML()
        self._rendered.add_class("hfnb-rendered")
        self._tokens = Line("hfnb-note")
        self._previous = button("← row", lambda: post(on.Moved(-1)), tip="Preview the row before")
        self._next = button("row →", lambda: post(on.Moved(1)), tip="Preview the next row")
        self._chat = Choose("Chat template", lambda value: post(on.Asked("chat", value)))
        self._system = Field(
            widgets.Textarea(description="System prompt", placeholder="none", rows=2),
            lambda value: post(on.Asked("system", value)),
        )
        self._into = Field(
            widgets.Text(description="Output column"), lambda value: post(on.Asked("into", value))
        )
        self._options = {name: self._option(name, label, tip) for name, label, tip in _GENERATION}
        self._options["stop"] = Field(
            widgets.Textarea(
                description="Stop strings, one a line",
                placeholder=r"none; \n is the end of a line",
                rows=2,
            ),
            lambda value: post(on.Typed("stop", value)),
        )
        self._problem = Problem()
        self._fold = Fold(
            "Chat and generation options",
            column(
                self._chat.widget,
                self._system.widget,
                row(*(each.widget for each in self._options.values()), name="hfnb-options"),
                self._problem.widget,
            ),
            lambda is_open: post(on.Folded("options", is_open)),
        )
        self._schema = SchemaView(post)
        self.widget = column(
            title("Prompt"),
            row(self._table.widget, refresh, self._into.widget),
            self._prompt.widget,
            self._columns,
            row(self._previous, self._next, self._tokens.widget, name="hfnb-turn"),
            self._rendered,
            self._fold.widget,
            self._schema.widget,
            name="hfnb-section",
        )

    def show(self, state: State) -> None:
        """Draw what has changed."""
        asking = state.asking
        names = [each.name for each in state.tables]
        if asking.table not in names:
            names.insert(0, asking.table)
        if tuple(names) != self._table.widget.options:
            self._table.change(lambda widget: draw(widget, options=tuple(names)), asking.table)
        self._table.show(asking.table)
        self._prompt.show(asking.prompt)
        self._into.show(asking.into)
        self._system.show(asking.system)
        self._chat.show(_CHAT, asking.chat)
        for name, field in self._options.items():
            field.show(asking.option(name))
        self._show_columns(state)
        self._show_rendered(state)
        self._problem.show(state.prompt_problem)
        self._fold.show(is_open="options" in state.open)
        self._schema.show(state)

    def _option(self, name: str, label: str, placeholder: str) -> Field:
        control = widgets.Text(description=label, placeholder=placeholder)
        return Field(control, lambda value: self._post(on.Typed(name, value)))

    def _show_columns(self, state: State) -> None:
        table = state.table
        every = () if table is None else table.columns
        usable = tuple(each for each in every if each and not set(each) & set("{}:!"))
        names = usable[:_MOST_COLUMNS]
        if names != self._names:
            self._names = names
            self._columns.children = [self._column(each) for each in names]
        show_if(self._columns, bool(names))

    def _column(self, name: str) -> widgets.Button:
        return button(
            f"{{{name}}}",
            lambda: self._post(on.ColumnAdded(name)),
            tip=f"Put the column {name} at the end of the prompt",
        )

    def _show_rendered(self, state: State) -> None:
        rendered, table = state.rendered, state.table
        rows = 0 if table is None else table.rows
        draw(self._previous, disabled=state.at <= 0)
        draw(self._next, disabled=state.at >= rows - 1)
        text, note = "", "There is no DataFrame yet: make one in a cell."
        if table is not None:
            note = f"row {state.at + 1:,} of {rows:,}" if rows else f"{table.name} has no row"
        if rendered is not None and rows:
            text = rendered.text
            if rendered.problem:
                note = f"{note} · {rendered.problem}"
            elif rendered.tokens is not None:
                note += f" · {rendered.tokens:,} tokens"
            elif text:
                note += " · tokens are counted once a model is loaded"
        self._tokens.show(note)
        draw(
            self._rendered,
            value=(
                '<pre tabindex="0" role="region" aria-label="The prompt of this row">'
                f"{html.escape(text)}</pre>"
            ),
        )
