"""Where langchain_huggingface fails its users, and hfnb with the same code does not.

Each test is run with both libraries. Its body is what a user writes, and only the import differs:
`library` is `hfnb` or `langchain_huggingface`. How the other one fails is in the mark above the
test. Tests of one number are about one kind of failure; 25 to 28 are about exports to OpenVINO.
"""

from __future__ import annotations

import asyncio
import json
import queue
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage
from langchain_core.runnables import ConfigurableField
from pydantic import BaseModel

from hfnb.errors import ModelFilesError, PromptTooLongError, RowError
from tests.langchain.peers import (
    failing,
    fails_in_the_peer,
    import_library,
    model_of,
    tokenizer_of,
    wait_for_threads,
    watched,
)
from tests.needs import require

Tiny = Callable[[str], Path]

QUESTION = "What is the number 72 in french?"
QUESTIONS = ["one", QUESTION, "The quick brown fox jumps over the lazy dog.", "Où?", "x y", "a"]
TOO_LONG = "word " * 400  # the tiny models read 256 tokens
# Greedy, new text only: what either library then answers can be compared.
GREEDY = {"max_new_tokens": 16, "do_sample": False, "return_full_text": False}
NEVER_RAISED = pytest.fail.Exception


@pytest.fixture
def library(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    """Either library. Threads that a test leaves behind end with it."""
    before = set(threading.enumerate())
    yield import_library(request.param, monkeypatch)
    wait_for_threads(before)


def load(library: ModuleType, folder: Path, **arguments: Any) -> Any:
    """Load a tiny model on the CPU, in float32: batches then give the tokens of single calls."""
    return library.HuggingFacePipeline.from_model_id(
        **{
            "model_id": str(folder),
            "task": "text-generation",
            "device": -1,
            "model_kwargs": {"dtype": "float32"},
            "pipeline_kwargs": GREEDY,
            **arguments,
        }
    )


def transformers_pipeline(folder: Path, **arguments: Any) -> Any:
    """Make what a user may have already: a text-generation pipeline."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    return pipeline(
        "text-generation",
        model=AutoModelForCausalLM.from_pretrained(folder, dtype="float32"),
        tokenizer=AutoTokenizer.from_pretrained(folder),
        device=-1,
        **arguments,
    )


def a_copy(folder: Path, target: Path, **files: str) -> Path:
    """Copy a model's folder, and write the text of other files into it."""
    shutil.copytree(folder, target)
    for name, text in files.items():
        (target / name.replace("__", ".")).write_text(text)
    return target


# --- 1-3: loading, and what nobody asked to be random -----------------------------------------


@fails_in_the_peer(
    KeyError,
    says="Unknown task",
    because="transformers 5 has no such pipeline, as it finds out after the model has loaded",
)
@pytest.mark.parametrize("task", ["text2text-generation", "summarization", "translation"])
def test_01_encoder_decoder_tasks_run(library: ModuleType, task: str, tiny_model: Tiny) -> None:
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    llm = load(library, tiny_model("t5"), task=task, pipeline_kwargs={"max_new_tokens": 8})
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_model("t5"))
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("t5"))
    ids = model.generate(**tokenizer(QUESTION, return_tensors="pt"), max_new_tokens=8)
    assert llm.invoke(QUESTION) == tokenizer.decode(ids[0], skip_special_tokens=True) != ""


