"""LangChain's pages on local Hugging Face models, with another import and other models.

They are "Hugging Face local pipelines", "OpenVINO" and the local half of "ChatHuggingFace". Each
example is here as it is written there; what it must answer is what transformers' own `generate`
does. The models are a packaged one and tiny random ones of several architectures. The last part
holds all architectures to two promises that the pages take for granted: that a batch answers as
single calls do, and that stop strings stop.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, SystemMessage
from langchain_core.prompts import PromptTemplate

from hfnb import HuggingFacePipeline
from hfnb.engines.base import Chat, Message
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import DeviceError, HfnbError, OptionError
from hfnb.hub import packaged
from tests.engines.reference import PROMPTS, reference
from tests.needs import require
from tests.tiny_models import DECODERS

# Marian's tokenizer in transformers says so; the package would only tidy up punctuation.
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

Tiny = Callable[[str], Path]

ENCODER_DECODERS = ("t5", "bart", "marian")  # those that need no languages to be named
PACKAGED = "hfnb/numbers-fr"

template = """Question: {question}

Answer: Let's think step by step."""
prompt = PromptTemplate.from_template(template)
question = "What is electroencephalography?"
TEXT = template.format(question=question)  # what the model gets


@pytest.fixture(scope="module", autouse=True)
def _full_precision() -> Iterator[None]:
    """As on a processor that does not multiply bfloat16: models keep the precision of their files.

    Sums in another order then change no token, and the examples need not say dtype="float32".
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hfnb.hardware.multiplies_bfloat16", lambda device: False)
        yield


@pytest.fixture(params=[PACKAGED, "gpt2", "bloom", "llama", "qwen3", "opt", "gpt_neox"])
def model_id(request: pytest.FixtureRequest, tiny_model: Tiny) -> str:
    """What stands in for "gpt2" on the page."""
    return PACKAGED if request.param == PACKAGED else str(tiny_model(request.param))


def greedy(llm: HuggingFacePipeline, text: Any, **options: Any) -> str:
    """Return what transformers' own generate writes after this text alone."""
    assert isinstance(llm.engine, TorchEngine)
    return reference(llm.engine, text, **options)


# --- Hugging Face local pipelines: model loading, chains, streams -----------------------------


def test_a_model_is_loaded_by_its_id(model_id: str) -> None:
    hf = HuggingFacePipeline.from_model_id(
        model_id=model_id,
        task="text-generation",
        pipeline_kwargs={"max_new_tokens": 10},
    )
    chain = prompt | hf
    answer = chain.invoke({"question": question})
    assert answer == greedy(hf, TEXT, max_new_tokens=10) != ""


def test_an_existing_pipeline_is_passed_in(model_id: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    if model_id == PACKAGED:  # transformers wants its folder
        model_id = str(packaged()[PACKAGED])
    tokenizer = AutoTokenizer.from_pretrained(model_id)
    model = AutoModelForCausalLM.from_pretrained(model_id)
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer, max_new_tokens=10)
    hf = HuggingFacePipeline(pipeline=pipe)
    chain = prompt | hf
    answer = chain.invoke({"question": question})
    (own,) = pipe(TEXT, do_sample=False, return_full_text=False)
    assert answer == own["generated_text"] != ""
    assert chain.batch([{"question": question}] * 3) == [answer] * 3
    assert hf.pipeline is pipe
    assert hf.model_id == model.name_or_path


def test_skip_prompt_says_whether_the_answer_comes_with_its_prompt(model_id: str) -> None:
    """On the page it turns the echo off; here there is none unless it is turned on."""
    hf = HuggingFacePipeline.from_model_id(
        model_id=model_id,
        task="text-generation",
        pipeline_kwargs={"max_new_tokens": 10},
    )
    chain = prompt | hf.bind(skip_prompt=True)
    answer = chain.invoke({"question": question})
    assert answer == greedy(hf, TEXT, max_new_tokens=10)
    echoing = prompt | hf.bind(skip_prompt=False)
    assert echoing.invoke({"question": question}) == TEXT + answer
    assert "".join(echoing.stream({"question": question})) == TEXT + answer


