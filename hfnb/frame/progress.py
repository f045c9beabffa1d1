"""Show how a run goes: in a notebook, in a terminal, or in a log, without flooding any.

The worker never draws. The waiting thread draws snapshots, at most four times a second.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TextIO

from hfnb.errors import OptionError
from hfnb.show import in_notebook

DRAW_EVERY_S = 0.25
_LOG_EVERY_S = 30.0


class Progress(NamedTuple):
    """How far a run is."""

    done: int
    """Rows that have a status."""
    total: int | None
    """Rows in all; ``None`` while the end of an iterator is not in sight."""
    failed: int
    elapsed_s: float
    """Seconds since the run began."""
    reused: int = 0
    """Rows among `done` that an earlier run has ended."""
    answered: int = 0
    """Rows among `done` that this run has answered: no failed ones, and none without a prompt."""

    @property
    def rows_per_s(self) -> float:
        """Rows answered in a second, so far; of identical ones, each counts."""
        return self._a_second(self.answered)

    @property
    def left_s(self) -> float | None:
        """Seconds left as rows have ended so far; ``None`` before the first, or without a total."""
        pace = self._a_second(self.done - self.reused)
        return (self.total - self.done) / pace if pace > 0 and self.total is not None else None

    def _a_second(self, rows: int) -> float:
        return rows / self.elapsed_s if self.elapsed_s > 0 else 0.0

    def __str__(self) -> str:
        """Return one line: rows, rate, time left, failures."""
        total = "" if self.total is None else f"/{self.total:,}"
        parts = [f"{self.done:,}{total} rows"]
        if self.answered:
            parts.append(f"{number(self.rows_per_s)} rows/s")
        if self.total is not None and self.done >= self.total:
            parts.append(duration(self.elapsed_s))
        elif self.left_s is not None:
            parts.append(f"{duration(self.left_s)} left")
        parts.append(f"{self.failed:,} failed")
        return " · ".join(parts)


def number(value: float) -> str:
    """Return a number with about three digits that matter."""
    if value >= 99.95:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2g}"


def duration(seconds: float) -> str:
    """Return a time span as a person would say it.

    Example:
        >>> duration(0.0421), duration(75), duration(7300)
        ('42.1 ms', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 0.9995:
        return f"{seconds * 1000:.3g} ms" if seconds >= 0.001 else f"{seconds * 1000:.2g} ms"
    if seconds < 59.95:
        return f"{seconds:.3g} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Display(Protocol):
    """Shows snapshots of a run."""

    def update(self, progress: Progress) -> None:
        """Show how far the run is."""

    def close(self, progress: Progress) -> None:
        """Show how the run ended."""


class Silent:
    """Shows nothing."""

    def update(self, progress: Progress) -> None:
        """Show nothing."""

    def close(self, progress: Progress) -> None:
        """Show nothing."""


class Callback:
    """Calls the user's function with each snapshot."""

    def __init__(self, function: Callable[[Progress], Any]) -> None:
        self._function = function

    def update(self, progress: Progress) -> None:
        """Call the function."""
        self._function(progress)

    def close(self, progress: Progress) -> None:
        """Call the function for the last time."""
        self._function(progress)


class Notebook:
    """One output of the cell, replaced in place; a saved notebook keeps the last line alone.

    There is none before the first update, so that a call that is refused leaves none behind.
    """

    def __init__(self) -> None:
        self._handle: Any = None

    def update(self, progress: Progress) -> None:
        """Put the output into the cell, or replace it."""
        from IPython.display import display

        if self._handle is None:
            self._handle = display(  # type: ignore[no-untyped-call]
                self._bundle(progress), raw=True, display_id=True
            )
        else:
            self._handle.update(self._bundle(progress), raw=True)

    def close(self, progress: Progress) -> None:
        """Replace the output for the last time."""
        self.update(progress)

    @staticmethod
    def _bundle(progress: Progress) -> dict[str, str]:
        text = str(progress)
        share = progress.done / progress.total if progress.total else 0.0
        html = (
            '<div style="font-family: var(--jp-ui-font-family, sans-serif); '
            'font-size: var(--jp-ui-font-size1, 13px)">'
            '<div style="height: 4px; border-radius: 2px; max-width: 480px; margin: 4px 0; '
            'background: var(--jp-layout-color3, #bdbdbd)" aria-hidden="true">'
            f'<div style="height: 4px; border-radius: 2px; width: {share:.1%}; '
            'background: var(--jp-brand-color1, #1976d2)"></div></div>'
            f'<div role="status" style="color: var(--jp-ui-font-color1, inherit)">{text}</div>'
            "</div>"
        )
        return {"text/plain": text, "text/html": html}


class Terminal:
    """One line, written over itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._width = 0

    def update(self, progress: Progress) -> None:
        """Write over the line."""
        text = str(progress)[: self._columns()]
        self._stream.write("\r" + text.ljust(self._width))
        self._stream.flush()
        self._width = len(text)

    def close(self, progress: Progress) -> None:
        """Write the line for the last time, and end it."""
        self.update(progress)
        self._stream.write("\n")
        self._stream.flush()

    def _columns(self) -> int | None:
        """Return the longest line that does not wrap: a wrapped one can't be written over."""
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except (OSError, ValueError):
            return None
        return columns - 1 if columns > 1 else None


class Log:
    """A line every half minute, for output that goes to a file."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = time.perf_counter()

    def update(self, progress: Progress) -> None:
        """Write a line, if the last one is old enough."""
        now = time.perf_counter()
        if now - self._last >= _LOG_EVERY_S:
            self._last = now
            self._stream.write(f"hfnb: {progress}\n")
            self._stream.flush()

    def close(self, progress: Progress) -> None:
        """Write nothing: the result says how it ended."""


def display_for(progress: object) -> Display:
    """Return the display for ``progress``: True or ``"auto"``, False, or a function."""
    if progress is False:
        return Silent()
    if progress is True or progress == "auto":
        if in_notebook():
            return Notebook()
        stream: TextIO | None = sys.stderr
        if stream is None:  # a program without a console
            return Silent()
        return Terminal(stream) if stream.isatty() else Log(stream)
    if callable(progress):
        return Callback(progress)
    raise OptionError(f"progress is True, False, or a function of a Progress; not {progress!r}.")
