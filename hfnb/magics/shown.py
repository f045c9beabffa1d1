"""What a cell shows of the value that it returns, where that is not the value's own picture."""

from __future__ import annotations

from typing import Any


class Shown:
    """Shows one value as something else, until its cell has ended.

    A ``%%hfnb`` cell returns a DataFrame, so that ``_`` and ``Out`` have it, and shows the result
    it came from, with latency and figures. Nothing is put on the frame itself.

    Args:
        shell: The IPython shell.
    """

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._value: Any = None
        self._bundle: dict[str, str] = {}
        self._before: Any = None

    def show(self, value: Any, picture: Any) -> Any:
        """Return the value, to be returned by the magic, and show ``picture`` in its place.

        Args:
            value: What the magic returns.
            picture: Something with ``repr`` and ``_repr_html_``.
        """
        self.forget()
        self._value = value
        self._bundle = {"text/plain": repr(picture), "text/html": picture._repr_html_()}
        self._before = self._formatter.for_type(type(value), self._draw)
        return value

    def forget(self, *_: Any) -> None:
        """Show everything as itself again."""
        if self._value is None:
            return
        kind = type(self._value)
        if self._before is None:
            self._formatter.pop(kind, None)
        else:
            self._formatter.for_type(kind, self._before)
        self._value, self._bundle, self._before = None, {}, None

    def _draw(self, value: Any) -> Any:
        if value is self._value:
            return self._bundle
        return self._before(value) if self._before is not None else None

    @property
    def _formatter(self) -> Any:
        return self._shell.display_formatter.mimebundle_formatter