def test_the_answer_streams(model_id: str) -> None:
    hf = HuggingFacePipeline.from_model_id(
        model_id=model_id,
        task="text-generation",
        pipeline_kwargs={"max_new_tokens": 10},
    )
    chain = prompt | hf.bind(skip_prompt=True)
    pieces = []
    for chunk in chain.stream(question):  # type: ignore[arg-type]  # so it is on the page
        pieces.append(chunk)
    expected = greedy(hf, TEXT, max_new_tokens=10)
    assert "".join(pieces) == expected
    assert len([piece for piece in pieces if piece]) > 1 or len(expected) < 6


def test_options_of_a_stream_stand_in_pipeline_kwargs(model_id: str) -> None:
    """The page on OpenVINO gives them so."""
    llm = HuggingFacePipeline.from_model_id(model_id=model_id, task="text-generation")
    generation_config = {"skip_prompt": True, "pipeline_kwargs": {"max_new_tokens": 100}}
    chain = prompt | llm.bind(**generation_config)
    streamed = "".join(chain.stream({"question": question}))
    assert streamed == greedy(llm, TEXT, max_new_tokens=100)


def test_a_chain_runs_async(model_id: str) -> None:
    hf = HuggingFacePipeline.from_model_id(
        model_id=model_id,
        task="text-generation",
        pipeline_kwargs={"max_new_tokens": 10},
    )
    chain = prompt | hf
    expected = greedy(hf, TEXT, max_new_tokens=10)

    async def run() -> None:
        assert await chain.ainvoke({"question": question}) == expected
        assert await chain.abatch([{"question": question}] * 3) == [expected] * 3
        pieces = [piece async for piece in chain.astream({"question": question})]
        assert "".join(pieces) == expected
        together = await asyncio.gather(*(chain.ainvoke({"question": question}) for _ in range(3)))
        assert together == [expected] * 3

    asyncio.run(run())


@pytest.mark.parametrize("name", ENCODER_DECODERS)
@pytest.mark.parametrize("task", ["text2text-generation", "summarization", "translation"])
def test_the_tasks_of_encoder_decoders_run(name: str, task: str, tiny_model: Tiny) -> None:
    hf = HuggingFacePipeline.from_model_id(
        model_id=str(tiny_model(name)),
        task=task,
        pipeline_kwargs={"max_new_tokens": 10},
    )
    chain = prompt | hf
    expected = greedy(hf, TEXT, max_new_tokens=10)
    assert expected
    assert chain.invoke({"question": question}) == expected
    assert "".join(chain.stream({"question": question})) == expected
    assert chain.batch([{"question": question}] * 2) == [expected] * 2


def test_the_packaged_model_knows_its_numbers() -> None:
    hf = HuggingFacePipeline.from_model_id(
        model_id=PACKAGED,
        task="text-generation",
        pipeline_kwargs={"max_new_tokens": 32},
    )
    chain = PromptTemplate.from_template("What is the number {i} in french?") | hf
    assert chain.invoke({"i": 72}) == "soixante-douze"
    assert "".join(chain.stream({"i": 8})) == "huit"


# --- GPU inference ----------------------------------------------------------------------------


def gpu_llm(model_id: str, **where: Any) -> HuggingFacePipeline:
    return HuggingFacePipeline.from_model_id(
        model_id=model_id,
        task="text-generation",
        **where,
        pipeline_kwargs={"max_new_tokens": 10},
    )


def test_device_0_without_an_accelerator_is_an_error_before_the_model_loads(
    model_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any, **__: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda **_: None)
    monkeypatch.setattr("transformers.AutoModelForCausalLM.from_pretrained", load)
    with pytest.raises(DeviceError, match=r"device=0 is not there.*device='cpu'"):
        gpu_llm(model_id, device=0)


@pytest.mark.cuda
def test_device_0_is_the_first_accelerator(model_id: str) -> None:
    llm = gpu_llm(model_id, device=0)
    gpu_chain = prompt | llm
    assert llm.engine.info.device == "cuda:0"
    answer = gpu_chain.invoke({"question": question})
    assert answer == greedy(llm, TEXT, max_new_tokens=10) != ""


def test_device_minus_1_is_the_CPU(model_id: str) -> None:
    llm = gpu_llm(model_id, device=-1)
    assert llm.engine.info.device == "cpu"
    assert (prompt | llm).invoke({"question": question}) == greedy(llm, TEXT, max_new_tokens=10)


