"""Answers of the LLM as objects, and the chat model's in hfnb's own forms."""

from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
from typing import Any, Literal, TypedDict

import pandas as pd
import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.exceptions import OutputParserException
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from pydantic import BaseModel, field_validator

import hfnb
from hfnb.errors import OptionError
from tests.frame.support import Recorder, said
from tests.langchain.chat_engines import engine_of, scripted
from tests.needs import require

require("structured")

ASK = PromptTemplate.from_template("What is the number {i} in french?")
ROWS = [{"i": 1}, {"i": 2}, {"i": 3}]
WORDS = ["un", "deux", "trois"]


class Number(BaseModel):
    sure: bool
    digit: Literal[1, 2, 3]


class NumberDict(TypedDict):
    sure: bool
    digit: int


@dataclasses.dataclass
class Point:
    x: int
    y: bool


class Word(enum.Enum):
    ONE = "un"
    TWO = "deux"


@pytest.fixture(scope="module")
def numbers() -> hfnb.HuggingFacePipeline:
    return hfnb.load("hfnb/numbers-fr", max_new_tokens=60)


def test_labels_are_chosen_in_every_way_of_calling(numbers: hfnb.HuggingFacePipeline) -> None:
    chain = ASK | numbers.with_structured_output(WORDS)
    assert chain.batch(ROWS) == WORDS
    assert chain.invoke(ROWS[1]) == "deux"
    assert asyncio.run(chain.abatch(ROWS)) == WORDS
    assert asyncio.run(chain.ainvoke(ROWS[2])) == "trois"
    assert list(chain.stream(ROWS[0]))[-1] == "un"


@pytest.mark.parametrize(
    ("schema", "kind"),
    [
        (Number, Number),
        (NumberDict, dict),
        (Point, Point),
        (Word, Word),
        ({"a": ["x", "y"], "b": bool}, dict),
        (Number.model_json_schema(), dict),
        (int, int),
        ("[0-9]{3}", str),
    ],
    ids=str,
)
def test_answers_are_what_the_schema_was_given_as(
    schema: Any, kind: type, numbers: hfnb.HuggingFacePipeline
) -> None:
    for found in (ASK | numbers.with_structured_output(schema)).batch(ROWS):
        assert isinstance(found, kind)


def test_a_batch_is_computed_together_and_options_act() -> None:
    engine = hfnb.EchoEngine(lambda prompt: '{"sure": true, "digit": 2}')
    llm = hfnb.HuggingFacePipeline(engine=engine, batch_size=8)
    chain = ASK | llm.with_structured_output(Number, max_new_tokens=9)
    assert chain.batch(ROWS) == [Number(sure=True, digit=2)] * 3
    assert llm.grammar is None
    with pytest.raises(OptionError, match="Did you mean 'max_new_tokens'"):
        llm.with_structured_output(Number, max_new_token=9)
    with pytest.raises(OptionError, match="can't be held to"):
        llm.with_structured_output({"not": {}})
    with pytest.raises(OptionError, match="leave it out"):
        llm.with_structured_output(Number, return_full_text=True)


def test_the_model_is_told_of_the_schema_only_when_asked() -> None:
    engine = Recorder(lambda prompt: "a")
    llm = hfnb.HuggingFacePipeline(engine=engine, batch_size=8, chat="auto")
    labels = ["a", "b"]
    llm.with_structured_output(labels).invoke("x")
    (request,) = engine.asked
    assert said(request) == [("user", "x")]
    chain = ASK | llm.with_structured_output(labels, describe_schema=True)
    assert chain.batch(ROWS) == ["a"] * 3
    assert len(engine.asked) == 3
    text = said(engine.asked[0])[0][1]
    assert text.endswith("'a', 'b'\n\nWhat is the number 1 in french?")
    chat = ChatPromptTemplate.from_messages([("system", "Be brief."), ("human", "{i}")])
    (chat | llm.with_structured_output(labels, describe_schema=True)).invoke({"i": "x"})
    (first, last) = said(engine.asked[0])
    assert first == ("system", "Be brief.")
    assert last[1].startswith("x\n\nAnswer with one of these")


def test_half_an_answer_is_an_error_and_stands_beside_the_text_on_request(
    numbers: hfnb.HuggingFacePipeline,
) -> None:
    chain = numbers.with_structured_output(Number, max_new_tokens=3)
    with pytest.raises(OutputParserException, match="more tokens with max_new_tokens"):
        chain.invoke("a")
    raw = numbers.with_structured_output(Number, include_raw=True, max_new_tokens=3)
    (found,) = raw.batch(["a"])
    assert found["raw"].startswith("{")
    assert found["parsed"] is None
    assert isinstance(found["parsing_error"], OutputParserException)
    whole = numbers.with_structured_output(Number, include_raw=True).invoke("a")
    assert whole["parsed"] == Number(**json.loads(whole["raw"]))


def test_a_validators_refusal_is_the_chains_error() -> None:
    class Strict(BaseModel):
        a: int

        @field_validator("a")
        @classmethod
        def _refuse(cls, a: int) -> int:
            raise ValueError("never right")

    llm = hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine(lambda _: '{"a": 1}'))
    with pytest.raises(OutputParserException, match="never right"):
        llm.with_structured_output(Strict).invoke("a")


def test_the_cache_keeps_schemas_apart() -> None:
    engine = hfnb.EchoEngine(lambda _: "a")
    llm = hfnb.HuggingFacePipeline(engine=engine, cache=InMemoryCache())
    llm.invoke("x")
    llm.with_structured_output(["a", "b"]).invoke("x")
    llm.with_structured_output(["a", "c"]).invoke("x")
    llm.with_structured_output(["a", "b"]).invoke("x")
    assert engine.calls == 3


def test_such_a_chain_runs_over_a_frame(numbers: hfnb.HuggingFacePipeline) -> None:
    chain = ASK | numbers.with_structured_output(Number)
    data = hfnb.run(pd.DataFrame(ROWS), chain, progress=False).data
    assert all(isinstance(each, Number) for each in data["output"])


@pytest.mark.parametrize(
    ("schema", "text", "expected"),
    [
        (["good", "bad"], '"bad"', "bad"),
        (Point, '{"x": 1, "y": true}', Point(1, True)),
        (Word, '"deux"', Word.TWO),
        ({"a": ["x", "y"], "b": int}, '{"a": "x", "b": 1}', {"a": "x", "b": 1}),
        (list[int], "[1, 2]", [1, 2]),
        ("[0-9]+", '"12"', "12"),
    ],
    ids=str,
)
def test_the_chat_model_takes_the_same_forms(schema: Any, text: str, expected: Any) -> None:
    chat = scripted(text)
    chain = chat.with_structured_output(schema)
    assert chain.batch(["a", "b"]) == [expected] * 2
    assert asyncio.run(chain.ainvoke("a")) == expected
    assert list(chain.stream("a"))[-1] == expected
    grammar = engine_of(chat).last.generation.grammar
    assert grammar is not None
    assert grammar.kind == "json_schema"
