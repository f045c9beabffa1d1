"""Answers as objects: `ChatHuggingFace.with_structured_output`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from langchain_core.exceptions import OutputParserException
from langchain_core.messages import AIMessage, HumanMessage
from pydantic import BaseModel, Field
from typing_extensions import TypedDict

import hfnb
from hfnb import ChatHuggingFace
from hfnb.errors import EngineError, OptionError
from tests.langchain import chat_tool_caller
from tests.langchain.chat_engines import Scripted, chat_with, engine_of, scripted

Tiny = Callable[[str], Path]
METHODS: list[Any] = ["json_schema", "json_mode", "function_calling"]
SAID = '{"name": "Ada", "age": 36}'


class Person(BaseModel):
    """A person."""

    name: str
    age: int = Field(description="In years.")


class PersonDict(TypedDict):
    """A person."""

    name: Annotated[str, ..., "The name."]
    age: Annotated[int, ..., "In years."]


SCHEMAS: list[Any] = [Person, PersonDict, Person.model_json_schema()]


def saying(method: str, name: str, text: str = SAID) -> str:
    if method != "function_calling":
        return text
    return f'<tool_call>\n{{"name": "{name}", "arguments": {text}}}\n</tool_call>'


@pytest.mark.parametrize("schema", SCHEMAS, ids=["pydantic", "typeddict", "dict"])
@pytest.mark.parametrize("method", METHODS)
def test_an_answer_is_an_object_of_the_schema(schema: Any, method: Any) -> None:
    name = "PersonDict" if schema is PersonDict else "Person"
    chat = scripted(saying(method, name), cut=3)
    chain = chat.with_structured_output(schema, method=method)
    expected: Any = json.loads(SAID)
    expected = Person(**expected) if schema is Person else expected
    assert chain.invoke("a") == expected
    assert chain.batch(["a", "b"]) == [expected, expected]
    assert asyncio.run(chain.ainvoke("a")) == expected
    assert list(chain.stream("a"))[-1] == expected
    assert len(engine_of(chat).asked) == 4
    raw = chat.with_structured_output(schema, method=method, include_raw=True)
    streamed = {name: part[name] for part in raw.stream("a") for name in part}
    for found in (raw.invoke("a"), *raw.batch(["a", "b"]), streamed):
        assert isinstance(found["raw"], AIMessage)
        assert found["parsed"] == expected
        assert found["parsing_error"] is None
    assert len(engine_of(chat).asked) == 7


def test_the_grammar_is_the_schema() -> None:
    chat = scripted(SAID)
    chat.with_structured_output(Person).invoke("a")
    grammar = engine_of(chat).last.generation.grammar
    assert grammar is not None
    assert grammar.kind == "json_schema"
    assert json.loads(grammar.text) == Person.model_json_schema()
    chat.with_structured_output(None, method="json_mode").invoke("a")
    grammar = engine_of(chat).last.generation.grammar
    assert grammar is not None
    assert json.loads(grammar.text) == {"type": "object"}
    chat.bind_tools([]).invoke("a")
    assert engine_of(chat).last.generation.grammar is None


def test_dictionaries_grow_while_they_are_streamed() -> None:
    found = list(scripted(SAID, cut=2).with_structured_output(PersonDict).stream("a"))
    assert found[0] == {}
    assert {"name": "Ad"} in found
    assert found[-1] == json.loads(SAID)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("schema", SCHEMAS[:2], ids=["pydantic", "typeddict"])
def test_an_answer_that_was_cut_off_is_an_error_that_says_so(schema: Any, method: Any) -> None:
    text = saying(method, schema.__name__)
    engine = Scripted(text[: text.index("36")], reason="length")
    chain = chat_with(engine).with_structured_output(schema, method=method)
    for call in (chain.invoke, lambda text: list(chain.stream(text))):
        with pytest.raises(OutputParserException, match=r"cut off after \d+ new.*max_new_tokens"):
            call("a")
    raw = chat_with(engine).with_structured_output(schema, method=method, include_raw=True)
    found = raw.invoke("a")
    assert found["parsed"] is None
    assert "cut off" in str(found["parsing_error"])


def test_an_answer_that_ends_with_its_last_token_is_whole() -> None:
    chain = chat_with(Scripted(SAID, reason="length")).with_structured_output(Person)
    assert chain.invoke("a") == Person(name="Ada", age=36)


def test_in_a_batch_each_row_has_its_own_error() -> None:
    def answer(text: str) -> str:
        return SAID if text == "good" else '{"name": 3}'

    engine = Scripted(answer, fail=lambda text: text == "fail")
    chain = chat_with(engine).with_structured_output(Person)
    good, wrong, failed = chain.batch(["good", "wrong", "fail"], return_exceptions=True)
    assert good == Person(name="Ada", age=36)
    assert isinstance(wrong, OutputParserException)
    assert isinstance(failed, EngineError)
    assert len(engine.asked) == 1


def test_an_object_begins_anew_after_an_answer() -> None:
    """Agents ask for the object of a conversation whose last message is the model's own."""
    chat = scripted(SAID)
    messages = [HumanMessage("Who?"), AIMessage("Ada, 36.")]
    assert chat.with_structured_output(Person).invoke(messages) == Person(name="Ada", age=36)
    assert not engine_of(chat).last.chats[0].prefill
    assert len(engine_of(chat).last.chats[0].messages) == 2


def test_what_is_no_schema_and_no_method_is_refused() -> None:
    chat = scripted("ok")
    with pytest.raises(OptionError, match=r"'json_shema'\. Did you mean 'json_schema'\?"):
        chat.with_structured_output(Person, method="json_shema")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="needs a schema"):
        chat.with_structured_output(None)
    with pytest.raises(OptionError, match="a pydantic class, a TypedDict"):
        chat.with_structured_output(3)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="Unknown option 'temprature'"):
        chat.with_structured_output(Person, temprature=1)


@pytest.fixture(scope="module")
def caller() -> ChatHuggingFace:
    """The tiny trained model, drawing at random: only a grammar makes sense of it."""
    return ChatHuggingFace(llm=chat_tool_caller.pipeline(), temperature=1.0)


class Choice(BaseModel):
    """A choice."""

    colour: Annotated[str, Field(pattern="^(red|blue)$")]
    dark: bool
    number: Annotated[int, Field(ge=0, le=9)]


@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_a_model_that_draws_at_random_is_held_to_the_schema(
    caller: ChatHuggingFace, method: Any
) -> None:
    chain = caller.with_structured_output(Choice, method=method, seed=5)
    found = chain.batch([f"text {i}" for i in range(6)])
    assert all(isinstance(each, Choice) for each in found)
    assert len({repr(each) for each in found}) > 1


def test_a_tiny_random_model_is_held_to_the_schema(tiny_model: Tiny) -> None:
    llm = hfnb.load(tiny_model("qwen3"), device="cpu", dtype="float32", max_new_tokens=48)
    chain = ChatHuggingFace(llm=llm).with_structured_output(Choice)
    assert isinstance(chain.invoke("a"), Choice)


def test_the_limit_of_new_tokens_is_named_by_a_real_model(caller: ChatHuggingFace) -> None:
    chain = caller.with_structured_output(Choice, max_new_tokens=3)
    with pytest.raises(OutputParserException, match="cut off after 3 new tokens"):
        chain.invoke("a")
