"""A comparison as text for a notebook, an issue or a paper: a summary, Markdown, HTML, JSON."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfnb.comparing.agreement import REFERENCE
from hfnb.errors import OptionError, listing
from hfnb.frame.progress import duration, number
from hfnb.show import html_table, printable, size

if TYPE_CHECKING:
    from hfnb.comparing.comparison import Comparison

Table = tuple[list[str], list[list[str]]]
_PICTURES = ("overview", "latency", "memory")


def summary(comparison: Comparison) -> tuple[list[str], list[list[str]], list[str]]:
    """Return the table that a comparison shows itself as, and the lines below it."""
    head, rows = _figures(comparison)
    quality, of_candidate = comparison.quality
    if of_candidate:
        head.append(quality)
        for row in rows:
            found = of_candidate.get(row[0])
            row.append("" if found is None or math.isnan(found) else f"{found:.1%}")
    return head, rows, _notes(comparison)


def _figures(comparison: Comparison) -> Table:
    """Return the figures that a person wants to see first."""
    head = ["candidate", "loads in", "first token", "rows/s", "p50", "p95", "memory", "on disk"]
    stats, rows = comparison.stats, []
    device = bool(stats["peak_device_bytes"].notna().any())
    if device:
        head.insert(-1, "on device")
    for label, line in stats.iterrows():
        if not line["rounds"]:
            rows.append([str(label), str(line["status"]), *[""] * (len(head) - 2)])
            continue
        speed = number(line["rows_per_s"])
        if line["rounds"] > 1:
            low, high = line["rows_per_s_low"], line["rows_per_s_high"]
            speed += f" ({number(low)}-{number(high)})"
        times = ("load_s", "ttft_s", "latency_p50_s", "latency_p95_s")
        load, first, p50, p95 = (_time(line[name]) for name in times)
        memory = [_size(line["peak_rss_bytes"])]
        if device:
            memory.append(_size(line["peak_device_bytes"]))
        rows.append([str(label), load, first, speed, p50, p95, *memory, _size(line["disk_bytes"])])
    return head, rows


def _notes(comparison: Comparison) -> list[str]:
    stats, notes = comparison.stats, []
    for label, line in stats.iterrows():
        if line["status"] != "ok":
            notes.append(f"{label}: {line['status']}: {line['reason']}")
        elif line["failed"]:
            notes.append(f"{label}: {line['failed']:,} rows failed, such as: {line['reason']}")
        if line["export_s"] > 0:
            notes.append(f"{label}: exported first, once, in {duration(line['export_s'])}")
    rounds = int(stats["rounds"].max()) if len(stats) else 0
    count = len(comparison._given.frame)
    told = f"{count:,} rows"
    if rounds > 1:
        told += f", medians of {rounds} rounds (least-greatest)"
    notes.append(
        f"{told}; each candidate in a process of its own, whose memory this is: it imports PyTorch "
        "or OpenVINO while it loads, and other prompts warm it before the rows"
    )
    return notes


_MEASURES = {
    "exact_match": "exact match",
    "edit_similarity": "edit similarity",
    "token_f1": "token F1",
    "mean_difference": "mean difference",
}


def _agreement(comparison: Comparison) -> Table:
    table = comparison.agreement
    head = ["candidate", "compared with", "rows"]
    by_field = "field" in table.columns and table["field"].ne("").any()
    if by_field:
        head.insert(2, "field")
    measures = [name for name in _MEASURES if name in table and table[name].notna().any()]
    rows = []
    for line in table.to_dict("records"):
        cells = [str(line["candidate"]), _named(line["compared_with"]), f"{line['rows']:,}"]
        if by_field:
            cells.insert(2, str(line["field"] or "all of them"))
        rows.append([*cells, *(_with_interval(line, name) for name in measures)])
    return [*head, *(_MEASURES[name] for name in measures)], rows


def _with_interval(line: dict[Any, Any], name: str) -> str:
    mean, low, high = (line[f"{name}{end}"] for end in ("", "_low", "_high"))
    if math.isnan(mean):
        return ""
    if name == "mean_difference":
        return f"{mean:.3g} ({low:.3g}-{high:.3g})"
    return f"{mean:.1%} ({low:.1%}-{high:.1%})"


def _named(name: str) -> str:
    return "the reference" if name == REFERENCE else name


def markdown(comparison: Comparison) -> str:
    """Return a comparison in Markdown."""
    told = comparison.manifest
    parts = [_markdown_table(*_figures(comparison)), *_notes(comparison)]
    if len(comparison.agreement):
        parts += ["", _markdown_table(*_agreement(comparison))]
        parts.append("Means, with their 95% bootstrap intervals.")
    if told.get("prompt"):
        parts.append(f"Prompt: `` {printable(str(told['prompt']))} ``")
    parts.append(_machine(told))
    return "\n\n".join(each for each in parts if each) + "\n"


def _markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace("|", "\\|")


def as_html(comparison: Comparison) -> str:
    """Return a comparison as HTML that stands alone."""
    head, rows = _figures(comparison)
    parts = [html_table(head, rows, _notes(comparison), name="hfnb-comparison")]
    if len(comparison.agreement):
        notes = ["Means, with their 95% bootstrap intervals."]
        parts.append(html_table(*_agreement(comparison), notes, name="hfnb-agreement"))
    if comparison.answers:
        parts += [comparison.plot(what)._repr_html_() for what in _PICTURES]  # type: ignore[arg-type]
    parts.append(f"<p><small>{html.escape(_machine(comparison.manifest))}</small></p>")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>hfnb: a comparison'
        "</title><style>:root { color-scheme: light dark } body { font-family: sans-serif } "
        "th, td { padding: 2px 12px 2px 0 }</style></head><body>"
        f"{''.join(parts)}</body></html>\n"
    )


def as_json(comparison: Comparison) -> str:
    """Return a comparison's figures and its manifest as JSON."""
    stats = comparison.stats
    return json.dumps(
        {
            "stats": [
                {"candidate": str(label), **_plain(line)}
                for label, line in zip(stats.index, stats.to_dict("records"), strict=True)
            ],
            "agreement": [_plain(line) for line in comparison.agreement.to_dict("records")],
            "manifest": comparison.manifest,
        },
        indent=2,
    )


def _plain(line: dict[Any, Any]) -> dict[str, Any]:
    """Return a line as JSON can hold it, which has no NaN."""
    return {
        str(name): None if isinstance(value, float) and math.isnan(value) else value
        for name, value in line.items()
    }


def save(comparison: Comparison, file: Path) -> Path:
    """Write a comparison down, as the file's ending says."""
    ways = {".md": markdown, ".html": as_html, ".json": as_json}
    way = ways.get(file.suffix.lower())
    if way is None:
        raise OptionError(f"A comparison is saved as {listing(ways)}; not {file.name!r}.")
    file.write_text(way(comparison), encoding="utf-8")
    return file


def _machine(manifest: dict[str, Any]) -> str:
    found = next((each for each in manifest["candidates"].values() if each), None)
    if found is None:
        return ""
    hardware, versions = found["hardware"], found["versions"]
    parts = [f"{hardware['processor']}, {hardware['cores']} cores, {hardware['system']}"]
    if hardware.get("accelerator"):
        parts.append(str(hardware["accelerator"]))
    parts.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    return ". ".join(parts)


def _time(seconds: float) -> str:
    return "" if math.isnan(seconds) else duration(seconds)


def _size(count: float) -> str:
    return "" if math.isnan(count) else size(int(count))