def test_device_map_auto_lets_Accelerate_place_the_model(model_id: str) -> None:
    llm = gpu_llm(model_id, device_map="auto")
    best = torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")
    assert llm.engine.info.device.startswith(best.type)
    answer = (prompt | llm).invoke({"question": question})
    assert answer == greedy(llm, TEXT, max_new_tokens=10) != ""


@pytest.mark.parametrize("name", ["gpt2", "bloom", "llama", "qwen3", "opt", "gpt_neox"])
def test_device_map_auto_spreads_a_model_too_large_over_CPU_and_disk(
    name: str, tiny_model: Tiny, tmp_path: Path
) -> None:
    """Accelerate then loads each part when its turn comes; the answers stay the same."""
    whole = gpu_llm(str(tiny_model(name)), device=-1)
    llm = HuggingFacePipeline.from_model_id(
        model_id=str(tiny_model(name)),
        task="text-generation",
        device_map="auto",
        model_kwargs={"max_memory": {"cpu": "400KB"}, "offload_folder": str(tmp_path)},
        pipeline_kwargs={"max_new_tokens": 10},
    )
    placed = llm.engine.loaded.model.hf_device_map  # type: ignore[attr-defined]
    assert {"cpu", "disk"} <= set(map(str, placed.values()))
    info = llm.engine.info
    assert "disk" in f"{info.device} {info.note}"
    questions = [{"question": question}, {"question": "one"}, {"question": PROMPTS[2]}]
    answers = (prompt | whole).batch(questions)
    assert (prompt | llm).batch(questions) == answers
    assert [(prompt | llm).invoke(each) for each in questions] == answers
    assert "".join((prompt | llm).stream(questions[0])) == answers[0]


def test_device_and_device_map_together_are_an_error(model_id: str) -> None:
    with pytest.raises(OptionError, match="Both device=0 and device_map='auto' are given"):
        gpu_llm(model_id, device=0, device_map="auto")
    with pytest.raises(ValueError, match="Both device"):  # as langchain_huggingface's is
        gpu_llm(model_id, device=-1, device_map="cpu")


# --- batch inference --------------------------------------------------------------------------


def test_the_batch_example_runs(model_id: str) -> None:
    gpu_llm = HuggingFacePipeline.from_model_id(
        model_id=model_id,
        task="text-generation",
        device=-1,  # 0 on the page, which names this one too
        batch_size=2,
        model_kwargs={"temperature": 0, "max_length": 64},
    )
    gpu_chain = prompt | gpu_llm.bind(stop=["\n\n"])
    questions = []
    for i in range(4):
        questions.append({"question": f"What is the number {i} in french?"})

    answers = gpu_chain.batch(questions)
    for asked, answer in zip(questions, answers, strict=True):
        text = template.format(**asked)
        whole = greedy(gpu_llm, text, max_length=64)
        assert answer == whole.split("\n\n")[0]
    result = gpu_llm.generate([template.format(**each) for each in questions])
    told = [row[0].generation_info or {} for row in result.generations]
    assert max(each["batch_rows"] for each in told) == 2
    for each in told:
        length = each["prompt_tokens"] + each["new_tokens"]
        assert length == 64 or (length < 64 and each["finish_reason"] == "eos")


# --- OpenVINO: a pipeline of optimum-intel ----------------------------------------------------


def test_a_pipeline_of_optimum_intel_is_passed_in(tiny_model: Tiny) -> None:
    require("openvino")
    from optimum.intel.openvino import OVModelForCausalLM
    from transformers import AutoTokenizer, pipeline

    model_id = str(tiny_model("gpt2"))
    device = "CPU"
    ov_config = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "CACHE_DIR": ""}
    tokenizer = AutoTokenizer.from_pretrained(model_id)
    ov_model = OVModelForCausalLM.from_pretrained(
        model_id, export=True, device=device, ov_config=ov_config
    )
    ov_pipe = pipeline("text-generation", model=ov_model, tokenizer=tokenizer, max_new_tokens=10)
    ov_llm = HuggingFacePipeline(pipeline=ov_pipe)

    chain = prompt | ov_llm
    (own,) = ov_pipe(TEXT, do_sample=False, return_full_text=False)
    answer = chain.invoke({"question": question})
    assert answer == own["generated_text"] != ""
    assert (prompt | ov_llm.bind(skip_prompt=True)).invoke({"question": question}) == answer
    assert "".join(chain.stream({"question": question})) == answer
    stop = answer[3:6]
    stopping = prompt | ov_llm.bind(stop=[stop])
    stopped = stopping.batch([{"question": question}, {"question": "one"}])
    assert stopped[0] == answer.split(stop)[0]
    assert stop not in stopped[1]


