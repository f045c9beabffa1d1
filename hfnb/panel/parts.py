"""The panel's pieces: plain ipywidgets with a label each, drawn only where they change."""

from __future__ import annotations

import html
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets as widgets

from hfnb.panel.choices import Option

Press = Callable[[], Any]
Tell = Callable[[str], Any]


def column(*children: widgets.Widget, name: str = "") -> widgets.VBox:
    """Return a box whose children stand below one another."""
    return _named(widgets.VBox(children), name)


def row(*children: widgets.Widget, name: str = "") -> widgets.HBox:
    """Return a box whose children stand side by side, and wrap."""
    return _named(widgets.HBox(children), f"hfnb-row {name}")


def title(text: str) -> widgets.HTML:
    """Return a section's title."""
    return widgets.HTML(f'<h3 class="hfnb-title">{html.escape(text)}</h3>')


def button(label: str, press: Press, *, tip: str = "", primary: bool = False) -> widgets.Button:
    """Return a button that is named by its text."""
    made = widgets.Button(description=label, tooltip=tip, button_style="primary" if primary else "")
    made.on_click(lambda _button: press())
    return made


def draw(widget: widgets.Widget, **values: Any) -> None:
    """Set those of a widget's traits that differ; each that is set is a message to the browser."""
    for name, value in values.items():
        if getattr(widget, name) != value:
            setattr(widget, name, value)


def show_if(widget: widgets.Widget, shown: bool) -> None:
    """Show a widget, or take it out of the page."""
    draw(widget.layout, display=None if shown else "none")


def _named(widget: Any, names: str) -> Any:
    for each in names.split():
        widget.add_class(each)
    return widget


class Line:
    """A line of text that keeps its place when it is empty.

    Args:
        name: A class for the style sheet: ``"hfnb-note"``, ``"hfnb-problem"``, ...
        live: Whether a screen reader says it when it changes.
    """

    def __init__(self, name: str, *, live: bool = False) -> None:
        self.widget = _named(widgets.HTML(), name)
        self._role = ' role="status"' if live else ""

    def show(self, text: str, *, mark: str = "") -> None:
        """Show a text, escaped, with a mark in front of it."""
        shown = f"{mark} {text}".strip()
        draw(self.widget, value=f"<div{self._role}>{html.escape(shown)}</div>")


class Problem(Line):
    """A line that says what went wrong; it takes no room while nothing has."""

    def __init__(self) -> None:
        super().__init__("hfnb-problem", live=True)

    def show(self, text: str, *, mark: str = "✗") -> None:
        """Show a problem; none, where the text is empty."""
        super().show(text, mark=mark if text else "")
        show_if(self.widget, bool(text))


class Field:
    """A control that holds a text: what is typed is told, what the state says is shown.

    A text that comes back from the state is not written again: somebody may have typed on.

    Args:
        widget: A widget whose ``value`` is a text.
        tell: Called with what a person has typed or chosen.
    """

    def __init__(self, widget: widgets.Widget, tell: Tell) -> None:
        self.widget = widget
        self._tell = tell
        self._shown = widget.value
        self._told: deque[str] = deque()
        self._drawing = 0
        """The thread that changes the control; what it sets, nobody has typed."""
        widget.observe(self._typed, "value")

    def change(self, how: Callable[[Any], Any], value: str) -> None:
        """Change the control itself, such as what a list offers; it then holds ``value``."""
        self._drawing = threading.get_ident()
        try:
            how(self.widget)
            draw(self.widget, value=value)
        finally:
            self._drawing = 0
        self._shown = value

    def show(self, value: str) -> None:
        """Show what the state says."""
        if value in self._told:  # what was typed has come back
            while self._told.popleft() != value:
                pass
        elif value != self._shown:
            self.change(lambda _: None, value)
        self._shown = value

    def _typed(self, change: Any) -> None:
        if self._drawing != threading.get_ident():
            self._told.append(change["new"])
            self._tell(change["new"])


class Choose:
    """A row of buttons, of which one is chosen. One that can't be is disabled; a line says why.

    Args:
        label: What is chosen.
        tell: Called with the value of the button that was pressed.
    """

    def __init__(self, label: str, tell: Tell) -> None:
        self._label, self._tell = label, tell
        self._buttons = widgets.HBox()
        _named(self._buttons, "hfnb-choices")
        name = widgets.HTML(f'<span class="hfnb-label">{html.escape(label)}</span>')
        self.widget = column(name, self._buttons, name="hfnb-choose")
        self._values: tuple[str, ...] = ()

    def show(self, options: Sequence[Option], value: str) -> None:
        """Show the options, and which one is chosen."""
        values = tuple(each.value for each in options)
        if values != self._values:
            self._values = values
            self._buttons.children = [self._made(each.value) for each in options]
        for made, each in zip(self._buttons.children, options, strict=True):
            chosen = each.value == value
            draw(
                made,
                description=f"{'●' if chosen else '○'} {each.label}",
                disabled=bool(each.why_not) and not chosen,
                tooltip=f"{self._label}: {each.label}. {each.why_not}".strip(". ") + ".",
                button_style="info" if chosen else "",
            )

    def _made(self, value: str) -> widgets.Button:
        return button(value, lambda: self._tell(value))


class Fold:
    """Something behind a button that opens and closes it.

    Args:
        label: What is behind it.
        body: It.
        tell: Called with whether it is to be open.
    """

    def __init__(self, label: str, body: widgets.Widget, tell: Callable[[bool], Any]) -> None:
        self._label, self._body, self._open = label, body, False
        self._button = _named(button("", lambda: tell(not self._open)), "hfnb-fold")
        self.widget = column(self._button, body)
        self.show(is_open=False)

    def show(self, *, is_open: bool) -> None:
        """Open or close it."""
        self._open = is_open
        word = "hide" if is_open else "show"
        draw(
            self._button,
            description=f"{'▾' if is_open else '▸'} {self._label}",
            tooltip=f"{word} {self._label.lower()}",
        )
        show_if(self._body, is_open)
