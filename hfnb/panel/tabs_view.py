"""What is done with the model and the prompt: rows are run, or models are compared."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfnb.panel import events as on
from hfnb.panel.choices import Option
from hfnb.panel.parts import Choose
from hfnb.panel.state import State

_TABS = (Option("run", "Run"), Option("compare", "Compare"))


class TabsView:
    """Shows the tabs, and tells which one a person picks.

    Args:
        post: Takes what a person does.
    """

    def __init__(self, post: Callable[[on.Event], Any]) -> None:
        self._tabs = Choose(
            "What to do",
            lambda value: post(on.TabPicked("compare" if value == "compare" else "run")),
        )
        self.widget = self._tabs.widget

    def show(self, state: State) -> None:
        """Draw what has changed."""
        self._tabs.show(_TABS, state.tab)