# --- ChatHuggingFace --------------------------------------------------------------------------

messages = [
    SystemMessage(content="You're a helpful assistant"),
    HumanMessage(content="What happens when an unstoppable force meets an immovable object?"),
]
CHAT = Chat(
    (
        Message("system", "You're a helpful assistant"),
        Message("user", "What happens when an unstoppable force meets an immovable object?"),
    )
)


@pytest.fixture(params=["qwen3", "phi3"])
def chat_llm(request: pytest.FixtureRequest, tiny_model: Tiny) -> HuggingFacePipeline:
    """The page's model behind its chat model; 512 tokens are more than a tiny one has room for."""
    return HuggingFacePipeline.from_model_id(
        model_id=str(tiny_model(request.param)),
        task="text-generation",
        pipeline_kwargs=dict(  # noqa: C408  # so it is on the page
            max_new_tokens=48,
            do_sample=False,
            repetition_penalty=1.03,
        ),
    )


def chat_answer(llm: HuggingFacePipeline) -> str:
    return greedy(llm, CHAT, max_new_tokens=48, repetition_penalty=1.03)


def test_a_chat_model_answers_messages(chat_llm: HuggingFacePipeline) -> None:
    from hfnb import ChatHuggingFace

    chat_model = ChatHuggingFace(llm=chat_llm)
    ai_msg = chat_model.invoke(messages)
    assert isinstance(ai_msg, AIMessage)
    assert ai_msg.content == chat_answer(chat_llm) != ""


def test_a_chat_model_takes_pairs_of_role_and_text(chat_llm: HuggingFacePipeline) -> None:
    from hfnb import ChatHuggingFace

    chat = ChatHuggingFace(llm=chat_llm, verbose=True)
    pairs = [
        ("system", "You're a helpful assistant"),
        ("human", "What happens when an unstoppable force meets an immovable object?"),
    ]
    assert chat.invoke(pairs).content == chat_answer(chat_llm)


def test_a_chat_model_streams_and_runs_async(chat_llm: HuggingFacePipeline) -> None:
    from hfnb import ChatHuggingFace

    chat = ChatHuggingFace(llm=chat_llm)
    expected = chat_answer(chat_llm)
    chunks = []
    for chunk in chat.stream(messages):
        chunks.append(chunk)
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert "".join(str(chunk.content) for chunk in chunks) == expected
    assert len(chunks) > 5

    async def run() -> None:
        assert (await chat.ainvoke(messages)).content == expected
        assert [each.content for each in await chat.abatch([messages] * 2)] == [expected] * 2
        assert "".join([str(each.content) async for each in chat.astream(messages)]) == expected

    asyncio.run(run())


def test_a_chat_model_tells_tokens_and_why_it_ended(chat_llm: HuggingFacePipeline) -> None:
    from hfnb import ChatHuggingFace

    ai_msg = ChatHuggingFace(llm=chat_llm).invoke(messages)
    count = chat_llm.engine.count_tokens(CHAT)
    assert ai_msg.usage_metadata is not None
    assert ai_msg.usage_metadata["input_tokens"] == count
    assert 0 < ai_msg.usage_metadata["output_tokens"] <= 48
    assert ai_msg.response_metadata["finish_reason"] in ("eos", "stop", "length")


def test_a_chat_model_ends_at_stop_strings(chat_llm: HuggingFacePipeline) -> None:
    from hfnb import ChatHuggingFace

    expected = chat_answer(chat_llm)
    stop = expected[5:8]
    chat = ChatHuggingFace(llm=chat_llm).bind(stop=[stop])
    first = expected.split(stop)[0]
    assert chat.invoke(messages).content == first
    assert "".join(str(each.content) for each in chat.stream(messages)) == first


