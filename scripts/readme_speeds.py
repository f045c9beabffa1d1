"""Write the README's tables of speeds anew: ``python scripts/readme_speeds.py``.

They come from bench/RESULTS.md; a test compares them. In README.md they stand between
``<!-- speeds -->`` and ``<!-- end of speeds -->``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
README, RESULTS = ROOT / "README.md", ROOT / "bench" / "RESULTS.md"
_PLACE = re.compile(r"(<!-- speeds -->\n).*?(<!-- end of speeds -->)", re.DOTALL)
_RAN = re.compile(r"<sub>(\d{4}-\d\d-\d\d), `([^`]+)`, (.*?, \d+ cores), .*?</sub>", re.DOTALL)


class Measured(NamedTuple):
    """A section of the results: its tables' first two columns, and when it ran on what."""

    tables: list[dict[str, float]]
    what: str
    day: str
    machine: str


def measured(results: str, section: str) -> Measured:
    """Read a section of bench/RESULTS.md; ``section`` is the name in its comment."""
    text = results.split(f"<!-- {section} -->\n")[1].split("\n<!-- ")[0]
    tables: list[dict[str, float]] = []
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in block.splitlines()]
        assert lines[0][1] == "median, s", lines[0]
        tables.append({line[0]: float(line[1]) for line in lines[2:]})
    ran = _RAN.search(text)
    what = re.search(r"^64 prompts .*?(?=, \d+ threads|, new prompts|\.$)", text, re.MULTILINE)
    assert ran is not None, section
    assert what is not None, section
    return Measured(tables, what[0], ran[1], ran[3])


def speeds(results: str) -> str:
    """Return the README's tables of speeds, by the text of bench/RESULTS.md."""
    torch, openvino = measured(results, "mixed"), measured(results, "openvino")
    return (
        f"{torch.what}. Seconds, less is better.\n\n"
        + _table(("PyTorch", "float32", "bfloat16"), torch.tables)
        + f"\n<sub>{torch.day}, {torch.machine}.</sub>\n\n"
        + _table(("beside OpenVINO", "seconds"), openvino.tables)
        + f"\n<sub>{openvino.day}, {openvino.machine}.</sub>\n"
    )


def _table(head: tuple[str, ...], tables: list[dict[str, float]]) -> str:
    lines = [" | ".join(head), " | ".join(["---"] * len(head))]
    for name in tables[0]:
        cells = [name, *(f"{table[name]:.1f}" for table in tables)]
        if name.startswith("hfnb"):
            cells = [f"**{cell}**" for cell in cells]
        lines.append(" | ".join(cells))
    return "".join(f"| {line} |\n" for line in lines)


def renewed(readme: str, results: str) -> str:
    """Return the README's text with the tables that belong to the results."""
    found, count = _PLACE.subn(lambda place: place[1] + speeds(results) + place[2], readme)
    assert count == 1, "README.md has no place for the speeds"
    return found


if __name__ == "__main__":
    README.write_text(renewed(README.read_text("utf-8"), RESULTS.read_text("utf-8")), "utf-8")
