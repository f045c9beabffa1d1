"""Tools of chat models: shown to the template, called in each model's own way, and forced."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langchain_core.tools import tool
from pydantic import BaseModel
from typing_extensions import TypedDict

import hfnb
from hfnb import ChatHuggingFace
from hfnb.chat.reply import parse_reply
from hfnb.chat.tools import ToolFormat, call_grammar, json_grammar, openai_tools
from hfnb.errors import MissingExtraError, ModelError, OptionError
from hfnb.spec import Grammar
from tests.langchain import chat_tool_caller
from tests.langchain.chat_engines import Scripted, chat_with, engine_of, scripted

CALL = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "b": 2}}\n</tool_call>'


def add(a: int, b: int) -> int:
    """Add two integers."""
    return a + b


@tool
def greet(name: str) -> str:
    """Greet someone."""
    return name


class Weather(BaseModel):
    """Get the weather."""

    place: str


class Search(TypedDict):
    """Search."""

    query: str


AS_DICT = {"type": "function", "function": {"name": "nothing", "description": "Do nothing."}}


@pytest.fixture(scope="module")
def caller() -> ChatHuggingFace:
    """The tiny model that was trained to call tools."""
    return ChatHuggingFace(llm=chat_tool_caller.pipeline())


def summed(chunks: list[Any]) -> AIMessageChunk:
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    assert isinstance(total, AIMessageChunk)
    return total


# --- binding ----------------------------------------------------------------------------------


def test_tools_of_every_kind_reach_the_template() -> None:
    chat = scripted("ok")
    chat.bind_tools([add, greet, Weather, Search, AS_DICT]).invoke("a")
    shown = engine_of(chat).last.chats[0].tools
    assert [each["function"]["name"] for each in shown] == [
        "add",
        "greet",
        "Weather",
        "Search",
        "nothing",
    ]
    assert shown[0]["function"]["parameters"]["required"] == ["a", "b"]
    assert {"<|python_tag|>", "[TOOL_CALLS]", "[ARGS]", "[CALL_ID]", "<tool_call>"} <= set(
        engine_of(chat).last.generation.keep_tokens
    )
    chat.bind_tools([]).invoke("a")
    assert engine_of(chat).last.chats[0].tools == ()
    assert "[TOOL_CALLS]" not in engine_of(chat).last.generation.keep_tokens


def test_tools_count_as_tokens_of_the_prompt(caller: ChatHuggingFace) -> None:
    messages: Any = [HumanMessage("Hello")]
    usage = caller.bind_tools([add]).invoke(messages).usage_metadata
    assert usage is not None
    assert caller.get_num_tokens_from_messages(messages, tools=[add]) == usage["input_tokens"]
    assert caller.get_num_tokens_from_messages(messages) < usage["input_tokens"]


def test_a_model_that_takes_no_tools_says_so_when_they_are_bound() -> None:
    chat = scripted("ok", tools=False)
    for call in (
        lambda: chat.bind_tools([add]),
        lambda: chat.with_structured_output(Weather, method="function_calling"),
        lambda: chat.invoke("a", tools=[add]),
    ):
        with pytest.raises(ModelError, match=r"takes no tools.*json_schema"):
            call()
    chat.bind_tools([]).invoke("a")


def test_what_is_no_tool_and_no_choice_is_refused() -> None:
    chat = scripted("ok")
    with pytest.raises(OptionError, match=r"runs on a provider's servers"):
        chat.bind_tools([{"type": "web_search_preview"}])
    with pytest.raises(OptionError, match=r"'ad' is no tool\. Did you mean 'add'\?"):
        chat.bind_tools([add], tool_choice="ad")
    with pytest.raises(OptionError, match="without any tools"):
        chat.bind_tools([], tool_choice="any")
    with pytest.raises(OptionError, match="'max_new_tokns'"):
        chat.bind_tools([add], max_new_tokns=3)
    with pytest.raises(OptionError, match="give one of them"):
        chat.bind_tools([add]).invoke("a", response_format={"type": "json_object"})
    with pytest.raises(OptionError, match="response_format is"):
        chat.invoke("a", response_format={"type": "yaml"})


@pytest.mark.parametrize(
    ("choice", "forced"),
    [
        (None, None),
        ("auto", None),
        (False, None),
        ("any", ["add", "greet"]),
        ("required", ["add", "greet"]),
        (True, ["add", "greet"]),
        ({"type": "any"}, ["add", "greet"]),
        ("greet", ["greet"]),
        ({"type": "function", "function": {"name": "greet"}}, ["greet"]),
        ({"type": "tool", "name": "greet"}, ["greet"]),
    ],
)
def test_a_choice_of_tools_becomes_a_grammar(choice: Any, forced: list[str] | None) -> None:
    chat = scripted("ok", chat_template="<tool_call>")
    chat.bind_tools([add, greet], tool_choice=choice).invoke("a")
    grammar = engine_of(chat).last.generation.grammar
    assert len(engine_of(chat).last.chats[0].tools) == 2
    if forced is None:
        assert grammar is None
    else:
        assert grammar is not None
        assert grammar.kind == "structural_tag"
        tags = json.loads(grammar.text)["format"]["tags"]
        assert [
            name for name in ("add", "greet") if any(name in t["begin"] for t in tags)
        ] == forced


def test_tools_that_may_not_be_called_are_not_shown() -> None:
    chat = scripted(CALL)
    answer = chat.bind_tools([add], tool_choice="none").invoke("a")
    assert engine_of(chat).last.chats[0].tools == ()
    assert answer.tool_calls == []
    assert answer.content == CALL


# --- calls in answers -------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 3, 1000])
def test_calls_are_taken_out_of_answers_and_streams(cut: int) -> None:
    text = f"Let me.\n{CALL}\n{CALL.replace('add', 'greet')}"
    chat = scripted(text, cut=cut)
    bound = chat.bind_tools([add, greet])
    chunks: list[Any] = list(bound.stream("a"))
    for answer in (bound.invoke("a"), summed(chunks), *bound.batch(["a", "b"])):
        assert answer.content == "Let me."
        assert [each["name"] for each in answer.tool_calls] == ["add", "greet"]
        assert answer.tool_calls[0]["args"] == {"a": 1, "b": 2}
        assert answer.invalid_tool_calls == []
        ids = [each["id"] or "" for each in answer.tool_calls]
        assert len({*ids}) == 2
        assert all(len(each) == 9 and each.isalnum() for each in ids)
    assert all("<" not in chunk.text and "tool" not in chunk.text for chunk in chunks)
    pieces = [each for chunk in chunks for each in chunk.tool_call_chunks]
    assert [(each["name"], each["index"]) for each in pieces] == [("add", 0), ("greet", 1)]


def test_blocks_of_version_1_stay_apart_in_streams() -> None:
    text = f"<think>hm</think>Let me.{CALL}{CALL} Done."
    chat = chat_with(Scripted(text), output_version="v1")
    full = summed(list(chat.bind_tools([add]).stream("a")))
    kinds = [block["type"] for block in full.content_blocks]
    assert kinds == ["reasoning", "text", "tool_call", "tool_call", "text"]
    assert [each["args"] for each in full.tool_calls] == [{"a": 1, "b": 2}] * 2
    assert full.text == "Let me. Done."


def test_a_call_that_is_no_json_is_kept_as_an_invalid_one() -> None:
    bound = scripted('Hm. <tool_call>{"name": "add", "arguments": {"a": 1').bind_tools([add])
    for answer in (bound.invoke("a"), summed(list(bound.stream("a")))):
        assert answer.tool_calls == []
        (call,) = answer.invalid_tool_calls
        assert call["args"] == '<tool_call>{"name": "add", "arguments": {"a": 1'
        assert answer.content == "Hm."
    error = bound.invoke("a").invalid_tool_calls[0]["error"]
    assert error is not None
    assert "JSON" in error


def test_without_tools_nothing_is_taken_for_a_call() -> None:
    assert scripted(CALL).invoke("a").content == CALL


def test_a_trained_model_calls_tools_and_reads_their_results(caller: ChatHuggingFace) -> None:
    @tool
    def my_adder_tool(a: int, b: int) -> int:
        """Add two integers."""
        return a + b

    bound = caller.bind_tools([my_adder_tool])
    question = HumanMessage("What is 1 + 2 and 3 + 4?")
    answer = bound.invoke([question])
    assert answer.content == "I add them."
    assert [each["args"] for each in answer.tool_calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]
    results = [my_adder_tool.invoke(call) for call in answer.tool_calls]
    assert [each.content for each in results if isinstance(each, ToolMessage)] == ["3", "7"]
    assert isinstance(bound.invoke([question, answer, *results]), AIMessage)
    streamed = summed(list(bound.stream([question])))
    assert [each["args"] for each in streamed.tool_calls] == [{"a": 1, "b": 2}, {"a": 3, "b": 4}]


# --- forced calls -----------------------------------------------------------------------------

TEMPLATES: dict[ToolFormat, str] = {
    "hermes": "<tool_call>",
    "qwen xml": "<tool_call><function=",
    "llama": '<|python_tag|> "parameters"',
    "mistral list": "[TOOL_CALLS] [",
    "mistral args": "[TOOL_CALLS] [ARGS]",
}
WRITTEN: dict[ToolFormat, tuple[str, str]] = {
    "hermes": (CALL, "\n"),
    "qwen xml": (
        "<tool_call>\n<function=add>\n<parameter=a>\n1\n</parameter>\n<parameter=b>\n2\n"
        "</parameter>\n</function>\n</tool_call>",
        "\n",
    ),
    "llama": ('{"name": "add", "parameters": {"a": 1, "b": 2}}', "; "),
    "mistral list": ('{"name": "add", "arguments": {"a": 1, "b": 2}}', ", "),
    "mistral args": ('[TOOL_CALLS]add[ARGS]{"a": 1, "b": 2}', ""),
}


def accepts(grammar: Grammar, text: str) -> bool:
    import xgrammar
    from xgrammar.testing import _is_grammar_accept_string

    if grammar.kind == "json_schema":
        made = xgrammar.Grammar.from_json_schema(grammar.text)
    else:
        made = xgrammar.Grammar.from_structural_tag(grammar.text)
    return bool(_is_grammar_accept_string(made, text))


@pytest.mark.parametrize("written", WRITTEN)
def test_a_forced_call_is_written_in_the_models_own_way(written: ToolFormat) -> None:
    engine = Scripted("ok", chat_template=TEMPLATES[written])
    chat = chat_with(engine)
    assert chat.template.format == written
    chat.bind_tools([add, greet], tool_choice="any").invoke("a")
    grammar = engine.last.generation.grammar
    assert grammar is not None
    call, between = WRITTEN[written]

    def whole(text: str) -> str:
        return f"[TOOL_CALLS] [{text}]" if written == "mistral list" else text

    one, two = whole(call), whole(f"{call}{between}{call}")
    other = one.replace("add", "sub")
    assert accepts(grammar, one)
    assert accepts(grammar, two)
    for wrong in (other, "", "hello", one[:-1], f"hello {one}", f"{one} x"):
        assert not accepts(grammar, wrong)
    assert not accepts(grammar, one.replace("1", "x"))
    tools = openai_tools([add, greet])
    named = call_grammar(tools, "add", written, text=TEMPLATES[written])
    assert accepts(named, one)
    assert not accepts(named, two)
    alone = call_grammar(tools, "any", written, several=False, text=TEMPLATES[written])
    assert not accepts(alone, two)
    schemas = {each["function"]["name"]: each["function"]["parameters"] for each in tools}
    for text, calls in ((one, 1), (two, 2)):
        pieces = parse_reply(text, tools={"add"}, schemas=schemas)
        assert [(each.kind, each.name, json.loads(each.text)) for each in pieces] == [
            ("call", "add", {"a": 1, "b": 2})
        ] * calls


def test_a_forced_answer_may_reason_first_where_the_prompt_opened_it() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
    plain, opened = json_grammar(schema), json_grammar(schema, opened=True)
    assert accepts(plain, '{"a": 1}')
    assert not accepts(plain, 'so</think>{"a": 1}')
    for text in ('so\n</think>\n\n{"a": 1}', '</think>{"a": 1}'):
        assert accepts(opened, text)
    for text in ('{"a": 1}', "so</think>", 'so</think>{"a": "x"}'):
        assert not accepts(opened, text)
    grammar = call_grammar(openai_tools([add]), "any", "hermes", opened=True)
    assert accepts(grammar, f"so</think>\n{CALL}")


def test_a_model_that_draws_at_random_is_made_to_call() -> None:
    """Held to its grammar, even a model without any sense writes a call that can be read."""
    llm = hfnb.load(chat_tool_caller.FOLDER, device="cpu", dtype="float32", max_new_tokens=128)
    chat = ChatHuggingFace(llm=llm, temperature=1.5)

    schema = {
        "type": "function",
        "function": {
            "name": "colour",
            "parameters": {
                "type": "object",
                "properties": {"name": {"enum": ["red", "blue"]}, "dark": {"type": "boolean"}},
                "required": ["name", "dark"],
            },
        },
    }
    bound = chat.bind_tools([schema], tool_choice="colour", seed=1)
    for answer in bound.batch([f"text {i}" for i in range(4)]):
        (call,) = answer.tool_calls
        assert call["name"] == "colour"
        assert call["args"]["name"] in ("red", "blue")
        assert isinstance(call["args"]["dark"], bool)


def test_what_xgrammar_does_is_said_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    chat = scripted("ok")
    chat.bind_tools([add]).invoke("a")
    for call in (
        lambda: chat.bind_tools([add], tool_choice="any"),
        lambda: chat.with_structured_output(Weather),
        lambda: chat.invoke("a", response_format={"type": "json_object"}),
    ):
        with pytest.raises(MissingExtraError, match=r'pip install "hfnb\[structured\]"'):
            call()
