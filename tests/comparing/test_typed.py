"""A comparison under a schema: typed columns for each candidate, and agreement field by field."""

from __future__ import annotations

import math
from typing import Any, Literal

import pandas as pd
import polars
import pytest
from pydantic import BaseModel, field_validator

import hfnb
from hfnb.comparing.field_agreement import field_agreement, likeness
from hfnb.comparing.typed import right_columns, right_values
from hfnb.errors import OptionError
from hfnb.frame.structure import Structure, structure_of
from hfnb.schema.fields import Column
from tests.comparing.support import calm, plain, review

DF = pd.DataFrame(
    {"x": ["one", "two", "three"], "right_tone": ["good", "bad", None], "given": [4, 5, 4]}
)


class Review(BaseModel):
    """A class that the process of a candidate can't import, as one of a notebook's."""

    tone: Literal["good", "bad"]
    stars: int
    why: str
    tags: list[str]

    @field_validator("stars")
    @classmethod
    def _even(cls, stars: int) -> int:
        if stars % 2:
            raise ValueError("odd")
        return stars


Review.__module__ = "__main__"
FIELDS = {"tone": ["good", "bad"], "stars": int, "why": str, "tags": list[str]}
RIGHT = {"tone": "right_tone", "stars": "given"}


def structured(schema: Any, **options: Any) -> Structure:
    told = {"nested": "columns", "raw_text": False, "probabilities": False, **options}
    found = structure_of(schema, describe_schema=False, **told)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def found() -> hfnb.Comparison:
    candidates = [plain(answer=calm), plain(answer=review)]
    return hfnb.compare(DF, "{x}", candidates, schema=FIELDS, reference=RIGHT, progress=False)


def test_each_candidate_has_typed_columns(found: hfnb.Comparison) -> None:
    assert found.data["hfnb/echo.tone"].dtype == "category"
    assert found.data["hfnb/echo #2.stars"].tolist() == [4, 3, 4]
    assert found.data["hfnb/echo #2.tags"].tolist() == [["a", "b"], ["b"], ["a", "b"]]
    told = found.manifest
    assert told["schema"]["properties"]["stars"]["type"] == "integer"
    assert told["reference"] == RIGHT


def test_fields_agree_by_what_they_are(found: hfnb.Comparison) -> None:
    table = found.agreement.set_index(["candidate", "compared_with", "field"])
    pair = ("hfnb/echo", "hfnb/echo #2")
    assert table.loc[(*pair, ""), "exact_match"] == pytest.approx(2 / 3)
    assert table.loc[(*pair, "stars"), "mean_difference"] == pytest.approx(1 / 3)
    assert math.isnan(table.loc[(*pair, "stars"), "edit_similarity"])
    assert math.isnan(table.loc[(*pair, "tone"), "token_f1"])
    assert table.loc[(*pair, "tags"), "token_f1"] == pytest.approx((2 + 2 / 3) / 3)
    assert table.loc[(*pair, "why"), "token_f1"] == 1  # the same words
    # The third row has no right tone: neither it nor the whole answer is counted.
    right = table.xs("reference", level="compared_with")
    assert right["rows"].tolist() == [2, 2, 3, 2, 2, 3]
    assert right["exact_match"].tolist() == pytest.approx([0.5, 0.5, 2 / 3, 0.5, 1, 2 / 3])
    assert found.quality[1] == {"hfnb/echo": 0.5, "hfnb/echo #2": 0.5}
    assert "| hfnb/echo #2 | the reference | stars | 3 |" in found.to_markdown()


def test_rows_that_differ_show_their_fields(found: hfnb.Comparison) -> None:
    rows = found.differences()
    assert rows.data.index.tolist() == [1]
    assert "tone: <del>good</del><mark>bad</mark>" in rows._repr_html_()
    assert "tags: <mark>b</mark>" not in rows._repr_html_()
    assert rows.data["hfnb/echo.stars"].tolist() == [4]


def test_a_class_that_only_the_notebook_has_refuses_answers_all_the_same() -> None:
    table = polars.DataFrame({"x": ["one", "two"]})
    odd = hfnb.compare(table, "{x}", [plain(answer=review)], schema=Review, progress=False)
    assert odd.stats[["ok", "failed"]].to_numpy().tolist() == [[1, 1]]
    assert odd.data["hfnb/echo.stars"].to_list() == [4, None]
    assert odd.data["hfnb/echo.tags"].to_list() == [["a", "b"], None]


def test_without_a_reference_quality_is_likeness_to_the_first() -> None:
    kinds = {"tone": "category", "why": "string"}
    own = {"tone": ["good", "bad"], "why": ["abcd", None]}
    others = {"tone": ["good", "good"], "why": ["abce", None]}
    assert likeness(own, others, [True, True], kinds) == pytest.approx((1 + 0 + 0.75 + 1) / 4)
    assert likeness(own, others, [True, False], kinds) == pytest.approx((1 + 0.75) / 2)
    assert math.isnan(likeness(own, others, [False, False], kinds))


def test_an_answer_that_is_one_value_has_one_line_a_pair() -> None:
    answers = {"a": {"": ["x", "y"]}, "b": {"": ["x", "x"]}}
    answered = {"a": [True, True], "b": [True, True]}
    table = field_agreement(answers, answered, {"": ["x", None]}, {"": "category"})
    assert table["rows"].tolist() == [1, 1, 2]
    assert table["exact_match"].tolist() == [1, 1, 0.5]


def test_right_answers_are_found_by_field() -> None:
    one, several = structured(["good", "bad"]), structured(FIELDS)
    assert right_columns("right", one) == {"": "right"}
    assert right_columns("right", structured({"tone": ["good", "bad"]})) == {"tone": "right"}
    assert right_columns("stars", several) == {"stars": "stars"}
    assert right_columns("right", None) == {"": "right"}
    assert right_columns(None, several) == {}
    for reference, structure, words in (
        ("right", several, "which column has the right answers of which field"),
        ({"tune": "right"}, several, "Did you mean 'tone'"),
        ({"tone": "right"}, None, "with a schema a dictionary"),
    ):
        with pytest.raises(OptionError, match=words):
            right_columns(reference, structure)


def test_right_answers_are_values_of_the_schema() -> None:
    cells = pd.Series(["4", None], name="given")
    assert right_values(Column((), "integer"), cells) == [4.0, None]
    days = right_values(Column((), "date"), pd.Series(["2024-03-01"]))
    assert days == [pd.Timestamp("2024-03-01")]
    with pytest.raises(OptionError, match="column 'given' has right answers"):
        right_values(Column((), "integer"), pd.Series(["four"], name="given"))
    with pytest.raises(OptionError, match="neither true nor false"):
        right_values(Column((), "boolean"), pd.Series(["yes"], name="given"))
    with pytest.raises(OptionError, match="column 'x' has right answers"):
        hfnb.compare(DF, "{x}", [plain()], schema={"stars": int}, reference="x", progress=False)