@fails_in_the_peer(
    TypeError,
    says="unexpected keyword argument 'temperature'",
    because="the page's own example hands generation options to the model's constructor",
)
def test_02_generation_options_may_stand_in_model_kwargs(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = library.HuggingFacePipeline.from_model_id(
        model_id=str(tiny_model("bloom")),
        task="text-generation",
        device=-1,
        batch_size=2,
        model_kwargs={"temperature": 0, "max_length": 64},
    )
    answers = llm.bind(stop=["\n\n"]).batch(["What is the number 1 in french?", "one", "two"])
    assert len(answers) == 3
    assert all(answers)


@fails_in_the_peer(
    ValueError,
    says="strictly positive float",
    because="a temperature of 0 goes to transformers as it is",
)
def test_03_a_temperature_of_0_is_greedy(library: ModuleType, tiny_model: Tiny) -> None:
    greedy = load(library, tiny_model("llama"))
    cold = load(
        library, tiny_model("llama"), pipeline_kwargs={"temperature": 0, "max_new_tokens": 16}
    )
    assert cold.invoke(QUESTION) == greedy.invoke(QUESTION)


@fails_in_the_peer(
    AssertionError,
    says="another answer",
    because="the pipeline samples at 0.7 unless it is told not to",
)
def test_03_an_answer_repeats_when_nobody_asked_for_chance(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("llama"), pipeline_kwargs={"max_new_tokens": 16})
    assert len({llm.invoke(QUESTION) for _ in range(3)}) == 1, "another answer"


# --- 4-7: stop strings and streams ------------------------------------------------------------


@fails_in_the_peer(
    AssertionError, says="ran past the stop", because="invoke and batch ignore `stop`"
)
def test_04_stop_strings_end_single_answers_and_batches(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("gpt2"))
    whole = llm.invoke(QUESTION)
    stop = whole[4:7]
    first = whole.split(stop)[0]
    assert llm.invoke(QUESTION, stop=[stop]) == first, "ran past the stop"
    assert llm.bind(stop=[stop]).batch([QUESTION, QUESTION]) == [first, first], "ran past the stop"


@fails_in_the_peer(
    AssertionError,
    says="not cut at the stop",
    because="a stop string is looked up as one token, and is shown before anything ends",
)
@pytest.mark.parametrize("length", [1, 3, 7])
def test_05_stop_strings_of_any_length_end_a_stream(
    library: ModuleType, length: int, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("gpt2"))
    whole = "".join(llm.stream(QUESTION))
    stop = whole[4 : 4 + length]
    streamed = "".join(llm.stream(QUESTION, stop=[stop]))
    assert streamed == whole.split(stop)[0], "not cut at the stop"


@fails_in_the_peer(
    queue.Empty,
    says="^$",
    because="the thread that generates has died, and the stream waits a minute for its words",
)
def test_06_an_error_while_streaming_reaches_the_caller(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("gpt2"))
    assert list(llm.stream(QUESTION))
    with (
        failing(model_of(llm), MemoryError("no memory left")),
        pytest.raises((RowError, MemoryError), match="no memory left"),
    ):
        list(llm.stream(QUESTION))


@fails_in_the_peer(
    queue.Empty,
    says="^$",
    because="the thread that generates has died, and the stream waits a minute for its words",
)
def test_06_a_prompt_too_long_to_stream_is_an_error_at_once(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("gpt2"))
    with pytest.raises((RowError, IndexError)):
        list(llm.stream(TOO_LONG))


@fails_in_the_peer(
    AssertionError,
    says="went on computing",
    because="the thread that generates is not told that nobody listens",
)
def test_07_leaving_a_stream_ends_the_computation(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("llama"), pipeline_kwargs={**GREEDY, "max_new_tokens": 100})
    threads = set(threading.enumerate())
    with watched(model_of(llm)) as watch:
        stream = llm.stream(QUESTION)
        assert isinstance(next(stream), str)
        stream.close()
        wait_for_threads(threads)
    assert len(watch.passes) <= 4, "went on computing"


# --- 8-10: batches ----------------------------------------------------------------------------


@fails_in_the_peer(
    AssertionError,
    says="row by row",
    because="the wrapped pipeline goes by its own batch size, which is 1",
)
def test_08_a_wrapped_pipeline_runs_in_batches(library: ModuleType, tiny_model: Tiny) -> None:
    pipe = transformers_pipeline(tiny_model("bloom"), **GREEDY)
    llm = library.HuggingFacePipeline(pipeline=pipe, batch_size=3)
    with watched(pipe.model) as watch:
        answers = llm.batch(QUESTIONS)
    assert answers == [llm.invoke(each) for each in QUESTIONS]
    assert watch.most_rows == 3, "row by row"


@fails_in_the_peer(
    ValueError,
    says="Pipeline with tokenizer without pad_token",
    because="only from_model_id gives a tokenizer its pad token",
)
def test_08_a_wrapped_pipeline_needs_no_pad_token(library: ModuleType, tiny_model: Tiny) -> None:
    pipe = transformers_pipeline(tiny_model("gpt2"), batch_size=3, **GREEDY)
    llm = library.HuggingFacePipeline(pipeline=pipe, batch_size=3)
    alone = [llm.invoke(each) for each in QUESTIONS[:1]]
    assert llm.batch(QUESTIONS)[:1] == alone
    assert pipe.tokenizer.pad_token is None  # the user's own stays as it is


@fails_in_the_peer(
    AssertionError,
    says="the old batch size",
    because="the batch size was given to the pipeline when it was made, and stays there",
)
def test_09_batch_size_acts_when_it_is_changed(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("bloom"), batch_size=1)
    llm.batch_size = 3
    with watched(model_of(llm)) as watch:
        llm.batch(QUESTIONS)
    assert watch.most_rows == 3, "the old batch size"


@fails_in_the_peer(
    AssertionError,
    says="one by one",
    because="ChatHuggingFace leaves batches to a pool of threads with single calls",
)
def test_10_chats_are_computed_together(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("qwen3"))
    chat = library.ChatHuggingFace(llm=llm)
    chats = [[HumanMessage(each)] for each in QUESTIONS[:4]]
    alone = [chat.invoke(each).content for each in chats]
    with watched(model_of(llm)) as watch:
        together = [answer.content for answer in chat.batch(chats)]
    assert together == alone
    assert watch.most_rows == 4, "one by one"


# --- 11-14: rows that can't be answered, and their neighbours ---------------------------------


@fails_in_the_peer(
    AssertionError,
    says="lost its answer: index out of range in self",
    because="the pipeline computes all or nothing, and each row gets the error of one",
)
def test_11_one_bad_row_leaves_the_others_their_answers(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("gpt2"))
    alone = llm.invoke("one")
    first, bad, last = llm.batch(["one", TOO_LONG, "one"], return_exceptions=True)
    assert isinstance(bad, Exception)
    assert (first, last) == (alone, alone), f"lost its answer: {first}"


@fails_in_the_peer(
    AssertionError,
    says="lost its answer: index out of range in self",
    because="the pipeline computes all or nothing, and each row gets the error of one",
)
def test_11_one_bad_row_leaves_the_others_their_answers_in_async_batches(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("gpt2"))
    alone = llm.invoke("one")
    prompts = ["one", TOO_LONG, "one"]
    first, bad, last = asyncio.run(llm.abatch(prompts, return_exceptions=True))
    assert isinstance(bad, Exception)
    assert (first, last) == (alone, alone), f"lost its answer: {first}"


@fails_in_the_peer(
    IndexError,
    says="index out of range in self",
    because="nobody counts tokens before the model looks up a position that it does not have",
)
def test_12_a_prompt_too_long_says_so(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("gpt2"))
    with pytest.raises(PromptTooLongError, match="256"):
        llm.invoke(TOO_LONG)


@fails_in_the_peer(
    IndexError,
    says="index out of range in self",
    because="truncation to the longest input leaves no position for an answer",
)
def test_12_a_prompt_too_long_may_be_shortened_in_the_middle(
    library: ModuleType, tiny_model: Tiny
) -> None:
    """The beginning and the end of a prompt are the template's: instructions, and the question."""
    llm = load(library, tiny_model("gpt2"), pipeline_kwargs={**GREEDY, "truncation": True})
    with watched(model_of(llm)) as watch:
        assert llm.invoke("Summarize: " + TOO_LONG + QUESTION)
    read = tokenizer_of(llm).decode(watch.prompt)
    assert read.startswith("Summarize: word ")
    assert read.endswith("word " + QUESTION)
    assert len(watch.prompt) <= 256 - GREEDY["max_new_tokens"]


@fails_in_the_peer(
    AssertionError,
    says="depends on its neighbour",
    because="the padding beside a longer neighbour counts towards max_length",
)
def test_13_max_length_does_not_count_the_padding(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("bloom"), pipeline_kwargs={"max_length": 24, "do_sample": False})
    short, _ = llm.batch(["one", QUESTION])
    assert short == llm.invoke("one"), "depends on its neighbour"


@fails_in_the_peer(
    RuntimeError,
    says="The expanded size of the tensor",
    because="a row without tokens can't be padded",
)
@pytest.mark.parametrize("name", ["gpt2", "bloom"])
def test_14_an_empty_prompt_leaves_its_batch_alone(
    library: ModuleType, name: str, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model(name))
    prompts = ["one", "", QUESTION]
    assert llm.batch(prompts) == [llm.invoke(each) for each in prompts]


# --- 15-19: options ---------------------------------------------------------------------------


@fails_in_the_peer(
    AssertionError,
    says="not what was streamed",
    because="invoke and batch echo the prompt, and stream does not",
)
def test_15_invoke_batch_and_stream_answer_alike(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(
        library,
        tiny_model("llama"),
        pipeline_kwargs={"max_new_tokens": 16, "do_sample": False},
    )
    streamed = "".join(llm.stream(QUESTION))
    assert llm.invoke(QUESTION) == streamed, "not what was streamed"
    assert llm.batch([QUESTION]) == [streamed], "not what was streamed"


@fails_in_the_peer(
    AssertionError, says="not acted upon", because="options of a call are dropped in silence"
)
def test_16_options_of_a_call_act(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("llama"))
    short = load(library, tiny_model("llama"), pipeline_kwargs={**GREEDY, "max_new_tokens": 2})
    expected = short.invoke(QUESTION)
    assert expected != llm.invoke(QUESTION)
    assert llm.bind(max_new_tokens=2).invoke(QUESTION) == expected, "not acted upon"
    assert llm.batch([QUESTION], max_new_tokens=2) == [expected], "not acted upon"
    assert "".join(llm.stream(QUESTION, max_new_tokens=2)) == expected, "not acted upon"


@fails_in_the_peer(
    AssertionError, says="not acted upon", because="options of a call are dropped in silence"
)
def test_16_the_temperature_of_a_call_acts(library: ModuleType, tiny_model: Tiny) -> None:
    greedy = load(library, tiny_model("llama")).invoke(QUESTION)
    llm = load(
        library,
        tiny_model("llama"),
        pipeline_kwargs={**GREEDY, "do_sample": True, "temperature": 2.0},
    )
    assert llm.invoke(QUESTION, temperature=0) == greedy, "not acted upon"


@fails_in_the_peer(
    AssertionError,
    says="not acted upon",
    because="pipeline_kwargs are read once, when the pipeline is made",
)
def test_16_settings_edited_later_act(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("llama"), pipeline_kwargs=dict(GREEDY))
    short = load(library, tiny_model("llama"), pipeline_kwargs={**GREEDY, "max_new_tokens": 2})
    llm.pipeline_kwargs["max_new_tokens"] = 2
    assert llm.invoke(QUESTION) == short.invoke(QUESTION), "not acted upon"


@fails_in_the_peer(
    AssertionError,
    says="not acted upon",
    because="a copy with other pipeline_kwargs has the pipeline that was made with the old ones",
)
def test_16_settings_configured_at_run_time_act(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("llama"))
    short = load(library, tiny_model("llama"), pipeline_kwargs={**GREEDY, "max_new_tokens": 2})
    configurable = llm.configurable_fields(pipeline_kwargs=ConfigurableField(id="options"))
    assert configurable.invoke(QUESTION) == llm.invoke(QUESTION)
    configured = configurable.with_config(configurable={"options": short.pipeline_kwargs})
    assert configured.invoke(QUESTION) == short.invoke(QUESTION), "not acted upon"
    assert "".join(configured.stream(QUESTION)) == short.invoke(QUESTION), "not acted upon"


@fails_in_the_peer(
    NEVER_RAISED, says="DID NOT RAISE", because="unknown options are dropped in silence"
)
def test_16_a_misspelt_option_is_an_error(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("llama"))
    with pytest.raises(ValueError, match="Did you mean 'temperature'"):
        llm.invoke(QUESTION, temprature=0)


@fails_in_the_peer(
    NEVER_RAISED, says="DID NOT RAISE", because="options of a call are dropped in silence"
)
def test_16_an_option_that_comes_too_late_is_an_error(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("llama"))
    with pytest.raises(ValueError, match="dtype"):
        llm.invoke(QUESTION, dtype="float16")


@fails_in_the_peer(
    TypeError,
    says="'<' not supported between instances of 'str' and 'int'",
    because="only the numbers of accelerators are known",
)
def test_17_a_device_has_a_name(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("llama"), device="cpu")
    assert model_of(llm).device.type == "cpu"
    assert llm.invoke(QUESTION) == load(library, tiny_model("llama"), device=-1).invoke(QUESTION)


@fails_in_the_peer(
    NEVER_RAISED, says="DID NOT RAISE", because="every name but one is taken for PyTorch's"
)
@pytest.mark.parametrize(
    ("backend", "words"),
    [("opnvino", "Unknown backend 'opnvino'"), ("pytroch", "Did you mean 'pytorch'")],
)
def test_18_a_misspelt_backend_is_an_error(
    library: ModuleType, backend: str, words: str, tiny_model: Tiny
) -> None:
    with pytest.raises(ValueError, match=words):
        load(library, tiny_model("llama"), backend=backend)


@fails_in_the_peer(
    TypeError,
    says="Object of type dtype is not JSON serializable",
    because="the tokenizer is loaded with the model's arguments, and keeps them",
)
def test_19_the_tokenizer_has_none_of_the_models_arguments(
    library: ModuleType, tiny_model: Tiny, tmp_path: Path
) -> None:
    import torch

    llm = load(library, tiny_model("llama"), model_kwargs={"dtype": torch.float32})
    tokenizer_of(llm).save_pretrained(tmp_path)
    assert "dtype" not in json.loads((tmp_path / "tokenizer_config.json").read_text())


# --- 20-22: chats -----------------------------------------------------------------------------


@fails_in_the_peer(
    AssertionError,
    says="several BOS tokens",
    because="the template's text has a BOS token already when the tokenizer adds its own",
)
def test_20_a_chat_begins_with_one_BOS_token(
    library: ModuleType, tiny_model: Tiny, tmp_path: Path
) -> None:
    template = (
        "{{ bos_token }}{% for message in messages %}"
        "[{{ message['role'] }}] {{ message['content'] }}\n{% endfor %}"
    )
    folder = a_copy(tiny_model("llama"), tmp_path / "llama", chat_template__jinja=template)
    llm = load(library, folder)
    chat = library.ChatHuggingFace(llm=llm)
    with watched(model_of(llm)) as watch:
        chat.invoke([SystemMessage("Be brief."), HumanMessage(QUESTION)])
    tokenizer = tokenizer_of(llm)
    assert tokenizer.decode(watch.prompt, skip_special_tokens=True) == (
        f"[system] Be brief.\n[user] {QUESTION}\n"
    )
    assert watch.prompt.count(tokenizer.bos_token_id) == 1, "several BOS tokens"


@fails_in_the_peer(
    NotImplementedError,
    says="async generation is not supported",
    because="ChatHuggingFace has it for its remote endpoints alone",
)
def test_21_chats_run_async(library: ModuleType, tiny_model: Tiny) -> None:
    chat = library.ChatHuggingFace(llm=load(library, tiny_model("qwen3")))
    expected = chat.invoke(QUESTION).content
    assert asyncio.run(chat.ainvoke(QUESTION)).content == expected


@fails_in_the_peer(
    AttributeError,
    says="has no attribute 'async_client'",
    because="ChatHuggingFace has it for its remote endpoints alone",
)
def test_21_chats_stream_async(library: ModuleType, tiny_model: Tiny) -> None:
    chat = library.ChatHuggingFace(llm=load(library, tiny_model("qwen3")))

    async def collect() -> str:
        return "".join([str(chunk.content) async for chunk in chat.astream(QUESTION)])

    assert asyncio.run(collect()) == chat.invoke(QUESTION).content


@fails_in_the_peer(
    ValueError,
    says="Last message must be a HumanMessage",
    because="the last message must be the user's",
)
def test_21_the_answer_continues_a_last_message_of_the_model(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("qwen3"))
    chat = library.ChatHuggingFace(llm=llm)
    begun: list[BaseMessage] = [HumanMessage(QUESTION), AIMessage("The number is")]
    with watched(model_of(llm)) as watch:
        answer = chat.invoke(begun)
    assert tokenizer_of(llm).decode(watch.prompt).endswith("assistant\nThe number is")
    assert answer.content
    assert not str(answer.content).startswith("The number is")


TOOLS_TEMPLATE = (
    "{% if tools %}{% for tool in tools %}<tool>{{ tool | tojson }}</tool>\n{% endfor %}{% endif %}"
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def get_weather(city: str) -> str:
    """Tell the weather."""
    return f"{city}: rain"


@fails_in_the_peer(
    AssertionError,
    says="no tools in the prompt",
    because="tools are passed to a pipeline that does not look at them",
)
def test_22_tools_reach_the_chat_template(
    library: ModuleType, tiny_model: Tiny, tmp_path: Path
) -> None:
    folder = a_copy(tiny_model("qwen3"), tmp_path / "qwen3", chat_template__jinja=TOOLS_TEMPLATE)
    llm = load(library, folder)
    chat = library.ChatHuggingFace(llm=llm).bind_tools([get_weather])
    with watched(model_of(llm)) as watch:
        chat.invoke("What is the weather in Paris?")
    prompt = tokenizer_of(llm).decode(watch.prompt)
    assert "What is the weather in Paris?" in prompt
    assert "get_weather" in prompt, "no tools in the prompt"
    assert "Tell the weather." in prompt, "no tools in the prompt"


class Colour(BaseModel):
    """The colour of something."""

    colour: Literal["red", "green"]


@fails_in_the_peer(
    NotImplementedError,
    says="Pydantic schema is not supported",
    because="ChatHuggingFace has it for its remote endpoints alone, and there for JSON schemas",
)
def test_22_answers_have_the_structure_that_was_asked_for(
    library: ModuleType, tiny_model: Tiny
) -> None:
    require("structured")
    llm = load(library, tiny_model("qwen3"), pipeline_kwargs={**GREEDY, "max_new_tokens": 100})
    chat = library.ChatHuggingFace(llm=llm)
    answer = chat.with_structured_output(Colour).invoke("Which colour is grass?")
    assert isinstance(answer, Colour)


# --- 23-24: what is told and what is kept -----------------------------------------------------


@fails_in_the_peer(
    TypeError, says="'NoneType' object is not subscriptable", because="nothing is told"
)
def test_23_an_answer_tells_its_tokens_its_end_and_its_time(
    library: ModuleType, tiny_model: Tiny
) -> None:
    llm = load(library, tiny_model("llama"))
    info = llm.generate([QUESTION]).generations[0][0].generation_info
    assert info["prompt_tokens"] == len(tokenizer_of(llm)(QUESTION).input_ids)
    assert info["new_tokens"] == 16
    assert info["finish_reason"] == "length"
    assert info["latency_s"] > 0


@fails_in_the_peer(
    TypeError, says="'NoneType' object is not subscriptable", because="nothing is told"
)
def test_23_a_message_tells_its_tokens(library: ModuleType, tiny_model: Tiny) -> None:
    llm = load(library, tiny_model("qwen3"))
    chat = library.ChatHuggingFace(llm=llm)
    with watched(model_of(llm)) as watch:
        usage = chat.invoke(QUESTION).usage_metadata
    assert usage["input_tokens"] == len(watch.prompt)
    assert usage["output_tokens"] == 16
    assert usage["total_tokens"] == len(watch.prompt) + 16


@fails_in_the_peer(
    AssertionError,
    says="not as this model counts",
    because="LangChain counts with GPT-2's tokenizer where a class does not say otherwise",
)
def test_23_tokens_are_counted_by_the_models_own_tokenizer(
    library: ModuleType, tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoTokenizer

    gpt2 = AutoTokenizer.from_pretrained(tiny_model("gpt2"))  # LangChain's comes from the network
    monkeypatch.setattr("langchain_core.language_models.base.get_tokenizer", lambda: gpt2)
    llm = load(library, tiny_model("llama"))  # it puts a BOS token first, and gpt2 does not
    ids = AutoTokenizer.from_pretrained(tiny_model("llama"))(QUESTION).input_ids
    assert llm.get_num_tokens(QUESTION) == len(ids), "not as this model counts"
    assert llm.get_token_ids(QUESTION) == ids, "not as this model counts"


@fails_in_the_peer(
    AssertionError,
    says="the other one's answer",
    because="what a wrapped pipeline was told is not part of the cache's key",
)
def test_24_the_cache_keeps_apart_pipelines_with_other_settings(
    library: ModuleType, tiny_model: Tiny
) -> None:
    cache = InMemoryCache()
    short, long = (
        library.HuggingFacePipeline(
            pipeline=transformers_pipeline(
                tiny_model("llama"), **{**GREEDY, "max_new_tokens": tokens}
            ),
            cache=cache,
        )
        for tokens in (4, 12)
    )
    first = short.invoke(QUESTION)
    assert short.invoke(QUESTION) == first
    assert len(long.invoke(QUESTION)) > len(first), "the other one's answer"


# --- 29-30: unusual folders -------------------------------------------------------------------


@fails_in_the_peer(
    OSError,
    says="no file named model.safetensors",
    because="nobody looks at what else the folder has",
)
def test_29_a_folder_for_OpenVINO_says_which_backend_it_is_for(
    library: ModuleType, tiny_model: Tiny, tmp_path: Path
) -> None:
    folder = a_copy(
        tiny_model("llama"),
        tmp_path / "llama",
        openvino_model__xml="<net/>",
        openvino_model__bin="",
    )
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelFilesError, match="Use backend='openvino'"):
        load(library, folder)


@fails_in_the_peer(
    IndexError,
    says="index out of range in self",
    because="a new [PAD] token gets a number for which the model has no embedding",
)
def test_30_a_model_without_pad_and_eos_tokens_runs_in_batches(
    library: ModuleType, tiny_model: Tiny, tmp_path: Path
) -> None:
    folder = a_copy(tiny_model("gpt2"), tmp_path / "gpt2")
    for name in ("config.json", "generation_config.json", "tokenizer_config.json"):
        settings = json.loads((folder / name).read_text())
        for token in ("eos_token", "pad_token", "bos_token"):
            settings.pop(token, None)
            settings.pop(f"{token}_id", None)
        if name == "config.json":
            settings.update(eos_token_id=None, bos_token_id=None, pad_token_id=None)
        (folder / name).write_text(json.dumps(settings))
    llm = load(library, folder)
    assert model_of(llm).config.eos_token_id is None
    alone = [llm.invoke(each) for each in QUESTIONS]
    assert llm.batch(QUESTIONS) == alone
