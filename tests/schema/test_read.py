"""Schemas in all their forms: the grammar that they ask for, the columns, and what is refused."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import pickle
import re
import threading
import typing
from typing import Any, Literal, NamedTuple, TypedDict

import pydantic
import pytest

from hfnb.errors import AnswerError, OptionError
from hfnb.schema.answer import cells_of, object_of, read_answer
from hfnb.schema.read import described, read_schema
from tests.needs import require

require("structured")


class Tone(enum.Enum):
    GOOD = "good"
    BAD = "bad"


class Place(TypedDict, total=False):
    city: str
    height: typing.Required[float]


class Stars(TypedDict):
    tone: Literal["good", "bad"]
    stars: int


class Review(TypedDict):
    tone: Literal["good", "bad"]
    stars: int
    place: Place


@dataclasses.dataclass
class Point:
    x: float
    y: float | None = None


class Person(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1, max_length=20)
    born: datetime.date
    tags: list[str] = []

    @pydantic.field_validator("name")
    @classmethod
    def _title(cls, name: str) -> str:
        if name == "nobody":
            raise ValueError("nobody is no name")
        return name.title()


class Pair(NamedTuple):
    a: int
    b: str


def columns(schema: Any, **options: Any) -> dict[str, str]:
    return {each.name("out"): each.dtype for each in read_schema(schema).columns(**options)}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (Review, {"tone": "category", "stars": "Int64", "place.city": "string",
                  "place.height": "Float64"}),
        (Point, {"x": "Float64", "y": "Float64"}),
        (Person, {"name": "string", "born": "datetime64[us]", "tags": "object"}),
        ({"tone": ["good", "bad"], "score": float, "sure": bool},
         {"tone": "category", "score": "Float64", "sure": "boolean"}),
        ({"at": datetime.datetime, "in": {"city": str, "no": int | None}},
         {"at": "datetime64[us, UTC]", "in.city": "string", "in.no": "Int64"}),
        ({"code": re.compile("[A-Z]{2}"), "more": {"type": "object", "properties": {"a": {}}}},
         {"code": "string", "more.a": "object"}),
        ({"type": "object", "properties": {"a": {"type": ["integer", "null"]}}}, {"a": "Int64"}),
        (["good", "bad"], {"out": "category"}),
        (Literal["good", "bad"], {"out": "category"}),
        (Tone, {"out": "category"}),
        (int, {"out": "Int64"}),
        (float | None, {"out": "Float64"}),
        (list[int], {"out": "object"}),
        ({"tags": set[Literal["a", "b", "c"]]}, {"tags": "object"}),
        (dict[str, int], {"out": "object"}),
        (Pair, {"out": "object"}),
        ("[0-9]{3}", {"out": "string"}),
        (re.compile("a|b"), {"out": "string"}),
        ({"enum": [1, 2, None]}, {"out": "Int64"}),
        ({"enum": [1, "a"]}, {"out": "object"}),
        ({"const": True}, {"out": "boolean"}),
        ({"enum": [10**30]}, {"out": "object"}),
        ({}, {"out": "object"}),
    ],
    ids=str,
)  # fmt: skip
def test_every_form_has_its_columns(schema: Any, expected: dict[str, str]) -> None:
    assert columns(schema) == expected


def test_some_of_a_few_values_are_each_there_once() -> None:
    read = read_schema(set[Literal["a", "b", "c"]])
    assert read.plain["enum"][:5] == [[], ["a"], ["b"], ["c"], ["a", "b"]]
    assert len(read.plain["enum"]) == 8
    (column,) = read.columns()
    assert column.kind == "list"
    assert column.items is not None
    few = {"type": "array", "items": {"enum": [*"abcd"]}, "uniqueItems": True}
    assert len(read_schema({**few, "minItems": 1, "maxItems": 2}).plain["enum"]) == 10
    twice = {**few, "items": {"enum": [1, 1.0]}}
    assert read_schema(twice).plain["enum"] == [[], [1.0]]
    with pytest.raises(OptionError, match="8 values or fewer"):
        read_schema({**few, "items": {"enum": [*"abcdefghi"]}})


def test_nested_fields_may_stay_objects() -> None:
    assert columns(Review, flat=False) == {"tone": "category", "stars": "Int64", "place": "object"}


def test_equal_forms_ask_for_the_same_grammar() -> None:
    fields = {"tone": ["good", "bad"], "stars": int}
    assert read_schema(fields).grammar == read_schema(Stars).grammar
    assert read_schema(["a", "b"]).grammar == read_schema(Literal["a", "b"]).grammar
    assert read_schema(read_schema(int)) == read_schema(read_schema(int))


def test_a_plain_schema_names_every_property_and_admits_no_other() -> None:
    plain = read_schema({"type": "object", "properties": {"a": {"type": "integer"}}}).plain
    assert plain == {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize("schema", [Person, Review, ["a", "b"], "[a-c]+", {"a": int}], ids=str)
def test_a_schema_is_pickled_as_what_was_given(schema: Any) -> None:
    read = read_schema(schema)
    again = pickle.loads(pickle.dumps(read))
    assert again == read
    assert again.columns() == read.columns()


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (3, "A schema is a pydantic class"),
        ("int", "without quotes"),
        ("(a", "no regular expression"),
        ("", "not empty"),
        (re.compile("a", re.IGNORECASE), "IGNORECASE"),
        (r"a\b", "has '.*b'"),
        ("(?=a)b", "looks around"),
        (["a"], "at least two labels"),
        ([], "at least two labels"),
        (["a", "a"], "twice"),
        (["a", 3], "of type int"),
        (["a", " b"], "white space"),
        (["pos", "positive"], "'pos' is how 'positive' begins"),
        ({"a": "float"}, "Write float, without quotes"),
        ({"a": "flaot"}, "Did you mean 'float'"),
        ({"a": 3, "b": int}, "The field 'a' is 3"),
        ({"a": ["x"], "b": int}, "The field 'a' needs at least two"),
        ({3: int}, "A field's name is text"),
        ({"type": "objct"}, "no valid JSON schema.*type"),
        ({"type": "integer", "minimum": 3, "maximum": 2}, "Nothing satisfies"),
        ({"allOf": [{"type": "integer"}, {"type": "string"}]}, "Nothing satisfies"),
        ({"properties": {"a": False}, "required": ["a"], "type": "object"}, "Nothing satisfies"),
        ({"enum": []}, "Nothing satisfies"),
        ({"type": "integer", "enum": ["a", 1.5]}, "Nothing satisfies"),
        ({"$ref": "#"}, "recursive"),
        ({"$ref": "#/$defs/a", "$defs": {}}, "refers to"),
        ({"$ref": "https://example.com/a.json"}, "looks nowhere else"),
        ({"not": {"type": "string"}}, "'not'"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"oneOf": [{"type": "integer"}, {"type": "number"}]}, "oneOf"),
        ({"type": "string", "maxLength": 1000}, "up to 128"),
        ({"type": "string", "pattern": "a", "maxLength": 3}, "leave one out"),
        ({"type": "number", "multipleOf": 0.3}, "multiple"),
        ({"$schema": "http://json-schema.org/draft-04/schema#"}, "dialect"),
        ({"properties": {"a.b": {}, "a": {"type": "object", "properties": {"b": {}}}},
          "type": "object"}, "two fields for a column 'a.b'"),
    ],
    ids=str,
)  # fmt: skip
def test_what_can_not_be_is_refused_with_its_reason(schema: Any, why: str) -> None:
    with pytest.raises(OptionError, match=why):
        columns(schema)


class Node(pydantic.BaseModel):
    children: list[Node] = []


def test_a_recursive_class_is_refused() -> None:
    with pytest.raises(OptionError, match="recursive"):
        read_schema(Node)


def test_a_type_without_a_schema_is_refused() -> None:
    with pytest.raises(OptionError, match="No JSON schema can be made of the type Answer"):
        read_schema({"a": threading.Event})
    with pytest.raises(OptionError, match="No JSON schema can be made of the type Event"):
        read_schema(threading.Event)


def test_answers_become_values_and_objects() -> None:
    text = '{"name": "ada", "born": "1815-12-10"}'
    schema = read_schema(Person)
    assert read_answer(schema, text) == {"name": "Ada", "born": "1815-12-10", "tags": []}
    assert object_of(schema, text) == Person(name="ada", born=datetime.date(1815, 12, 10))
    assert object_of(read_schema(Tone), " good") is Tone.GOOD
    assert object_of(read_schema(Point), '{"x": 1}') == Point(1.0)
    assert object_of(read_schema("[0-9]+"), " 12") == "12"
    assert read_answer(read_schema(" [0-9]+"), " 12") == " 12"


def test_a_set_is_a_list_in_the_models_order() -> None:
    schema = read_schema({"tags": set[Literal["a", "b", "c", "d"]]})
    text = '{"tags": ["a", "b", "d"]}'
    assert read_answer(schema, text) == json.loads(text)
    assert object_of(schema, text) == {"tags": {"a", "b", "d"}}


def test_a_validators_refusal_is_the_answers_error() -> None:
    """It was pydantic's text: four lines, with the answer in them again, and an address."""
    answer = '{"name": "nobody", "born": "1815-12-10"}'
    with pytest.raises(AnswerError) as raised:
        read_answer(read_schema(Person), answer)
    assert str(raised.value) == f"The answer {answer!r} is refused: name: nobody is no name"


