"""hfnb.ChatHuggingFace: messages in, messages out, over any engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_core.prompts import ChatPromptTemplate

import hfnb
from hfnb import ChatHuggingFace, HuggingFacePipeline
from hfnb.engines.base import Chat, Message
from hfnb.errors import EngineError, ModelError, OptionError, PromptTooLongError
from tests.langchain.chat_engines import Scripted, chat_with, engine_of, scripted

Tiny = Callable[[str], Path]
QUESTION = "What is the number 72 in french?"
ANSWER = "soixante-douze"
QWEN = "{% if x %}<tool_call>{% endif %}{% if enable_thinking %}<think>{% endif %}"


@pytest.fixture(scope="module")
def numbers() -> ChatHuggingFace:
    """The packaged model that knows French numbers."""
    return ChatHuggingFace(llm=hfnb.load("hfnb/numbers-fr", max_new_tokens=16, device="cpu"))


@pytest.fixture(scope="module")
def qwen(tiny_model: Tiny) -> ChatHuggingFace:
    """The tiny qwen3 with random weights."""
    llm = hfnb.load(tiny_model("qwen3"), max_new_tokens=12, device="cpu", dtype="float32")
    return ChatHuggingFace(llm=llm)


def summed(chunks: list[Any]) -> AIMessageChunk:
    total = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    assert isinstance(total, AIMessageChunk)
    return total


# --- messages ---------------------------------------------------------------------------------


def test_a_model_answers_text_messages_and_prompts(numbers: ChatHuggingFace) -> None:
    assert numbers.invoke(QUESTION).content == ANSWER
    assert numbers.invoke([HumanMessage(QUESTION)]).content == ANSWER
    assert numbers.invoke([("human", QUESTION)]).content == ANSWER
    chain = ChatPromptTemplate.from_template("What is the number {i} in french?") | numbers
    assert chain.invoke({"i": 72}).content == ANSWER
    assert asyncio.run(numbers.ainvoke(QUESTION)).content == ANSWER
    assert numbers.batch(["What is the number 8 in french?", QUESTION])[1].content == ANSWER


def test_an_answer_is_that_of_transformers_over_the_rendered_template(
    qwen: ChatHuggingFace,
) -> None:
    import torch

    loaded = qwen.llm.engine.loaded
    messages = [{"role": "system", "content": "a"}, {"role": "user", "content": "b c"}]
    prompt = loaded.tokenizer.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True, return_tensors="pt"
    )
    with torch.inference_mode():
        out = loaded.model.generate(**prompt, max_new_tokens=12, do_sample=False)
    ids = out[0, prompt["input_ids"].shape[1] :]
    expected = loaded.tokenizer.decode(ids, skip_special_tokens=True)
    answer = qwen.invoke([SystemMessage("a"), HumanMessage("b c")])
    assert answer.content == expected
    assert answer.usage_metadata is not None
    assert answer.usage_metadata["input_tokens"] == prompt["input_ids"].shape[1]


def test_a_template_that_writes_the_bos_gets_no_second_one(tiny_model: Tiny) -> None:
    chat = ChatHuggingFace(llm=hfnb.load(tiny_model("phi3"), device="cpu", dtype="float32"))
    loaded = chat.llm.engine.loaded
    rendered = loaded.tokenizer.apply_chat_template(
        [{"role": "user", "content": "a"}], add_generation_prompt=True
    )
    assert chat.get_num_tokens_from_messages([HumanMessage("a")]) == len(rendered["input_ids"])


def test_every_kind_of_message_reaches_the_template() -> None:
    chat = scripted("ok")
    call = {"name": "add", "args": {"a": 1}, "id": "abcdefghi", "type": "tool_call"}
    chat.invoke(
        [
            SystemMessage("s"),
            HumanMessage("h", name="ada"),
            AIMessage("", tool_calls=[call], additional_kwargs={"reasoning_content": "hm"}),
            ToolMessage("2", tool_call_id="abcdefghi"),
            AIMessage([{"type": "reasoning", "reasoning": "so"}, {"type": "text", "text": "2"}]),
            ChatMessage(content="d", role="developer"),
            HumanMessage([{"type": "text", "text": "a"}, "b"]),
        ]
    )
    function = {"name": "add", "arguments": {"a": 1}}
    calls = [{"type": "function", "id": "abcdefghi", "function": function}]
    assert engine_of(chat).last.chats == [
        Chat(
            (
                Message("system", "s"),
                Message("user", "h", {"name": "ada"}),
                Message("assistant", "", {"tool_calls": calls, "reasoning_content": "hm"}),
                Message("tool", "2", {"tool_call_id": "abcdefghi", "name": "add"}),
                Message("assistant", "2", {"reasoning_content": "so"}),
                Message("developer", "d"),
                Message("user", "ab"),
            )
        )
    ]


def test_an_answer_is_continued_and_holds_the_new_text_only(qwen: ChatHuggingFace) -> None:
    chat = scripted("more")
    assert chat.invoke([HumanMessage("a"), AIMessage("so far")]).content == "more"
    asked = engine_of(chat).last.chats[0]
    assert asked.prefill
    assert asked.messages[-1] == Message("assistant", "so far")
    chat.invoke([HumanMessage("a"), AIMessage("")])
    assert engine_of(chat).last.chats == [Chat((Message("user", "a"),))]
    call = {"name": "f", "args": {}, "id": "1"}
    chat.invoke([HumanMessage("a"), AIMessage("so", tool_calls=[call])])
    assert not engine_of(chat).last.chats[0].prefill

    full = qwen.invoke("a b c").text
    assert qwen.invoke([HumanMessage("a b c"), AIMessage(full[:4])]).text.strip()
    assert qwen.get_num_tokens_from_messages([HumanMessage("a")]) > 4


def test_what_is_not_text_is_refused() -> None:
    picture = HumanMessage([{"type": "image_url", "image_url": {"url": "data:,"}}])
    for call in (scripted().invoke, lambda messages: list(scripted().stream(messages))):
        with pytest.raises(OptionError, match=r"'image_url'.*caption"):
            call([picture])
    with pytest.raises(OptionError, match="no messages"):
        scripted().invoke([])


def test_a_model_without_a_chat_template_is_refused_when_it_is_wrapped(tiny_model: Tiny) -> None:
    with pytest.raises(ModelError, match=r"no chat template.*PromptTemplate.*instruct"):
        ChatHuggingFace(llm=hfnb.load(tiny_model("gpt2"), device="cpu"))


# --- settings ---------------------------------------------------------------------------------


def test_settings_of_the_model_the_chat_and_the_call_win_in_this_order() -> None:
    chat = scripted("ok", variables=["enable_thinking"])
    llm = chat.llm
    assert engine_of(chat).asked == []

    def generation(**options: Any) -> dict[str, Any]:
        chat.invoke("a", **options)
        return engine_of(chat).last.generation.as_dict()

    llm.pipeline_kwargs = {"max_new_tokens": 5, "temperature": 0.5, "top_p": 0.9}
    assert generation() == {"temperature": 0.5, "max_new_tokens": 5, "top_p": 0.9}
    chat.temperature, chat.max_tokens, chat.stop = 0.25, 6, ["x"]
    assert generation()["temperature"] == 0.25
    assert generation()["max_new_tokens"] == 6
    assert generation()["stop"] == ["x"]
    asked = generation(temperature=0, max_tokens=7, stop=["y"], top_p=None)
    assert asked == {"temperature": 0.0, "max_new_tokens": 7, "stop": ["y"]}
    assert generation(max_new_tokens=8, stop=[]) == {
        "temperature": 0.25,
        "max_new_tokens": 8,
        "top_p": 0.9,
    }
    bound = chat.bind(max_tokens=9, seed=3)
    bound.invoke("a")
    assert engine_of(chat).last.generation.get("max_new_tokens") == 9
    assert engine_of(chat).last.generation.seed == 3
    llm.batch_size = 3
    chat.invoke("a")
    assert engine_of(chat).last.batch_size == 3


def test_arguments_are_checked_with_the_closest_name() -> None:
    llm = scripted("ok").llm
    with pytest.raises(OptionError, match=r"no argument 'temprature'.*'temperature'"):
        ChatHuggingFace(llm=llm, temprature=1)
    with pytest.raises(OptionError, match="temperature is a number"):
        ChatHuggingFace(llm=llm, temperature=-1.0)
    with pytest.raises(OptionError, match="needs llm"):
        ChatHuggingFace()
    with pytest.raises(OptionError, match="needs llm"):
        ChatHuggingFace(llm=hfnb.EchoEngine())
    chat = ChatHuggingFace(llm=llm, max_new_tokens=3, stop="x", timeout=60, api_key="k")
    assert (chat.max_tokens, chat.stop) == (3, ["x"])
    for call in (chat.invoke, lambda text, **options: list(chat.stream(text, **options))):
        with pytest.raises(OptionError, match=r"'max_new_token'.*'max_new_tokens'"):
            call("a", max_new_token=3)
    with pytest.raises(OptionError, match="two names of one option"):
        chat.invoke("a", max_tokens=3, max_new_tokens=4)
    with pytest.raises(OptionError, match="can't change to 'other'"):
        chat.invoke("a", model="other")
    assert chat.invoke("a", model="hfnb/echo").content == "ok"


def test_variables_of_the_chat_template_are_passed_on_and_checked() -> None:
    chat = scripted("ok", variables=["enable_thinking", "date"])
    chat.chat_template_kwargs = {"enable_thinking": False}
    chat.llm.chat_template_kwargs = {"enable_thinking": True, "date": "today"}
    chat.invoke("a")
    assert engine_of(chat).last.chats[0].options == {"enable_thinking": False, "date": "today"}
    chat.bind(chat_template_kwargs={"enable_thinking": True}).invoke("a")
    assert engine_of(chat).last.chats[0].options == {"enable_thinking": True, "date": "today"}
    with pytest.raises(OptionError, match=r"'enable_thinkin'.*'enable_thinking'"):
        chat.invoke("a", chat_template_kwargs={"enable_thinkin": True})
    with pytest.raises(OptionError, match="hfnb sets itself"):
        chat.invoke("a", chat_template_kwargs={"messages": []})
    with pytest.raises(OptionError, match="reads no variable 'x'"):
        scripted(chat_template="").invoke("a", chat_template_kwargs={"x": 1})


def test_tracers_are_told_the_standard_parameters() -> None:
    chat = scripted("ok")
    chat.llm.pipeline_kwargs = {"max_new_tokens": 5, "temperature": 0.5}
    params = chat._get_ls_params(stop=["x"])
    assert params == {
        "ls_provider": "huggingface",
        "ls_model_name": "hfnb/echo",
        "ls_model_type": "chat",
        "ls_temperature": 0.5,
        "ls_max_tokens": 5,
        "ls_stop": ["x"],
    }
    assert chat._get_ls_params(max_tokens=7).get("ls_max_tokens") == 7


# --- answers ----------------------------------------------------------------------------------


def test_an_answer_tells_its_tokens_and_how_it_ended() -> None:
    chat = scripted(lambda text: text.upper())
    for answer in (chat.invoke("a b"), *chat.batch(["a b", "a b"])):
        assert answer.usage_metadata == {
            "input_tokens": 2,
            "output_tokens": 2,
            "total_tokens": 4,
        }
        told = answer.response_metadata
        assert {name: told[name] for name in ("finish_reason", "model_name", "batch_rows")} == {
            "finish_reason": "eos",
            "model_name": "hfnb/echo",
            "batch_rows": 1,
        }
        assert told["latency_s"] >= 0
        assert told["queue_s"] >= 0
        assert answer.id
        assert answer.id.startswith("lc_run-")
    assert chat.invoke("a b", max_tokens=1).response_metadata["finish_reason"] == "length"


def test_tokens_are_counted_by_the_models_tokenizer_and_template(qwen: ChatHuggingFace) -> None:
    tokenizer = qwen.llm.engine.loaded.tokenizer
    assert qwen.get_num_tokens("a b c") == len(tokenizer("a b c").input_ids)
    messages: list[BaseMessage] = [SystemMessage("a"), HumanMessage("b")]
    usage = qwen.invoke(messages).usage_metadata
    assert usage is not None
    assert qwen.get_num_tokens_from_messages(messages) == usage["input_tokens"]


def test_several_answers_to_one_prompt(qwen: ChatHuggingFace) -> None:
    options: Any = {"num_return_sequences": 3, "temperature": 2.0, "seed": 1}
    result = qwen.generate([[HumanMessage("a")], [HumanMessage("b")]], **options)
    assert [len(row) for row in result.generations] == [3, 3]
    assert len({each.text for row in result.generations for each in row}) == 6
    one = qwen.generate([[HumanMessage("a")]], **options)
    assert [each.text for each in one.generations[0]] == [e.text for e in result.generations[0]]
    assert qwen.invoke("a", num_return_sequences=2, num_beams=2).text
    assert len(list(qwen.stream("a", **options))) > 1


def test_an_error_of_the_row_is_raised() -> None:
    failing = chat_with(Scripted("ok", fail=lambda text: text == "bad", context_length=3))
    for call in (failing.invoke, lambda text: list(failing.stream(text))):
        with pytest.raises(EngineError, match="told to fail"):
            call("bad")
        with pytest.raises(PromptTooLongError, match="context holds 3"):
            call("one two three four")
    with pytest.raises(EngineError):
        asyncio.run(failing.ainvoke("bad"))


# --- reasoning --------------------------------------------------------------------------------


def test_reasoning_stands_apart_from_the_answer() -> None:
    chat = scripted("<think>\n2 and 2\n</think>\n\nIt is 4.")
    streamed = summed(list(chat.stream("a")))
    for answer in (chat.invoke("a"), streamed, *chat.batch(["a", "b"])):
        assert answer.content == "It is 4."
        assert answer.additional_kwargs == {"reasoning_content": "2 and 2"}
        assert [block["type"] for block in answer.content_blocks] == ["reasoning", "text"]
    assert {"<think>", "</think>"} <= set(engine_of(chat).last.generation.keep_tokens)
    for chunk in chat.stream("a"):
        assert "<" not in chunk.text


class Rendering(Scripted):
    """An engine whose tokenizer renders the template ``QWEN``."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer, variables=["enable_thinking"])
        self.rendered = 0
        self.loaded = self
        self.tokenizer = self
        self.chat_template = QWEN

    def apply_chat_template(self, messages: Any, **options: Any) -> str:
        self.rendered += 1
        return "assistant\n<think>\n" if options.get("enable_thinking") else "assistant\n"


