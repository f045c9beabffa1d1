"""What a saved notebook keeps of a panel: its last result, as an ordinary output below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hfnb.panel.style import stylesheet

if TYPE_CHECKING:
    from hfnb.frame.result import RunResult


class Kept:
    """An output below the panel. It is hidden as long as the panel is in the page.

    A reopened notebook, or one on a code host, has no widgets, and shows this instead.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def display(self) -> None:
        """Put the output into the cell, empty as yet."""
        from IPython.display import display

        self._handle = display(  # type: ignore[no-untyped-call]
            _bundle(None), raw=True, display_id=True
        )

    def keep(self, result: RunResult | None) -> None:
        """Replace the output by a result."""
        if self._handle is not None and result is not None:
            self._handle.update(_bundle(result), raw=True)


def _bundle(result: RunResult | None) -> dict[str, str]:
    shown = "" if result is None else result._repr_html_()
    return {
        "text/plain": "no run yet" if result is None else repr(result),
        "text/html": f'<div class="hfnb-kept">{stylesheet("kept.css")}{shown}</div>',
    }
