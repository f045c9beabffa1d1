"""Templates: their columns, and what is wrong with them."""

import pandas as pd
import pytest

from hfnb.errors import TemplateError
from hfnb.frame.template import SLICE, Template, check_columns, slices
from tests.frame.support import echo


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("{a}", ("a",)),
        ("{a} and {b} and {a}", ("a", "b")),
        ("{{not}} {a}", ("a",)),
        ("{with space} {with.dot} {größe} {a[0]}", ("with space", "with.dot", "größe", "a[0]")),
        ("{a:.2f} {b!r:>10}", ("a", "b")),
        ("{0}", ("0",)),
    ],
)
def test_a_template_knows_its_columns(text: str, columns: tuple[str, ...]) -> None:
    assert Template(text).columns == columns


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column"),
        ("no column", "has no column"),
        ("{{escaped}}", "has no column"),
        ("{}", "empty {}"),
        ("{:.2f}", "empty {}"),
        ("{!r} {a}", "empty {}"),
        ("{a", "don't fit together"),
        ("a}", "don't fit together"),
        ("{a} }", "don't fit together"),
        ("{a!}", "don't fit together"),
        ("{a!x}", "Unknown conversion !x"),
        ("{a:{b}}", "Braces inside braces"),
    ],
)
def test_a_wrong_template_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        Template(text)


@pytest.mark.parametrize(
    ("columns", "name", "message"),
    [
        (["question"], "qestion", r"no column 'qestion'\. Did you mean 'question'\?"),
        (["Question"], "question", r"Did you mean 'Question'\?"),
        (["x"], " x ", r"Did you mean 'x'\?"),
        (["a", "b"], "zzz", r"Its columns are a, b\."),
        ([], "a", r"Its columns are none\."),
        ([0, 1], "0", r"number as its name.*rename\(columns=\{0: 'c0'\}\)"),
        (["x"], "0", r"no column '0'"),
        (["x"], "²", r"no column '²'"),
        ([1.5, None, pd.Timestamp("2024-01-01")], "a", r"no column 'a'"),
        ([("a", "b")], "a", r"several levels"),
        (["a", "a"], "a", r"2 columns named 'a'"),
    ],
)
def test_a_column_that_is_not_there_is_an_error_with_the_nearest_one(
    columns: list[object], name: str, message: str
) -> None:
    frame = pd.DataFrame([range(len(columns))], columns=pd.Index(columns, dtype=object))
    if columns == [("a", "b")]:
        frame.columns = pd.MultiIndex.from_tuples([("a", "b")])
    with pytest.raises(TemplateError, match=message):
        check_columns([name], frame)


def test_a_column_that_is_named_twice_is_no_matter_where_it_is_not_read() -> None:
    frame = pd.DataFrame([["a", 1, 2]], columns=["x", "y", "y"])
    assert echo(frame, "{x}").data["output"].tolist() == ["a"]


def test_columns_with_odd_names_are_read() -> None:
    frame = pd.DataFrame({"with space": [1], "with.dot": [2], "größe": [3], "a[0]": [4], "0": [5]})
    text = "{with space} {with.dot} {größe} {a[0]} {0}"
    assert echo(frame, text).data["output"].tolist() == ["1 2 3 4 5"]


def test_braces_in_values_are_data() -> None:
    frame = pd.DataFrame({"x": ["{y} {} {0} {{"], "y": ["no"]})
    assert echo(frame, "{{x}}: {x}").data["output"].tolist() == ["{x}: {y} {} {0} {{"]


def test_columns_are_read_slice_by_slice() -> None:
    frame = pd.DataFrame({"x": range(SLICE * 2 + 1)})
    parts = [len(part["x"]) for part in slices(frame, ["x"])]
    assert parts == [SLICE, SLICE, 1]
    joined = [value for part in slices(frame, ["x"]) for value in part["x"]]
    assert joined == list(range(SLICE * 2 + 1))


def test_a_prompt_is_rendered_only_when_the_engine_draws_it() -> None:
    """Else a frame of millions of rows would be rendered before the first answer."""
    rendered = 0

    class Cell:
        def __str__(self) -> str:
            nonlocal rendered
            rendered += 1
            return "x"

    frame = pd.DataFrame({"x": [Cell() for _ in range(1000)]})
    prompts = Template("{x}").rows(frame)
    for drawn in range(1, 11):
        assert next(prompts) == "x"
        assert rendered == drawn
