"""A preview as a person sees it: as lines of text, and as HTML in the notebook's own colours."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from hfnb.frame.forecast import Estimate, Forecast
from hfnb.frame.progress import duration, number
from hfnb.show import BAD, QUIET, printable, size

if TYPE_CHECKING:
    from hfnb.frame.preview import Preview

_LONGEST = 1_500
"""Characters of a prompt or an output that are shown."""
_FILL = "var(--jp-layout-color2, rgba(128, 128, 128, 0.12))"


class _Row(NamedTuple):
    head: str
    prompt: str
    output: str
    ok: bool


def lines(preview: Preview) -> list[tuple[str, str]]:
    """Return the figures: a label and its text each."""
    shown = [("rows", _rows(preview)), ("tokens", _tokens(preview))]
    forecast = preview.forecast
    if forecast is not None:
        shown += [("time", _time(forecast)), ("memory", _memory(forecast, preview.free_bytes))]
        if forecast.waves:
            shown.append(("measured", _measured(forecast)))
    info = preview.outputs.stats
    shown.append(("model", " · ".join((info.model, info.backend, info.dtype, info.device))))
    shown += [("note", each) for each in preview.notes]
    return shown


def as_text(preview: Preview) -> str:
    """Return a preview as lines of text."""
    parts = [f"{label:<9} {printable(text)}" for label, text in lines(preview)]
    for row in _shown(preview):
        parts += ["", row.head, _indented(row.prompt), "->", _indented(row.output)]
    return "\n".join(parts)


def as_html(preview: Preview) -> str:
    """Return a preview as HTML. All text of the data and the model is escaped."""
    figures = "".join(
        '<tr><th scope="row" style="text-align: left; vertical-align: top; '
        f'padding: 1px 12px 1px 0">{html.escape(label)}</th>'
        f'<td style="text-align: left; padding: 1px 0">{html.escape(text)}</td></tr>'
        for label, text in lines(preview)
    )
    rows = "".join(map(_html_row, _shown(preview)))
    return (
        '<div class="hfnb-preview"><table style="border: none; margin-bottom: 8px">'
        f"{figures}</table>{rows}</div>"
    )


def _html_row(row: _Row) -> str:
    style = "white-space: pre-wrap; overflow-wrap: anywhere; margin: 2px 0; padding: 4px 8px"
    colour = "" if row.ok else f"; color: {BAD}"
    return (
        f'<div style="margin: 8px 0; max-width: 960px"><div style="color: {QUIET}">'
        f"<small>{html.escape(row.head)}</small></div>"
        f'<pre style="{style}; background: {_FILL}">{html.escape(row.prompt)}</pre>'
        f'<pre style="{style}{colour}">{html.escape(row.output)}</pre></div>'
    )


def _shown(preview: Preview) -> Iterator[_Row]:
    result = preview.outputs
    table, outputs = result.rows, result._run.store.outputs
    for at, prompt in enumerate(preview.prompts):
        row = table.iloc[at]
        ok = row["status"] == "ok"
        text = str(outputs[at]) if ok else f"{row['status']}: {row['error']}"
        counts = [
            f"{int(row[name]):,} {unit}"
            for name, unit in (("prompt_tokens", "prompt tokens"), ("new_tokens", "new"))
            if not pd.isna(row[name])
        ]
        if row["finish_reason"] == "length":
            counts.append("cut off by max_new_tokens")
        if row["source"] == "journal":
            counts.append("from the journal")
        head = " · ".join((f"row {table.index[at]}", *counts))
        yield _Row(head, _cut(prompt), _cut(text), ok)


def _rows(preview: Preview) -> str:
    """Say how many rows there are, and what will become of them."""
    about = "" if preview.exact else "about "
    in_all = "about " if preview.is_excerpt else ""
    parts = []
    if preview.forecast is not None:
        parts.append(f"{about}{preview.forecast.rows:,} to compute")
    for count, text, counted in (
        (preview.null, "with a null", in_all),
        (preview.too_long, "too long", about),
        (preview.unusable, "without a usable prompt", about),
        (preview.duplicates, "with the values of another row", in_all),
        (preview.in_journal, "in the journal", about),
    ):
        if count:
            parts.append(f"{counted}{count:,} {text}")
    return f"{preview.rows:,}: {' · '.join(parts)}" if parts else f"{preview.rows:,}"


def _tokens(preview: Preview) -> str:
    lengths = preview.lengths
    if not lengths:
        return "no prompt"
    p50, p95 = np.percentile(lengths, [50, 95])
    text = f"prompts of {min(lengths):,} to {max(lengths):,} · median {p50:,.0f} · p95 {p95:,.0f}"
    if preview.most_tokens is not None:
        text += f" · at most {preview.most_tokens:,}"
    if preview.forecast is not None and preview.forecast.waves:
        new = preview.forecast.new_tokens
        text += f" · answers of {number(new.likely)} on average"
    if not preview.exact:
        text += f" (of {preview.looked_at:,} random rows)"
    return text


def _time(forecast: Forecast) -> str:
    text = _range(forecast.seconds, duration)
    if forecast.rows and forecast.seconds.likely > 0:
        text += f" · {number(forecast.rows / forecast.seconds.likely)} rows/s"
    return text


def _memory(forecast: Forecast, free: int) -> str:
    text = f"peak {_range(forecast.memory, lambda value: size(round(value)))}"
    if forecast.device_memory is not None:
        on = _range(forecast.device_memory, lambda value: size(round(value)))
        text += f" · on the accelerator {on}"
    return f"{text} · {size(free)} free now"


def _measured(forecast: Forecast) -> str:
    together = max(each.together for each in forecast.waves)
    beside = f", up to {together:,} together" if together > 1 else ""
    return (
        f"{forecast.measured_rows:,} rows in {duration(forecast.measured_s)}{beside}; other work "
        "on this machine changes the time"
    )


def _range(estimate: Estimate, shown: Callable[[float], str]) -> str:
    low, likely, high = map(shown, estimate)
    return f"about {likely}" if low == high else f"about {likely} ({low} to {high})"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _indented(text: str) -> str:
    return "\n".join(f"    {printable(line)}" for line in text.split("\n"))