def test_a_template_that_opens_the_reasoning_is_seen() -> None:
    """DeepSeek-R1 and QwQ end their prompts with ``<think>``; their answers begin inside of it."""
    engine = Rendering("so it is</think>4")
    chat = chat_with(engine)
    thinking = chat.bind(chat_template_kwargs={"enable_thinking": True})
    for answer in (thinking.invoke("a"), summed(list(thinking.stream("a")))):
        assert answer.content == "4"
        assert answer.additional_kwargs == {"reasoning_content": "so it is"}
    assert engine.rendered == 1
    assert chat.invoke("a").content == "so it is</think>4"
    prefilled = [HumanMessage("a"), AIMessage("<think>well, ")]
    assert chat.invoke(prefilled).additional_kwargs == {"reasoning_content": "so it is"}


def test_where_nobody_knows_the_template_a_closing_tag_ends_the_reasoning() -> None:
    chat = scripted("so it is\n</think>\n\n4")
    answer = chat.invoke("a")
    assert answer.content == "4"
    assert answer.additional_kwargs == {"reasoning_content": "so it is"}


# --- streams ----------------------------------------------------------------------------------


def test_streams_are_the_answer_in_pieces(numbers: ChatHuggingFace, qwen: ChatHuggingFace) -> None:
    chunks = list(qwen.stream("a b c"))
    whole = qwen.invoke("a b c")
    assert summed(chunks).content == whole.content
    assert len([chunk for chunk in chunks if chunk.content]) > 5
    assert summed(chunks).usage_metadata == whole.usage_metadata
    assert [bool(chunk.usage_metadata) for chunk in chunks].count(True) == 1
    assert chunks[-1].chunk_position == "last"
    assert summed(chunks).response_metadata["finish_reason"] in ("eos", "length")
    assert summed(chunks).response_metadata["model_name"] == whole.response_metadata["model_name"]

    async def collect() -> list[AIMessageChunk]:
        return [chunk async for chunk in numbers.astream(QUESTION)]

    assert summed(asyncio.run(collect())).content == ANSWER


