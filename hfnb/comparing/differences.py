"""The rows in which candidates disagree, with the words marked that differ."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Literal

import pandas as pd
from rapidfuzz.distance import Indel

from hfnb.comparing.agreement import exact_match
from hfnb.frame.cells import is_null, text_of
from hfnb.show import html_table, printable, text_table

_SHOWN = 20
_WIDTH = 60
_PIECE = re.compile(r"\s+|\w+|[^\w\s]")
Mark = Literal["", "extra", "missing"]
Piece = tuple[str, Mark]
"""Some text, and whether only this answer has it, or only the first candidate's."""

_IN_TEXT: dict[Mark, str] = {"": "{}", "extra": "[+{}+]", "missing": "[-{}-]"}
_IN_HTML: dict[Mark, str] = {"": "{}", "extra": "<mark>{}</mark>", "missing": "<del>{}</del>"}


class Differences:
    """The rows in which candidates disagree; `data` holds them, and it shows itself as a table.

    In the table, words of an answer that the first candidate's has not are marked, and words that
    only the first candidate's has are struck out: ``[+extra+]`` and ``[-missing-]`` in text.

    Args:
        inputs: The input columns of these rows.
        answers: The answers by candidate, as they are shown.
        columns: The columns that they are in `data`.
        total: How many rows there were.
    """

    def __init__(
        self,
        inputs: pd.DataFrame,
        answers: Mapping[str, Sequence[str | None]],
        columns: Mapping[str, Any],
        total: int,
    ) -> None:
        self._inputs = inputs
        self._answers = {name: list(texts) for name, texts in answers.items()}
        self._columns = columns
        self._total = total

    @property
    def data(self) -> pd.DataFrame:
        """The input columns of these rows, and the columns of each candidate's answers."""
        return self._inputs.assign(**self._columns)

    def __len__(self) -> int:
        """Return the number of rows in which candidates disagree."""
        return len(self._inputs)

    def __repr__(self) -> str:
        head, rows = self._table()
        lines = [[_cut(_as_text(cell)) for cell in row] for row in rows]
        return text_table(head, lines, self._notes()) if lines else self._notes()[0]

    def _repr_html_(self) -> str:
        head, rows = self._table()
        body = "".join(
            "<tr>"
            + "".join(f'<td style="text-align: left">{_as_html(each)}</td>' for each in row)
            + "</tr>"
            for row in rows
        )
        table = html_table(head, [], self._notes(), name="hfnb-differences")
        return table.replace("<tbody></tbody>", f"<tbody>{body}</tbody>", 1)

    def _table(self) -> tuple[list[str], list[list[list[Piece]]]]:
        """Return the head and the first rows; each cell is what of it differs."""
        head = ["", *map(str, self._inputs.columns), *self._answers]
        rows = []
        for at in range(min(_SHOWN, len(self))):
            cells: list[list[Piece]] = [[(_shown(self._inputs.index[at]), "")]]
            cells += [[(_shown(value), "")] for value in self._inputs.iloc[at]]
            texts = [each[at] for each in self._answers.values()]
            cells += [marked(texts[0], text) for text in texts]
            rows.append(cells)
        return head, rows

    def _notes(self) -> list[str]:
        if not len(self):
            return [f"no row of {self._total:,} has different answers"]
        shown = f"; the first {_SHOWN}" if len(self) > _SHOWN else ""
        return [f"{len(self):,} of {self._total:,} rows have different answers{shown}"]


def differing(answers: Mapping[str, Sequence[str | None]]) -> list[int]:
    """Return the positions of rows whose answers are not all the same; white space around apart."""
    texts = list(answers.values())
    return [
        at
        for at, row in enumerate(zip(*texts, strict=True))
        if any(not _same(row[0], each) for each in row[1:])
    ]


def _same(text: str | None, other: str | None) -> bool:
    if text is None or other is None:
        return text is other
    return bool(exact_match(text, other))


def marked(base: str | None, text: str | None) -> list[Piece]:
    """Return a text in pieces, with what it has beyond another text, and what it lacks of it.

    Example:
        >>> marked("cent deux", "cent trois")
        [('cent ', ''), ('deux', 'missing'), ('trois', 'extra')]
    """
    if text is None:
        return [("no answer", "" if base is None else "extra")]
    before, now = _PIECE.findall(base or ""), _PIECE.findall(text)
    pieces: list[Piece] = []
    for equal, blocks in groupby(Indel.opcodes(before, now), lambda each: each.tag == "equal"):
        every = list(blocks)
        gone = "".join(word for e in every for word in before[e.src_start : e.src_end])
        found = "".join(word for e in every for word in now[e.dest_start : e.dest_end])
        if equal:
            pieces.append((found, ""))
            continue
        pieces += [(gone, "missing")] if gone else []
        pieces += [(found, "extra")] if found else []
    return pieces or [("", "")]


def _shown(value: Any) -> str:
    return "" if is_null(value) else text_of(value)


def _as_text(pieces: Sequence[Piece]) -> str:
    return "".join(_IN_TEXT[mark].format(text) for text, mark in pieces)


def _cut(text: str) -> str:
    shown = printable(text)
    return shown if len(shown) <= _WIDTH else shown[: _WIDTH - 1] + "…"


def _as_html(pieces: Sequence[Piece]) -> str:
    return (
        '<span style="white-space: pre-wrap">'
        + "".join(_IN_HTML[mark].format(html.escape(text)) for text, mark in pieces)
        + "</span>"
    )