def test_a_quantization_whose_package_is_missing_names_it(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import BitsAndBytesConfig
    from transformers.utils import import_utils

    forget = import_utils.is_bitsandbytes_available.cache_clear
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as if it were not installed
    forget()

    quantization_config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype="float16",
        bnb_4bit_use_double_quant=True,
    )
    with pytest.raises(HfnbError, match=r"pip install.*bitsandbytes"):
        HuggingFacePipeline.from_model_id(
            model_id=str(tiny_model("llama")),
            task="text-generation",
            model_kwargs={"quantization_config": quantization_config},
        )
    forget()


# --- all architectures: batches answer as single calls do, and stop strings stop --------------


@pytest.fixture(scope="module")
def llm_of(tiny_model: Tiny) -> Callable[[str], HuggingFacePipeline]:
    """`llm_of("t5")` is the tiny model of that name; 16 new tokens."""

    @cache
    def load(name: str) -> HuggingFacePipeline:
        return HuggingFacePipeline.from_model_id(
            model_id=str(tiny_model(name)),
            task="text2text-generation" if name in ENCODER_DECODERS else "text-generation",
            device=-1,
            pipeline_kwargs={"max_new_tokens": 16},
        )

    return load


@pytest.fixture(scope="module")
def alone(llm_of: Callable[[str], HuggingFacePipeline]) -> Callable[[str, str], str]:
    """`alone("t5", text)` is what transformers' own generate writes for this text."""
    return cache(lambda name, text: greedy(llm_of(name), text, max_new_tokens=16))


EVERY = (*DECODERS, *ENCODER_DECODERS)


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
@pytest.mark.parametrize("name", EVERY)
def test_a_batch_answers_as_single_calls_do(
    name: str,
    batch_size: Any,
    llm_of: Callable[[str], HuggingFacePipeline],
    alone: Callable[[str, str], str],
) -> None:
    llm = llm_of(name).model_copy(update={"batch_size": batch_size})
    assert llm.batch(PROMPTS) == [alone(name, each) for each in PROMPTS]


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=8, deadline=None)
@given(
    rows=st.lists(st.sampled_from(range(len(PROMPTS))), min_size=2, max_size=9),
    batch_size=st.sampled_from([2, 3, 4, "auto"]),
)
def test_an_answer_is_the_same_whatever_the_neighbours_lengths(
    name: str,
    llm_of: Callable[[str], HuggingFacePipeline],
    alone: Callable[[str, str], str],
    rows: list[int],
    batch_size: Any,
) -> None:
    texts = [PROMPTS[row] * (1 + row % 3) for row in rows]
    llm = llm_of(name)
    llm.batch_size = batch_size
    assert llm.batch(texts) == [alone(name, each) for each in texts]


@pytest.mark.parametrize("name", EVERY)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_stop_strings_of_any_length_and_number_end_batches_and_streams_alike(
    name: str,
    llm_of: Callable[[str], HuggingFacePipeline],
    alone: Callable[[str, str], str],
    data: st.DataObject,
) -> None:
    """In a stream no part of a stop string is ever shown, wherever the tokens' borders are."""
    texts = data.draw(st.lists(st.sampled_from(PROMPTS), min_size=1, max_size=4, unique=True))
    whole = [alone(name, each) for each in texts]

    @st.composite
    def part(draw: st.DrawFn) -> str:
        """Some characters out of one of the answers, and perhaps one that comes in none."""
        of = draw(st.sampled_from([each for each in whole if each] or ["x"]))
        begin = draw(st.integers(0, len(of) - 1))
        cut = of[begin : begin + draw(st.integers(1, 14))]
        return cut + draw(st.sampled_from(["", "", "", "☃"]))

    stop = data.draw(st.lists(part(), min_size=1, max_size=4, unique=True))
    llm = llm_of(name)
    answers = llm.batch(texts, stop=stop)
    for text, full, answer in zip(texts, whole, answers, strict=True):
        assert full.startswith(answer)
        assert not [each for each in stop if each in answer]
        rest = full[len(answer) :]
        assert not rest or rest.startswith(tuple(stop))
        if not rest:
            assert not [each for each in stop if each in full]

        shown = ""
        for piece in llm.stream(text, stop=stop):
            shown += piece
            assert answer.startswith(shown), "something was shown that was taken back"
        assert shown == answer == llm.invoke(text, stop=stop)