async def test_events_tell_each_token(numbers: ChatHuggingFace) -> None:
    chain = ChatPromptTemplate.from_template("What is the number {i} in french?") | numbers
    told: list[str] = []
    kinds = set()
    async for event in chain.astream_events({"i": 72}, version="v2"):
        kinds.add(event["event"])
        if event["event"] == "on_chat_model_stream":
            told.append(event["data"]["chunk"].text)
    assert {"on_chat_model_start", "on_chat_model_stream", "on_chat_model_end"} <= kinds
    assert "".join(told) == ANSWER
    assert len([each for each in told if each]) > 1


def test_a_chat_told_to_stream_tells_each_token_in_invoke_too() -> None:
    from langchain_core.callbacks import BaseCallbackHandler

    class Tokens(BaseCallbackHandler):
        def __init__(self) -> None:
            self.told: list[str] = []

        def on_llm_new_token(self, token: Any, **kwargs: Any) -> None:
            self.told.append(token)

    tokens = Tokens()
    chat = chat_with(Scripted("abc"), streaming=True)
    assert chat.invoke("x", config={"callbacks": [tokens]}).content == "abc"
    assert "".join(tokens.told) == "abc"
    assert tokens.told[:3] == ["a", "b", "c"]


def test_a_stream_that_is_left_early_computes_no_further(qwen: ChatHuggingFace) -> None:
    model = qwen.llm.engine.loaded.model
    forward, calls = model.forward, [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return forward(*args, **kwargs)

    model.forward = counted
    try:
        stream = qwen.stream("a", max_new_tokens=200)
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
        assert calls[0] <= 6
    finally:
        model.forward = forward


async def test_a_cancelled_task_ends_the_computation() -> None:
    chat = chat_with(Scripted("ok", delay_s=30))
    task = asyncio.create_task(chat.ainvoke("a"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    batch = asyncio.create_task(chat.abatch(["a", "b"]))
    await asyncio.sleep(0.05)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await batch


def test_a_wrapped_pipeline_chats_too(tiny_model: Tiny) -> None:
    from transformers import pipeline

    pipe = pipeline("text-generation", str(tiny_model("qwen3")), device="cpu", dtype="float32")
    chat = ChatHuggingFace(llm=HuggingFacePipeline(pipeline=pipe), max_tokens=4)
    assert chat.invoke("a").usage_metadata is not None
