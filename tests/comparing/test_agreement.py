"""How alike answers are, and which of their words differ."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hfnb.comparing.agreement import (
    REFERENCE,
    agreement,
    edit_similarity,
    exact_match,
    interval,
    token_f1,
)
from hfnb.comparing.differences import Differences, differing, marked

TEXTS = st.text(alphabet="ab é,.\n", max_size=12)


@given(TEXTS, TEXTS)
def test_measures_are_shares_and_do_not_mind_the_order(text: str, other: str) -> None:
    for measure in (exact_match, edit_similarity, token_f1):
        assert 0 <= measure(text, other) <= 1
        assert measure(text, other) == pytest.approx(measure(other, text))
        assert measure(text, text) == 1


@given(TEXTS, TEXTS)
def test_marked_pieces_make_the_text_again_and_equal_texts_have_no_mark(
    text: str, other: str
) -> None:
    pieces = marked(other, text)
    assert "".join(piece for piece, mark in pieces if mark != "missing") == text
    assert "".join(piece for piece, mark in pieces if mark != "extra") == other
    assert not any(mark for _, mark in marked(text, text))


def test_words_that_are_missing_are_shown_struck_out() -> None:
    answers = {"a": ["not <good> at all"], "b": ["<good> at last"]}
    shown = Differences(pd.DataFrame({"x": [1]}), answers, answers, total=1)
    assert "[-not -]<good> at [-all-][+last+]" in repr(shown)
    markup = shown._repr_html_()
    assert "<del>not </del>&lt;good&gt; at <del>all</del><mark>last</mark>" in markup


def test_token_f1_is_that_of_shared_words() -> None:
    assert token_f1("the cat sat", "The cat, sat!") == 1
    assert token_f1("a b c d", "a b") == pytest.approx(2 * (0.5 * 1) / 1.5)
    assert token_f1("a a", "a") == pytest.approx(2 * 0.5 / 1.5)
    assert token_f1("", "") == 1
    assert token_f1("x", "") == 0


def test_the_interval_narrows_as_rows_are_added_and_repeats() -> None:
    draw = np.random.default_rng(1)
    few, many = (draw.integers(0, 2, size=count).tolist() for count in (20, 2000))
    low, high = interval(few)
    assert interval(few) == (low, high)
    assert low < np.mean(few) < high
    assert interval(many)[1] - interval(many)[0] < (high - low) / 3
    # That of a mean of n draws of 0 or 1 is about 1.96 standard errors wide, to each side.
    assert interval(many)[1] - np.mean(many) == pytest.approx(1.96 * 0.5 / 2000**0.5, rel=0.2)
    assert all(math.isnan(each) for each in interval([]))


def test_each_is_compared_with_the_reference_and_each_pair_on_the_rows_both_have() -> None:
    table = agreement({"a": ["x", "y", None], "b": ["x", "z", "w"]}, ["x", None, "w"])
    assert table["candidate"].tolist() == ["a", "b", "a"]
    assert table["compared_with"].tolist() == [REFERENCE, REFERENCE, "b"]
    assert table["rows"].tolist() == [1, 2, 2]
    assert table["exact_match"].tolist() == [1.0, 1.0, 0.5]
    assert (table["exact_match_low"] <= table["exact_match"]).all()
    assert agreement({}, None).empty


def test_rows_disagree_where_texts_or_their_absence_differ_but_not_by_outer_space() -> None:
    answers = {"a": ["x", "y", None, None], "b": ["x ", "z", "w", None]}
    assert differing(answers) == [1, 2]


def test_differences_say_how_many_there_are_and_escape_what_they_show() -> None:
    answers: dict[str, list[str | None]] = {"a": ["<b>x</b>"], "b": [None]}
    shown = Differences(pd.DataFrame({"<i>": ["<q>"]}), answers, answers, total=5)
    assert "1 of 5 rows have different answers" in repr(shown)
    assert "<b>x" not in shown._repr_html_()
    assert "&lt;q&gt;" in shown._repr_html_()
    assert "<mark>no answer</mark>" in shown._repr_html_()
    assert "no row of 5" in repr(Differences(pd.DataFrame({"x": []}), {"a": []}, {}, total=5))
