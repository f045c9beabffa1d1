"""One page of a result: its rows as a table of HTML, and what a screen reader says of it."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from hfnb.panel.reduce import PAGE_ROWS
from hfnb.panel.state import State

if TYPE_CHECKING:
    from hfnb.frame.result import RunResult
    from hfnb.frame.show import Line

_LENGTH = 600
"""Characters of a cell; the row by itself shows all."""
_MARKS = {"error": "✗ failed", "skipped": "\N{EN DASH} skipped"}
_WAITS = "waits"


class Page(NamedTuple):
    """Rows of a result."""

    positions: tuple[int, ...]
    lines: tuple[Line, ...]
    columns: tuple[str, ...]
    """The columns of the prompt."""
    outputs: tuple[str, ...]
    """The output columns."""
    total: int
    """The rows of all pages."""
    first: int
    """The number of the page's first row among them, from 0."""


def page_of(state: State) -> Page | None:
    """Return the page that is shown; ``None`` without a result."""
    result = state.result
    if result is None:
        return None
    every: Sequence[int] = range(len(result))
    if state.shown == "failed":
        every = result.positions("error")
    first = min(state.page * PAGE_ROWS, max(0, (len(every) - 1) // PAGE_ROWS * PAGE_ROWS))
    positions = tuple(int(each) for each in every[first : first + PAGE_ROWS])
    return Page(
        positions, tuple(result.lines(positions)), result.columns, result.outputs, len(every), first
    )


def caption(page: Page, shown: str) -> str:
    """Return which rows a page shows, such as ``"rows 1-10 of 400"``."""
    what = "failed rows" if shown == "failed" else "rows"
    if not page.total:
        return f"no {what}"
    last = page.first + len(page.positions)
    return f"{what} {page.first + 1:,}\N{EN DASH}{last:,} of {page.total:,}"


def as_html(page: Page, result: RunResult, row: int | None) -> str:
    """Return a page as a table; all text of the data and the model is escaped."""
    names = ("row", *page.columns, *page.outputs)
    head = "".join(f'<th scope="col">{html.escape(str(each))}</th>' for each in names)
    head += '<th scope="col" class="hfnb-number">latency</th>'
    body = "".join(
        _row(line, at == row, len(page.outputs), running=result.running)
        for at, line in zip(page.positions, page.lines, strict=True)
    )
    empty = f'<tr><td colspan="{len(names) + 1}">no row</td></tr>'
    return (
        '<div class="hfnb-table" tabindex="0" role="region" aria-label="Rows of the result">'
        f"<table><thead><tr>{head}</tr></thead><tbody>{body or empty}</tbody></table></div>"
    )


def _row(line: Line, picked: bool, outputs: int, *, running: bool) -> str:
    status = line.status
    mark = _MARKS.get(status, "")
    if status == "cancelled":
        mark = _WAITS if running else "\N{EN DASH} not reached"
    if status == "ok":
        shown = "".join(f"<td>{_cell(each)}</td>" for each in line.outputs)
    else:
        span = f' colspan="{outputs}"' if outputs > 1 else ""
        shown = f"<td{span}>{_cell(line.reason, mark)}</td>"
    inputs = "".join(f"<td>{_cell(each)}</td>" for each in line.inputs)
    classes = f"hfnb-{status}" + (" hfnb-picked" if picked else "")
    return (
        f'<tr class="{classes}"><th scope="row">{_cell(line.label)}</th>{inputs}'
        f'{shown}<td class="hfnb-number">{html.escape(line.latency)}</td></tr>'
    )


def _cell(text: str, mark: str = "") -> str:
    shown = text if len(text) <= _LENGTH else text[: _LENGTH - 1] + "…"
    marked = f'<span class="hfnb-mark">{mark}</span> ' if mark else ""
    return f"<div>{marked}{html.escape(shown)}</div>"
