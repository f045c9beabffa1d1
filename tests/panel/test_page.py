"""The rows of a result as the panel shows them, and the picture of its run."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from hfnb.panel import events as on
from hfnb.panel.page import as_html, caption, page_of
from hfnb.panel.picture import picture_of, rates
from hfnb.panel.state import State
from tests.panel.made import after, ready, result


class Cells(HTMLParser):
    """Reads the texts of a table's cells, and the elements within."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.elements: set[str] = set()
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        """Begin a row or a cell."""
        self.elements.add(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("th", "td"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        """Add to the cell."""
        if self.rows and self.rows[-1]:
            self.rows[-1][-1] += data


def state_of(rows: int, fails: tuple[int, ...] = ()) -> State:
    """Return the state after a run."""
    left = result(rows, fails)
    return after(replace(ready(rows), result=left), on.RunEnded(left))


def test_a_page_has_prompt_columns_output_and_latency_side_by_side() -> None:
    state = state_of(25)
    page = page_of(state)
    assert page is not None
    assert state.result is not None
    table = Cells(as_html(page, state.result, None))
    assert table.rows[0] == ["row", "i", "to", "answer", "latency"]
    assert len(table.rows) == 11
    assert table.rows[1][:4] == ["0", "0", "<b>x</b>", "What is 0 in <b>x</b>?"]
    assert table.rows[1][4].endswith("s")
    assert "b" not in table.elements  # a cell's markup is text
    assert caption(page, "all") == "rows 1\N{EN DASH}10 of 25"


def test_the_last_page_has_the_rest() -> None:
    state = after(state_of(25), on.Turned(1), on.Turned(1))
    page = page_of(state)
    assert page is not None
    assert page.positions == (20, 21, 22, 23, 24)


def test_failed_rows_are_marked_by_more_than_colour_and_can_be_had_alone() -> None:
    state = reduce_failed(state_of(25, fails=(3, 17)))
    page = page_of(state)
    assert page is not None
    assert state.result is not None
    assert page.positions == (3, 17)
    table = Cells(as_html(page, state.result, 17))
    assert all(row[3].startswith("✗ failed") for row in table.rows[1:])
    assert caption(page, "failed") == "failed rows 1\N{EN DASH}2 of 2"


def reduce_failed(state: State) -> State:
    """Return the state that shows failed rows alone."""
    return after(state, on.Filtered("failed"))


def test_no_failed_row_is_a_table_that_says_so() -> None:
    state = reduce_failed(state_of(3))
    page = page_of(state)
    assert page is not None
    assert state.result is not None
    assert "no row" in as_html(page, state.result, None)
    assert caption(page, "failed") == "no failed rows"


def test_a_page_of_many_rows_reads_only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    state = state_of(5000)
    assert state.result is not None
    read: list[int] = []
    store = state.result._run.store
    before = type(store).table
    monkeypatch.setattr(
        type(store),
        "table",
        lambda self, index, at=None: read.append(len(index)) or before(self, index, at),
    )
    page_of(after(state, on.Turned(300)))
    assert read == [10]


def test_a_picture_has_a_text_beside_it() -> None:
    markup = picture_of([(0.0, 0, 10**9), (1.0, 8, 2 * 10**9), (2.0, 12, 15 * 10**8)])
    assert markup.count("<polyline") == 2
    assert "memory: now 1.5 GB · most 2 GB · in 2 s" in markup
    assert "rows/s: now 6 · most 8" in markup
    assert "polyline" not in picture_of([])


def test_rates_are_means_over_a_short_while() -> None:
    points = [(at * 0.25, at * 2, 0) for at in range(40)]
    assert {round(rate, 6) for _, rate in rates(points)} == {8.0}
    assert rates([(0.0, 0, 0)]) == []
