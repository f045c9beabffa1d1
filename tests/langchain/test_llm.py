"""hfnb.HuggingFacePipeline: LangChain's interface over the engines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.outputs import GenerationChunk
from langchain_core.prompts import PromptTemplate

import hfnb
from hfnb import HuggingFacePipeline
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import DeviceError, EngineError, OptionError, PromptTooLongError
from tests.engines.reference import PROMPTS, reference

Tiny = Callable[[str], Path]
FEW = PROMPTS[:6]


def engine_of(llm: HuggingFacePipeline) -> TorchEngine:
    assert isinstance(llm.engine, TorchEngine)
    return llm.engine


@pytest.fixture
def own(llm: HuggingFacePipeline) -> HuggingFacePipeline:
    """The tiny model with settings of its own, to be changed."""
    return HuggingFacePipeline(engine=llm.engine, pipeline_kwargs={"max_new_tokens": 12})


def test_answers_are_those_of_the_model_and_hold_new_text_only(llm: HuggingFacePipeline) -> None:
    expected = [reference(engine_of(llm), prompt, max_new_tokens=12) for prompt in FEW]
    assert [llm.invoke(prompt) for prompt in FEW] == expected
    assert llm.batch(FEW) == expected
    assert asyncio.run(llm.abatch(FEW)) == expected
    assert asyncio.run(llm.ainvoke(FEW[0])) == expected[0]


def test_the_packaged_model_answers() -> None:
    llm = HuggingFacePipeline.from_model_id(
        "hfnb/numbers-fr", "text-generation", pipeline_kwargs={"max_new_tokens": 32}
    )
    chain = PromptTemplate.from_template("What is the number {i} in french?") | llm
    assert chain.invoke({"i": 72}).strip() == "soixante-douze"
    assert [each.strip() for each in chain.batch([{"i": 8}, {"i": 21}])] == ["huit", "vingt et un"]
    loaded = hfnb.load("hfnb/numbers-fr", max_new_tokens=32)
    assert loaded.invoke("What is the number 72 in french?") == "soixante-douze"


def test_a_wrapped_transformers_pipeline_answers_in_batches(tiny_model: Tiny) -> None:
    from transformers import pipeline

    pipe = pipeline(
        "text-generation",
        str(tiny_model("gpt2")),
        device="cpu",
        dtype="float32",
        max_new_tokens=5,
    )
    llm = HuggingFacePipeline(pipeline=pipe)
    engine = engine_of(llm)
    assert engine.loaded.model is pipe.model
    assert llm.batch(FEW) == [reference(engine, prompt, max_new_tokens=5) for prompt in FEW]
    assert pipe.tokenizer.pad_token is None  # the user's tokenizer stays as it is


@pytest.mark.parametrize("wrong", [None, "gpt2", object()])
def test_what_is_no_pipeline_is_refused_with_the_right_call(wrong: Any) -> None:
    with pytest.raises(OptionError, match="from_model_id"):
        HuggingFacePipeline(pipeline=wrong)


# --- options ----------------------------------------------------------------------------------


def test_stop_strings_end_answers_wherever_they_are_given(own: HuggingFacePipeline) -> None:
    full = own.invoke(FEW[0])
    stop = full[4:7]
    expected = full.split(stop)[0]
    assert own.invoke(FEW[0], stop=[stop]) == expected
    assert own.bind(stop=[stop]).invoke(FEW[0]) == expected
    assert own.bind(stop=[stop]).batch(FEW[:2]) == [
        expected,
        own.invoke(FEW[1]).split(stop)[0],
    ]
    assert "".join(own.stream(FEW[0], stop=[stop])) == expected
    own.pipeline_kwargs = {"max_new_tokens": 12, "stop": stop}
    assert own.invoke(FEW[0]) == expected
    assert own.invoke(FEW[0], stop=[]) == full


def test_options_of_a_call_act_and_are_checked(llm: HuggingFacePipeline) -> None:
    engine = engine_of(llm)
    assert llm.invoke("a", max_new_tokens=3) == reference(engine, "a", max_new_tokens=3)
    assert llm.bind(max_new_tokens=3).invoke("a") == llm.invoke("a", max_new_tokens=3)
    assert llm.invoke("a", pipeline_kwargs={"max_new_tokens": 3}) == llm.invoke(
        "a", max_new_tokens=3
    )
    hot = {"temperature": 2.0, "seed": 3}
    assert llm.invoke("a", **hot) == llm.invoke("a", **hot) != llm.invoke("a")
    with pytest.raises(OptionError, match="Did you mean 'max_new_tokens'"):
        llm.invoke("a", max_new_token=3)
    with pytest.raises(OptionError, match="temperature is a number"):
        llm.invoke("a", temperature=-1)
    with pytest.raises(OptionError, match="Did you mean 'temperature'"):
        list(llm.stream("a", temprature=1))


def test_settings_edited_later_act_at_once(own: HuggingFacePipeline) -> None:
    engine = engine_of(own)
    assert own.pipeline_kwargs is not None
    own.pipeline_kwargs["max_new_tokens"] = 4
    assert own.invoke("a") == reference(engine, "a", max_new_tokens=4)
    own.pipeline_kwargs["max_new_token"] = 4
    with pytest.raises(OptionError, match="Did you mean"):
        own.invoke("a")


def test_batch_size_is_live(own: HuggingFacePipeline) -> None:
    for batch_size in (1, 3, "auto"):
        own.batch_size = batch_size  # type: ignore[assignment]
        result = own.generate(FEW)
        rows = {(each[0].generation_info or {})["batch_rows"] for each in result.generations}
        assert max(rows) == (6 if batch_size == "auto" else batch_size)
    with pytest.raises(ValueError, match="batch_size"):
        own.batch_size = 0


def test_temperature_and_max_length_may_stand_in_model_kwargs(tiny_model: Tiny) -> None:
    """LangChain's own page does so, and langchain_huggingface fails with it."""
    llm = HuggingFacePipeline.from_model_id(
        model_id=str(tiny_model("llama")),
        task="text-generation",
        model_kwargs={"temperature": 0, "max_length": 30, "dtype": "float32"},
        device=-1,
    )
    assert llm.invoke("a") == reference(engine_of(llm), "a", max_length=30)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"device": 0, "device_map": "auto"}, OptionError, "Both device=0 and device_map"),
        ({"device": "gpu7"}, DeviceError, "Unknown device"),
        ({"backend": "opnvino"}, OptionError, "Unknown backend"),
        ({"task": "text-generations"}, OptionError, "Did you mean 'text-generation'"),
        ({"model_kwargs": {"temprature": 0}}, OptionError, "Did you mean 'temperature'"),
        ({"pipeline_kwargs": {"max_new_token": 1}}, OptionError, "Did you mean 'max_new_tokens'"),
        ({"pipeline_kwargs": {"max_new_tokens": 0}}, OptionError, "max_new_tokens is a whole"),
        ({"device_map": "cpu", "model_kwargs": {"device_map": "cpu"}}, OptionError, "given twice"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_is_loaded(
    arguments: dict[str, Any],
    error: type[Exception],
    words: str,
    tiny_model: Tiny,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("hfnb.engines.torch_load.load", load)
    with pytest.raises(error, match=words):
        HuggingFacePipeline.from_model_id(
            str(tiny_model("llama")), **{"task": "text-generation", **arguments}
        )


def test_a_path_is_a_model_id(tiny_model: Tiny) -> None:
    llm = HuggingFacePipeline.from_model_id(
        tiny_model("llama"),  # type: ignore[arg-type]
        "text-generation",
        device=-1,
    )
    assert llm.model_id == str(tiny_model("llama"))


# --- results ----------------------------------------------------------------------------------


def test_the_full_text_is_the_prompt_and_the_answer(llm: HuggingFacePipeline) -> None:
    answer = llm.invoke("a b")
    assert llm.invoke("a b", return_full_text=True) == "a b" + answer
    assert llm.bind(skip_prompt=False).invoke("a b") == "a b" + answer
    assert "".join(llm.stream("a b", return_full_text=True)) == "a b" + answer


def test_streams_are_the_answer_in_pieces(llm: HuggingFacePipeline) -> None:
    pieces = list(llm.stream(FEW[0]))
    assert "".join(pieces) == llm.invoke(FEW[0])
    assert len([piece for piece in pieces if piece]) > 5

    async def collect() -> list[str]:
        return [piece async for piece in llm.astream(FEW[0])]

    assert "".join(asyncio.run(collect())) == llm.invoke(FEW[0])


def test_the_last_chunk_of_a_stream_says_how_it_ended(llm: HuggingFacePipeline) -> None:
    chunks = list(llm._stream(FEW[0]))
    assert all(isinstance(chunk, GenerationChunk) for chunk in chunks)
    info = chunks[-1].generation_info or {}
    assert info["finish_reason"] in ("length", "eos")
    assert info["prompt_tokens"] == llm.get_num_tokens(FEW[0])


def test_generation_info_tells_tokens_reason_and_time(llm: HuggingFacePipeline) -> None:
    result = llm.generate([*FEW, FEW[0]], stop=["never in an answer"])
    for prompt, each in zip(FEW, result.generations, strict=False):
        info = each[0].generation_info or {}
        assert info["finish_reason"] in ("length", "eos")
        assert info["new_tokens"] == 12 or info["finish_reason"] == "eos"
        assert info["prompt_tokens"] == llm.get_num_tokens(prompt)
        assert info["latency_s"] > 0
    assert result.generations[0][0].text == result.generations[-1][0].text


def test_tokens_are_counted_by_the_models_own_tokenizer(llm: HuggingFacePipeline) -> None:
    tokenizer = engine_of(llm).loaded.tokenizer
    for text in ("", "a", "soixante-douze", "日本語"):
        assert llm.get_num_tokens(text) == len(tokenizer(text).input_ids)


def test_several_sequences_of_a_prompt_differ_and_repeat(llm: HuggingFacePipeline) -> None:
    options = {"num_return_sequences": 3, "temperature": 2.0, "seed": 1}
    result = llm.generate(["a", "b"], **options)
    texts = [[each.text for each in row] for row in result.generations]
    assert [len(row) for row in texts] == [3, 3]
    assert len({text for row in texts for text in row}) == 6
    again = llm.generate(["a", "b"], **options)
    assert texts == [[each.text for each in row] for row in again.generations]
    with pytest.raises(OptionError, match="num_return_sequences=2 needs sampling"):
        llm.generate(["a"], num_return_sequences=2)


def test_several_sequences_of_a_beam_search_are_its_best_beams(llm: HuggingFacePipeline) -> None:
    result = llm.generate(["a"], num_return_sequences=3, num_beams=3)
    assert len({each.text for each in result.generations[0]}) == 3


def test_an_error_of_a_row_is_raised_at_once(llm: HuggingFacePipeline) -> None:
    long = "word " * 400
    with pytest.raises(PromptTooLongError, match="context holds 256"):
        llm.invoke(long)
    with pytest.raises(PromptTooLongError):
        list(llm.stream(long))
    results = llm.batch(["a", long], return_exceptions=True)
    assert len(results) == 2


def test_a_stream_that_is_left_early_computes_no_further(llm: HuggingFacePipeline) -> None:
    model = engine_of(llm).loaded.model
    forward, calls = model.forward, [0]

    def counted(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return forward(*args, **kwargs)

    model.forward = counted
    try:
        stream = llm.stream("a", max_new_tokens=200)
        next(iter(stream))
        stream.close()  # type: ignore[attr-defined]
        at = calls[0]
        assert at <= 3
        llm.invoke("a", max_new_tokens=1)
        assert calls[0] == at + 1
    finally:
        model.forward = forward


def test_a_fault_while_streaming_reaches_the_caller_at_once(llm: HuggingFacePipeline) -> None:
    model = engine_of(llm).loaded.model
    forward = model.forward

    def failing(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("injected")

    model.forward = failing
    try:
        with pytest.raises(EngineError, match="injected"):
            list(llm.stream("a"))
    finally:
        model.forward = forward


def test_langchains_cache_keeps_apart_models_with_other_settings(
    llm: HuggingFacePipeline,
) -> None:
    cache = InMemoryCache()

    def make(**options: Any) -> HuggingFacePipeline:
        return HuggingFacePipeline(engine=llm.engine, cache=cache, pipeline_kwargs=options)

    for tokens in (3, 9):
        expected = reference(engine_of(llm), "a", max_new_tokens=tokens)
        assert make(max_new_tokens=tokens).invoke("a") == expected
        assert make(max_new_tokens=tokens).invoke("a") == expected
    assert len(cache._cache) == 2


@pytest.mark.parametrize("value", ["False", 1])
def test_code_of_a_model_runs_only_for_a_real_true(value: object, tiny_model: Tiny) -> None:
    """``bool("False")`` is true: such a value must be refused, not taken as a yes."""
    with pytest.raises(OptionError, match="trust_remote_code"):
        HuggingFacePipeline.from_model_id(
            str(tiny_model("llama")),
            "text-generation",
            device=-1,
            model_kwargs={"trust_remote_code": value},
        )
