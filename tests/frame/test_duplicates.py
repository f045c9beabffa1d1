"""Rows with the same prompt are computed once."""

import random
from typing import Any

import pandas as pd
import pytest

import hfnb
from hfnb.frame.duplicates import Duplicates


def run(values: Any, engine: hfnb.EchoEngine, **options: Any) -> hfnb.RunResult:
    return hfnb.run(pd.DataFrame({"x": values}), "<{x}>", engine, progress=False, **options)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.5, "seed": 1}, {"chat": True}])
def test_a_prompt_that_was_had_before_is_not_computed_again(options: Any) -> None:
    engine = hfnb.EchoEngine()
    result = run(["a", "b", "a", None, "a", "b"], engine, **options)
    assert engine.calls == 2
    assert result.data["output"].tolist() == ["<a>", "<b>", "<a>", pd.NA, "<a>", "<b>"]
    sources = result.rows["source"].astype(object).fillna("none").tolist()
    assert sources == ["generated"] * 2 + ["duplicate", "none"] + ["duplicate"] * 2
    assert result.rows["new_tokens"].tolist() == [1, 1, 1, pd.NA, 1, 1]
    assert (result.stats.ok, result.stats.duplicates) == (5, 3)
    assert "3 with the prompt of another row" in str(result.stats)


def test_unseeded_sampling_draws_for_each_row() -> None:
    engine = hfnb.EchoEngine()
    run(["a"] * 5, engine, temperature=0.5)
    assert engine.calls == 5


def test_a_failure_is_that_of_all_rows_with_the_prompt() -> None:
    engine = hfnb.EchoEngine(fail="<a>".__eq__)
    result = run(["a", "b", "a"], engine)
    assert result.rows["status"].tolist() == ["error", "ok", "error"]
    assert result.rows["error"][0] == result.rows["error"][2]
    assert engine.calls == 2


def test_rows_that_wait_for_a_row_that_was_cancelled_are_cancelled_too() -> None:
    engine = hfnb.EchoEngine(delay_s=0.05)
    result = run(["a", "b", "c", "d", "d"], engine, wait=False)
    while not result.progress().done:
        pass
    result.cancel()
    statuses = result.wait().rows["status"].tolist()
    assert statuses[0] == "ok"
    assert statuses[-2:] == ["cancelled"] * 2


def test_rates_count_identical_rows_and_no_rows_of_an_earlier_run() -> None:
    engine = hfnb.EchoEngine(delay_s=0.01, fingerprint="rates")
    run(["a", "b"], engine)
    seen: list[hfnb.Progress] = []
    frame = pd.DataFrame({"x": ["a", "a", "b", "c", "c", "c", "d"]})
    result = hfnb.run(frame, "<{x}>", engine, progress=seen.append)
    assert result.rows["source"].tolist() == [
        *("journal", "duplicate", "journal"),
        *("generated", "duplicate", "duplicate", "generated"),
    ]
    assert seen[-1].reused == 3
    assert seen[-1].rows_per_s == pytest.approx(4 / seen[-1].elapsed_s)
    assert result.stats.rows_per_s == pytest.approx(4 / result.stats.wall_s)


def test_what_a_parser_makes_is_not_shared_between_rows() -> None:
    from langchain_core.prompts import PromptTemplate

    llm = hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine())
    chain = PromptTemplate.from_template("{x}") | llm | (lambda text: [text])
    data = hfnb.run(pd.DataFrame({"x": ["a", "a"]}), chain, progress=False).data
    data["output"][0].append("changed")
    assert data["output"].tolist() == [["a", "changed"], ["a"]]


def test_digests_of_any_order_are_found_where_they_came_first() -> None:
    draw = random.Random(0)
    digests = [draw.randbytes(16) for _ in range(500)]
    seen, first, row = Duplicates(), dict[bytes, int](), 0
    for _ in range(200):
        window = draw.choices(digests, k=draw.randrange(1, 40))
        rows = list(range(row, row + len(window)))
        row += len(window)
        expected = [first.setdefault(each, at) for at, each in zip(rows, window, strict=True)]
        assert seen.first(rows, window) == expected
    assert seen.first([], []) == []


def test_digests_with_one_half_alike_are_not_taken_for_the_same() -> None:
    seen = Duplicates()
    assert seen.first([0, 1], [b"12345678abcdefgh", b"12345678ABCDEFGH"]) == [0, 1]
    assert seen.first([2], [b"12345678--------"]) == [2]


def test_a_million_digests_take_little_memory() -> None:
    seen = Duplicates()
    for begin in range(0, 100_000, 1000):
        rows = list(range(begin, begin + 1000))
        assert seen.first(rows, [at.to_bytes(16, "little") for at in rows]) == rows
    held = sum(each.nbytes for part in seen._parts for each in part)
    assert held == 24 * 100_000
    assert len(seen._parts) < 20
