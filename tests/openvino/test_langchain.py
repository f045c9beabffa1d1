"""OpenVINO behind LangChain's classes and `hfnb.run`: what langchain-huggingface's page shows."""

from __future__ import annotations

from functools import cache
from typing import Any

import pandas as pd
import pytest
from langchain_core.messages import HumanMessage
from langchain_core.prompts import PromptTemplate
from langchain_core.tools import tool
from pydantic import BaseModel, Field

import hfnb
from hfnb import ChatHuggingFace, HuggingFacePipeline
from tests.engines.reference import PROMPTS
from tests.langchain.chat_tool_caller import pipeline as torch_caller
from tests.needs import require
from tests.openvino.engines import exported, source

require("openvino")

OV_CONFIG = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "CACHE_DIR": ""}
NARROW = {**OV_CONFIG, "KV_CACHE_PRECISION": "u8", "DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"}


def from_page(name: str, tokens: int, **model_kwargs: Any) -> HuggingFacePipeline:
    return HuggingFacePipeline.from_model_id(
        model_id=str(exported(name, model_kwargs.pop("format", None))),
        task="text-generation",
        backend="openvino",
        model_kwargs={
            "device": "CPU",
            "ov_config": OV_CONFIG,
            "reproducible": True,
            **model_kwargs,
        },
        pipeline_kwargs={"max_new_tokens": tokens},
    )


@cache
def ours() -> HuggingFacePipeline:
    return from_page("llama", 12)


@cache
def theirs() -> HuggingFacePipeline:
    return HuggingFacePipeline.from_model_id(
        str(source("llama")),
        "text-generation",
        device=-1,
        model_kwargs={"dtype": "float32"},
        pipeline_kwargs={"max_new_tokens": 12},
    )


@cache
def caller() -> HuggingFacePipeline:
    return from_page("tool_caller", 128)


def test_chains_and_bound_options_answer_as_pytorch_does() -> None:
    prompt = PromptTemplate.from_template("Question: {question}\nAnswer:")
    questions = [{"question": each} for each in PROMPTS[:6]]

    def everything(llm: HuggingFacePipeline) -> list[Any]:
        return [
            (prompt | llm).invoke(questions[0]),
            (prompt | llm.bind(skip_prompt=True)).invoke(questions[0]),
            (prompt | llm.bind(stop=["e"], skip_prompt=True)).batch(questions),
            "".join(llm.stream(PROMPTS[0])),
            llm.invoke("a", max_new_tokens=3, return_full_text=True),
            [each.text for each in llm.generate(PROMPTS[:3]).generations[0]],
            llm.get_num_tokens("café é"),
        ]

    assert everything(ours()) == everything(theirs())


async def test_asynchronous_calls_answer_as_pytorch_does() -> None:
    found = await ours().abatch(PROMPTS[:5])
    assert found == theirs().batch(PROMPTS[:5])
    assert "".join([each async for each in ours().astream("a")]) == theirs().invoke("a")


def test_several_sequences_of_a_prompt() -> None:
    def sampled() -> list[str]:
        options = {"num_return_sequences": 4, "temperature": 1.0, "seed": 3}
        return [each.text for each in ours().generate(["a"], **options).generations[0]]

    assert len(set(sampled())) > 2
    assert sampled() == sampled()


def test_the_engine_and_its_precisions_stand_in_the_statistics() -> None:
    frame = pd.DataFrame({"number": range(12)})
    run = hfnb.run(frame, "What is the number {number} in french?", ours(), max_new_tokens=4)
    assert list(run.data["output"]) == theirs().bind(max_new_tokens=4).batch(
        [f"What is the number {number} in french?" for number in range(12)]
    )
    shown = str(run.stats)
    assert "openvino" in shown
    assert "f32" in shown
    assert "continuous batching" in shown
    assert "12 ok" in shown


# --- chat and tools ---------------------------------------------------------------------------


@tool
def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


class Person(BaseModel):
    """A person."""

    name: str = Field(max_length=5)
    age: int = Field(ge=0, le=120)


def test_chats_answer_as_with_pytorch() -> None:
    def everything(llm: HuggingFacePipeline) -> list[Any]:
        chat = ChatHuggingFace(llm=llm)
        forced = chat.bind_tools([multiply], tool_choice="multiply").invoke("Hello")
        asked = chat.bind_tools([multiply]).invoke("Use the tool: what is 3 times 4?")
        return [
            chat.invoke("Hello").content,
            "".join(str(each.content) for each in chat.stream("Hello")),
            [each.content for each in chat.batch(["Hello", "Hi there", "What?"])],
            [(each["name"], each["args"]) for each in forced.tool_calls],
            [(each["name"], each["args"]) for each in asked.tool_calls],
            forced.response_metadata["finish_reason"],
            chat.generate([[HumanMessage("Hi")]]).generations[0][0].text,
        ]

    found = everything(caller())
    assert found == everything(torch_caller())
    assert found[3][0][0] == "multiply"


def test_a_forced_call_is_streamed() -> None:
    chat = ChatHuggingFace(llm=caller()).bind_tools([multiply], tool_choice="any")
    whole = None
    for chunk in chat.stream("Hello"):
        whole = chunk if whole is None else whole + chunk
    assert whole is not None
    assert [each["name"] for each in whole.tool_calls] == ["multiply"]


def test_structured_output_is_kept() -> None:
    chat = ChatHuggingFace(llm=caller())
    found: Any = chat.with_structured_output(Person, method="json_schema").invoke("Jo is 3.")
    assert isinstance(found, Person)


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_compressed_exports_run_with_the_pages_narrow_precisions(weights: str) -> None:
    llm = from_page("tool_caller", 8, format=weights, ov_config=NARROW, reproducible=False)
    info = llm.engine.info
    assert f"weights {weights}" in info.note
    assert "KV cache u8" in info.note
    assert all(llm.batch(["Hello", "Hi there"]))


@pytest.mark.slow
# optimum-intel makes arrays of tensors in a way that numpy will change.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_a_pipeline_of_optimum_intel_can_be_wrapped() -> None:
    from optimum.intel import OVModelForCausalLM
    from transformers import AutoTokenizer
    from transformers import pipeline as make_pipeline

    folder = str(exported("llama"))
    exact = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}
    model = OVModelForCausalLM.from_pretrained(folder, device="CPU", ov_config=exact)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    made = make_pipeline("text-generation", model=model, tokenizer=tokenizer, max_new_tokens=12)
    llm = HuggingFacePipeline(pipeline=made, batch_size=4)
    assert llm.engine.info.backend == "openvino"
    assert llm.batch(PROMPTS[:6]) == theirs().batch(PROMPTS[:6])
