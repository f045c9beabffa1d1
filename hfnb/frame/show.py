"""Results as a person sees them: a table of text, and one of HTML in the notebook's own colours."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import pandas as pd

from hfnb.frame.cells import is_null, text_of
from hfnb.frame.progress import duration
from hfnb.frame.stats import RunStats
from hfnb.show import BAD, QUIET, text_table

_ROWS = 10
_FAILED = 5
_TEXT_WIDTH = 60
_HTML_LENGTH = 300
_MARKS = {
    "error": ("✗", BAD),
    "skipped": ("\N{EN DASH}", QUIET),
    "cancelled": ("\N{EN DASH}", QUIET),
}
"""How a row without an output is marked: by a sign, and by JupyterLab's own colour."""


Shown = Mapping[str, Mapping[int, Any]]
"""The values of output columns, by name and position, of the rows that are shown."""


class View(NamedTuple):
    """What is to be shown of a result."""

    frame: pd.DataFrame
    """The input."""
    outputs: Shown
    rows: pd.DataFrame
    columns: tuple[str, ...]
    """The columns of the prompt."""
    stats: RunStats


class Line(NamedTuple):
    """A row of a result, as a person reads it."""

    label: str
    """What the row is called in the frame's index."""
    inputs: tuple[str, ...]
    """The values of the prompt's columns."""
    outputs: tuple[str, ...]
    """The values of the output columns, empty where the row has none."""
    reason: str
    """Why there is none: the error, or why the row was skipped."""
    latency: str
    status: str

    @property
    def text(self) -> str:
        """The output in one cell."""
        return " · ".join(filter(None, self.outputs))


def shown_rows(rows: pd.DataFrame) -> list[int]:
    """Return the positions to show: the first rows, and the first failures after them."""
    first = list(range(min(_ROWS, len(rows))))
    later = [int(at) for at in (rows["status"] == "error").to_numpy().nonzero()[0]]
    return first + [at for at in later if at >= _ROWS][:_FAILED]


def lines_of(
    frame: pd.DataFrame,
    columns: Sequence[str],
    outputs: Shown,
    rows: pd.DataFrame,
    at: Iterable[int],
) -> list[Line]:
    """Return some rows as a person reads them.

    Args:
        frame: The input.
        columns: The columns of the prompt.
        outputs: The output columns, with the values of the wanted rows.
        rows: What `RunResult.rows` has, likewise.
        at: The positions of the wanted rows.
    """
    lines = []
    for position in at:
        row = rows.iloc[position]
        ok = row["status"] == "ok"
        lines.append(
            Line(
                label=_cell(frame.index[position]),
                inputs=tuple(_cell(frame[name].iloc[position]) for name in columns),
                outputs=tuple(_cell(each[position]) if ok else "" for each in outputs.values()),
                reason=_cell(row["error"]),
                latency="" if pd.isna(row["latency_s"]) else duration(float(row["latency_s"])),
                status=str(row["status"]),
            )
        )
    return lines


def _lines(view: View) -> list[Line]:
    """Return each shown row; of one without outputs the first says why."""
    shown = lines_of(view.frame, view.columns, view.outputs, view.rows, shown_rows(view.rows))
    return [
        each
        if each.status == "ok"
        else each._replace(
            outputs=(f"{each.status}: {each.reason}".rstrip(": "), *each.outputs[1:])
        )
        for each in shown
    ]


def _cell(value: Any) -> str:
    try:
        return "" if is_null(value) else text_of(value)
    except Exception:  # the value's own code runs here, and a result must always be shown
        return f"<{type(value).__name__}>"


def _caption(view: View) -> str:
    shown, total = len(shown_rows(view.rows)), view.stats.rows
    if shown == total:
        return ""
    more = f": the first {_ROWS}, and the first that failed after them" if shown > _ROWS else ""
    return f"{shown} of {total:,} rows{more}"


def as_text(view: View) -> str:
    """Return a result as lines of text."""
    head = ["", *view.columns, *view.outputs, "latency"]
    body = [[each.label, *each.inputs, *each.outputs, each.latency] for each in _lines(view)]
    text = text_table(list(map(_cut, head)), (list(map(_cut, line)) for line in body))
    return "\n".join(part for part in (text, _caption(view), "", str(view.stats)) if part != "")


def _cut(text: str) -> str:
    return text if len(text) <= _TEXT_WIDTH else text[: _TEXT_WIDTH - 1] + "…"


def as_html(view: View) -> str:
    """Return a result as HTML. All text of the data and the model is escaped."""
    head = "".join(
        f'<th scope="col" style="text-align: left">{html.escape(str(name))}</th>'
        for name in ("", *view.columns, *view.outputs, "latency")
    )
    body = "".join(map(_html_row, _lines(view)))
    caption = _caption(view)
    note = f"<p><small>{html.escape(caption)}</small></p>" if caption else ""
    return (
        '<div class="hfnb-result"><table class="dataframe">'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{note}"
        f"{view.stats._repr_html_()}</div>"
    )


def _html_row(line: Line) -> str:
    mark, colour = _MARKS.get(line.status, ("", ""))
    outputs = list(map(_html_text, line.outputs))
    if mark:
        outputs[0] = f'<span style="color: {colour}"><strong>{mark}</strong> {outputs[0]}</span>'
    cells = [*map(_html_text, line.inputs), *outputs]
    filled = "".join(f'<td style="text-align: left">{cell}</td>' for cell in cells)
    return (
        f'<tr><th scope="row">{_html_text(line.label)}</th>{filled}'
        f'<td style="text-align: right; white-space: nowrap">{html.escape(line.latency)}</td></tr>'
    )


def _html_text(text: str) -> str:
    if len(text) > _HTML_LENGTH:
        text = text[: _HTML_LENGTH - 1] + "…"
    return f'<span style="white-space: pre-wrap">{html.escape(text)}</span>'
