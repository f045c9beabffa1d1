"""The fields of an answer: a small editor that says which columns they will make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import ipywidgets as widgets

from hfnb.panel import events as on
from hfnb.panel.parts import Field, Fold, Line, button, column, row
from hfnb.panel.schema import KINDS, columns_to_come
from hfnb.panel.state import SchemaField, State


class SchemaView:
    """Shows the fields of an answer, and tells what a person does there.

    Args:
        post: Takes what a person does.
    """

    def __init__(self, post: Callable[[on.Event], Any]) -> None:
        self._post = post
        self._rows = column()
        self._fields: list[dict[str, Field]] = []
        self._columns = Line("hfnb-note", live=True)
        body = column(
            self._rows,
            row(button("Add a field", lambda: post(on.FieldAdded()))),
            self._columns.widget,
        )
        self._fold = Fold(
            "Columns instead of text", body, lambda is_open: post(on.Folded("schema", is_open))
        )
        self._said: tuple[object, str] = (None, "")
        self.widget = self._fold.widget

    def show(self, state: State) -> None:
        """Draw what has changed."""
        is_open = "schema" in state.open
        self._fold.show(is_open=is_open)
        if not is_open:
            return
        fields = state.asking.fields
        if len(fields) != len(self._fields):
            made = [self._made(at, each) for at, each in enumerate(fields)]
            self._fields = [controls for controls, _ in made]
            self._rows.children = [widget for _, widget in made]
        for controls, field in zip(self._fields, fields, strict=True):
            for part, control in controls.items():
                control.show(getattr(field, part))
        if self._said[0] != (fields, state.asking.into):
            self._said = ((fields, state.asking.into), columns_to_come(state.asking))
        self._columns.show(self._said[1])

    def _made(self, at: int, field: SchemaField) -> tuple[dict[str, Field], widgets.Widget]:
        controls = {
            "name": self._control(
                at, "name", widgets.Text(description=f"Field {at + 1}", value=field.name)
            ),
            "kind": self._control(
                at,
                "kind",
                widgets.Dropdown(description="Type", options=KINDS, value=field.kind),
            ),
            "choices": self._control(
                at,
                "choices",
                widgets.Text(description="Choices", placeholder="good|bad", value=field.choices),
            ),
        }
        remove = button(
            "Remove", lambda: self._post(on.FieldRemoved(at)), tip=f"Remove field {at + 1}"
        )
        return controls, row(*(each.widget for each in controls.values()), remove)

    def _control(
        self, at: int, part: Literal["name", "kind", "choices"], widget: widgets.Widget
    ) -> Field:
        return Field(widget, lambda value: self._post(on.FieldSet(at, part, value)))
