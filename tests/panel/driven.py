"""Drives a panel without a browser, by pressing the buttons that a person would press."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import ipywidgets as widgets

import hfnb
from hfnb.panel.state import State


class Driven:
    """A panel, and what a person does to it. Times are in seconds."""

    def __init__(self, panel: hfnb.Panel) -> None:
        self.panel = panel

    @property
    def state(self) -> State:
        """What the panel knows now."""
        return self.panel._state

    def press(self, label: str) -> None:
        """Press a button, by its text."""
        found = self.button(label)
        assert not found.disabled, label
        found.click()
        self.settle()

    def button(self, label: str) -> widgets.Button:
        """Return the button that has a text, or else contains it."""
        every = self.all(widgets.Button)
        exact = [each for each in every if each.description == label]
        (found,) = exact or [each for each in every if label in each.description]
        return found

    def enter(self, label: str, text: str) -> None:
        """Type into a control, by its label."""
        kinds = (widgets.Text, widgets.Textarea, widgets.Dropdown, widgets.Combobox)
        (found,) = (each for each in self.all(kinds) if each.description == label)
        found.value = text
        self.settle()

    def text(self) -> str:
        """Return all that the panel shows as HTML."""
        return "\n".join(each.value for each in self.all(widgets.HTML))

    def settle(self, timeout_s: float = 30) -> None:
        """Wait until all that has happened is drawn."""
        assert self.panel._loop.rest(timeout_s)

    def until(self, holds: Callable[[State], object], timeout_s: float = 60) -> None:
        """Wait until something holds of the state."""
        end = time.monotonic() + timeout_s
        while not holds(self.state):
            assert time.monotonic() < end, self.state
            time.sleep(0.01)
        self.settle()

    def load(self) -> None:
        """Load the chosen model."""
        self.press("Load")
        self.until(lambda state: state.loading is None)
        assert self.state.model_problem == ""

    def run(self, label: str = "Run ") -> None:
        """Run rows, to the end."""
        (found,) = (
            each.description
            for each in self.all(widgets.Button)
            if each.description.startswith(label) and "again" not in each.description
        )
        self.press(found)
        self.until(lambda state: state.running is None)

    def all(self, kind: type | tuple[type, ...]) -> list[widgets.Widget]:
        """Return the panel's widgets of a kind."""
        return [each for each in _below(self.panel.widget) if isinstance(each, kind)]


def _below(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    yield widget
    for each in getattr(widget, "children", ()):
        yield from _below(each)
