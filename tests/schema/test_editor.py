"""Schemas as people type them: rows of an editor, and a line of text."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from hfnb.errors import OptionError
from hfnb.frame.structure import columns_to_come
from hfnb.schema.editor import FIELD_TYPES, fields_of, read_inline
from tests.needs import require

require("structured")


def test_every_type_of_the_editor_is_a_schema() -> None:
    rows = [(f"a {kind}", f"{kind}?", []) for kind in FIELD_TYPES]
    columns = columns_to_come(fields_of([*rows, ("tone", "choice", ["good", "bad"])]))
    assert columns == {
        "a str": "string",
        "a int": "Int64",
        "a float": "Float64",
        "a bool": "boolean",
        "a date": "datetime64[us]",
        "a datetime": "datetime64[us, UTC]",
        "a list[str]": "object",
        "a list[int]": "object",
        "a list[float]": "object",
        "tone": "category",
    }


def test_the_columns_to_come_know_probabilities_and_the_text() -> None:
    columns = columns_to_come(["good", "bad"], "tone", probabilities=True, raw_text=True)
    assert columns == {
        "tone": "category",
        "tone.good": "Float64",
        "tone.bad": "Float64",
        "tone_text": "string",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("good, bad", ["good", "bad"]),
        ("good|bad", ["good", "bad"]),
        ("tone: good | bad , day:date", {"tone": ["good", "bad"], "day": datetime.date}),
        ("score: float?", {"score": float | None}),
        ("names: list[str],", {"names": list[str]}),
    ],
)
def test_a_line_says_fields_or_labels(text: str, expected: Any) -> None:
    assert read_inline(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("good", "at least two labels"),
        ("tone: good|bad, stars", "'stars' has no type"),
        ("tone: flaot", "Did you mean 'float'"),
        ("a: int, a: float", "two fields named 'a'"),
        (": int", "Field 1 has no name"),
        ("tone: good|good", "twice"),
    ],
)
def test_what_is_wrong_is_said(text: str, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        read_inline(text)
    with pytest.raises(OptionError, match="at least one field"):
        fields_of([])