@pytest.mark.parametrize(
    ("schema", "text", "reason", "why"),
    [
        ({"a": int}, '{"a": 1', "length", "cut off by max_new_tokens.*retry"),
        ({"a": int}, '{"a": 1', "stop", "A stop string ended"),
        ({"a": int}, "hello", "eos", "no JSON"),
        ({"a": int}, '{"a": "x"}', "eos", "'x' is not of type 'integer'"),
        (int, "12", "length", "cut off"),
        ("[0-9]+", "12", "length", "cut off"),
        ("[0-9]+", "x", "eos", "no match"),
        (["good", "bad"], "goo", "length", "cut off"),
        (["good", "bad"], "ugly", "eos", "none of the labels"),
    ],
)
def test_what_is_no_answer_is_an_error_with_its_text(
    schema: Any, text: str, reason: str, why: str
) -> None:
    with pytest.raises(AnswerError, match=why) as raised:
        read_answer(read_schema(schema), text, reason)
    assert raised.value.text == text


def test_cells_are_what_the_columns_hold() -> None:
    schema = read_schema({"n": float, "at": datetime.datetime, "day": datetime.date, "in": Place})
    text = {"n": 10**400, "at": "2024-01-31T23:30:00-01:00", "day": "2024-02-29", "in": {}}
    cells = cells_of(schema.columns(), text)
    assert cells == [
        float("inf"),
        datetime.datetime(2024, 2, 1, 0, 30, tzinfo=datetime.UTC),
        datetime.datetime(2024, 2, 29),
        None,
        None,
    ]


def test_the_description_says_what_is_asked_for() -> None:
    assert "'good', 'bad'" in described(read_schema(["good", "bad"]))
    assert "[0-9]{3}" in described(read_schema("[0-9]{3}"))
    text = described(read_schema(Person))
    assert json.loads(text.partition("\n")[2]) == Person.model_json_schema()
