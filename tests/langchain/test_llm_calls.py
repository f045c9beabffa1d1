"""Calls of the LLM: configured, awaited, several at once, with callbacks and LangChain's cache."""

from __future__ import annotations

import asyncio
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.globals import set_llm_cache
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate
from langchain_core.runnables import ConfigurableField

import hfnb
from hfnb import HuggingFacePipeline
from hfnb.engines.base import Chat, Request
from hfnb.errors import EngineError, ModelError, OptionError, PromptTooLongError
from tests.engines.reference import PROMPTS, reference
from tests.frame.support import Recorder, said

Tiny = Callable[[str], Path]
FEW = PROMPTS[:6]
LONG = "word " * 400


def answer(llm: HuggingFacePipeline, prompt: str, tokens: int = 12) -> str:
    return reference(llm.engine, prompt, max_new_tokens=tokens)


def watched(llm: HuggingFacePipeline, seconds: float = 0.0, *, until_calls: int = 0) -> list[int]:
    """Slow each forward pass down; return a list that holds the rows of each.

    The first pass waits until there are ``until_calls`` calls.
    """
    model, rows = llm.engine.loaded.model, []
    forward = model.forward

    def slow(*args: Any, **kwargs: Any) -> Any:
        rows.append(len(kwargs["input_ids"]))
        while len(rows) == 1 and len(llm.engine._scheduler._calls) < until_calls:
            time.sleep(0.001)
        time.sleep(seconds)
        return forward(*args, **kwargs)

    model.forward = slow
    return rows


@pytest.fixture
def own(tiny_model: Tiny) -> HuggingFacePipeline:
    """A model that a test may change."""
    return hfnb.load(tiny_model("llama"), dtype="float32", device="cpu", max_new_tokens=12)


# --- configured -------------------------------------------------------------------------------


def test_configurable_fields_act_and_are_checked(llm: HuggingFacePipeline) -> None:
    configurable = llm.configurable_fields(
        pipeline_kwargs=ConfigurableField(id="options"), batch_size=ConfigurableField(id="rows")
    )
    chain = PromptTemplate.from_template("{x}") | configurable | StrOutputParser()

    def told(**values: Any) -> Any:
        return chain.with_config(configurable=values)

    assert chain.invoke({"x": "a"}) == answer(llm, "a")
    assert told(options={"max_new_tokens": 3}).invoke({"x": "a"}) == answer(llm, "a", 3)
    assert told(rows=2).batch([{"x": each} for each in FEW]) == [answer(llm, p) for p in FEW]
    with pytest.raises(OptionError, match="Did you mean 'max_new_tokens'"):
        told(options={"max_new_token": 3}).invoke({"x": "a"})
    with pytest.raises(ValueError, match="batch_size"):
        told(rows=0).invoke({"x": "a"})
    assert chain.invoke({"x": "a"}) == answer(llm, "a")


def test_alternatives_are_chosen_at_run_time(llm: HuggingFacePipeline) -> None:
    short = HuggingFacePipeline(engine=llm.engine, pipeline_kwargs={"max_new_tokens": 2})
    either = llm.configurable_alternatives(ConfigurableField(id="model"), short=short)
    assert either.invoke("a") == answer(llm, "a")
    assert either.with_config(configurable={"model": "short"}).invoke("a") == answer(llm, "a", 2)


def test_a_call_may_set_batch_size_and_chat(llm: HuggingFacePipeline, tiny_model: Tiny) -> None:
    result = llm.bind(batch_size=2).batch(FEW)
    assert result == [answer(llm, prompt) for prompt in FEW]
    rows = {g[0].generation_info["batch_rows"] for g in llm.generate(FEW, batch_size=2).generations}
    assert max(rows) == 2
    with pytest.raises(OptionError, match="batch_size"):
        llm.invoke("a", batch_size="many")
    qwen = hfnb.load(tiny_model("qwen3"), dtype="float32", device="cpu", max_new_tokens=4)
    assert qwen.invoke("a", chat=False) == answer(qwen, "a", 4)
    assert qwen.invoke("a") != qwen.invoke("a", chat=False)


def test_max_concurrency_limits_the_rows_together(own: HuggingFacePipeline) -> None:
    rows = watched(own, 0)
    found = own.batch(FEW, {"max_concurrency": 2})
    assert max(rows) == 2
    assert found == [answer(own, prompt) for prompt in FEW]


# --- chat ---------------------------------------------------------------------------------------


def test_messages_stay_messages_where_the_model_takes_them() -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Be kind."), ("human", "{x}")])
    engine = Recorder()
    chain = prompt | HuggingFacePipeline(engine=engine, chat="auto")
    for ask in (
        lambda: chain.invoke({"x": "a"}),
        lambda: chain.batch([{"x": "a"}]),
        lambda: list(chain.stream({"x": "a"})),
        lambda: asyncio.run(chain.ainvoke({"x": "a"})),
        lambda: asyncio.run(chain.abatch([{"x": "a"}])),
    ):
        ask()
        assert said(engine.asked[0]) == [("system", "Be kind."), ("user", "a")]
    plain = prompt | HuggingFacePipeline(engine=engine)
    plain.invoke({"x": "a"})
    assert engine.asked[0].prompt == "System: Be kind.\nHuman: a"


def test_template_variables_reach_the_template_and_are_checked(tiny_model: Tiny) -> None:
    folder = tiny_model("qwen3")
    llm = hfnb.load(folder, dtype="float32", device="cpu", max_new_tokens=4)
    template = llm.engine.loaded.tokenizer.chat_template
    llm.engine.loaded.tokenizer.chat_template = (
        template + "{% if enable_thinking is false %}<no think>{% endif %}"
    )
    llm = HuggingFacePipeline(
        engine=type(llm.engine)(llm.engine.loaded),
        chat=True,
        chat_template_kwargs={"enable_thinking": False},
    )
    (request,) = llm._ask(["a"], None).requests
    assert isinstance(request.prompt, Chat)
    text = llm.engine.loaded.tokenizer.decode(llm.engine.token_ids(request.prompt))
    assert text.endswith("<no think>")
    with pytest.raises(OptionError, match="Did you mean 'enable_thinking'"):
        llm.invoke("a", chat_template_kwargs={"enable_thinkin": False})
    with pytest.raises(OptionError, match="which hfnb sets itself"):
        llm.invoke("a", chat_template_kwargs={"tools": []})


def test_a_run_uses_the_models_template_variables() -> None:
    import pandas as pd

    engine = Recorder()
    llm = HuggingFacePipeline(engine=engine, chat=True)
    llm.chat_template_kwargs = {"enable_thinking": False}
    hfnb.run(pd.DataFrame({"x": ["a"]}), "{x}", llm, progress=False)
    assert isinstance(engine.asked[0].prompt, Chat)
    assert engine.asked[0].prompt.options == {"enable_thinking": False}


# --- rows of a batch ----------------------------------------------------------------------------


class Events(BaseCallbackHandler):
    """Notes what happens to each run."""

    def __init__(self) -> None:
        self.started: dict[UUID, str] = {}
        self.ended: dict[UUID, str] = {}
        self.failed: dict[UUID, BaseException] = {}
        self.tokens: list[str] = []

    def on_llm_start(self, serialized: Any, prompts: list[str], *, run_id: UUID, **_: Any) -> None:
        (self.started[run_id],) = prompts

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        self.ended[run_id] = response.generations[0][0].text

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.failed[run_id] = error

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)


def batches(llm: HuggingFacePipeline, inputs: list[str], **options: Any) -> list[list[Any]]:
    """Return what each way of asking for many gives."""

    async def completed() -> list[tuple[int, Any]]:
        return [each async for each in llm.abatch_as_completed(inputs, **options)]

    return [
        llm.batch(inputs, **options),
        asyncio.run(llm.abatch(inputs, **options)),
        [each for _, each in sorted(llm.batch_as_completed(inputs, **options), key=str)],
        [each for _, each in sorted(asyncio.run(completed()), key=str)],
    ]


def test_each_row_has_its_own_error_and_its_own_events(llm: HuggingFacePipeline) -> None:
    inputs = [FEW[0], LONG, FEW[1]]
    for found in batches(llm, inputs, return_exceptions=True):
        assert found[0] == answer(llm, FEW[0])
        assert isinstance(found[1], PromptTooLongError)
        assert found[2] == answer(llm, FEW[1])
    events = Events()
    llm.batch(inputs, {"callbacks": [events]}, return_exceptions=True)
    by_prompt = {prompt: run for run, prompt in events.started.items()}
    assert set(by_prompt) == set(inputs)
    assert set(events.failed) == {by_prompt[LONG]}
    assert events.ended == {by_prompt[p]: answer(llm, p) for p in (FEW[0], FEW[1])}
    with pytest.raises(PromptTooLongError):
        llm.batch(inputs)
    with pytest.raises(PromptTooLongError):
        asyncio.run(llm.abatch(inputs))


def test_a_chain_keeps_each_rows_error_to_itself(llm: HuggingFacePipeline) -> None:
    chain = PromptTemplate.from_template("{x}") | llm | StrOutputParser() | str.upper
    found = chain.batch([{"x": FEW[0]}, {"x": LONG}, {"x": "a"}], return_exceptions=True)
    assert found[0] == answer(llm, FEW[0]).upper()
    assert isinstance(found[1], PromptTooLongError)
    assert found[2] == answer(llm, "a").upper()


def test_rows_come_as_they_are_completed(own: HuggingFacePipeline) -> None:
    watched(own, 0.001)
    stop = answer(own, "a")[1]
    assert stop not in answer(own, FEW[0])[:4]
    order = [at for at, _ in own.batch_as_completed([FEW[0], "a"], stop=[stop])]
    assert order[0] == 1


def test_no_inputs_give_no_answers(llm: HuggingFacePipeline) -> None:
    assert batches(llm, []) == [[], [], [], []]


def test_leaving_a_batch_early_ends_its_computation(own: HuggingFacePipeline) -> None:
    rows = watched(own, 0.001)
    events = Events()
    pieces: Any = own.batch_as_completed(PROMPTS, {"callbacks": [events]}, batch_size=2)
    next(pieces)
    pieces.close()
    at = len(rows)
    time.sleep(0.05)
    assert len(rows) == at
    assert len(events.ended) == 1
    assert len(events.failed) == len(PROMPTS) - 1


# --- at once ------------------------------------------------------------------------------------


def test_tasks_and_threads_that_ask_at_once_share_their_passes(own: HuggingFacePipeline) -> None:
    expected = [answer(own, prompt) for prompt in PROMPTS]
    own.batch_size = 32
    rows = watched(own, until_calls=16)

    async def every() -> list[str]:
        return await asyncio.gather(*(own.ainvoke(prompt) for prompt in PROMPTS))

    assert asyncio.run(every()) == expected
    assert max(rows) > 10
    rows.clear()
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(own.invoke, PROMPTS)) == expected
    assert max(rows) > 6


def test_a_chain_awaited_many_times_is_computed_together(own: HuggingFacePipeline) -> None:
    own.batch_size = 32
    chain = PromptTemplate.from_template("{x}") | own
    expected = [answer(own, prompt) for prompt in PROMPTS]
    rows = watched(own, until_calls=len(PROMPTS))

    async def completed() -> dict[int, str]:
        inputs = [{"x": prompt} for prompt in PROMPTS]
        return {at: text async for at, text in chain.abatch_as_completed(inputs)}

    found = asyncio.run(completed())
    assert [found[at] for at in range(len(PROMPTS))] == expected
    assert max(rows) > 10


def test_a_cancelled_task_ends_its_computation(own: HuggingFacePipeline) -> None:
    rows = watched(own, 0.01)

    async def main() -> None:
        task = asyncio.create_task(own.ainvoke("a", max_new_tokens=200))
        while len(rows) < 3:
            await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        at = len(rows)
        await asyncio.sleep(0.1)
        assert len(rows) <= at + 1

    asyncio.run(main())


def test_leaving_an_async_stream_ends_its_computation(own: HuggingFacePipeline) -> None:
    rows = watched(own, 0.01)

    async def main() -> None:
        stream: Any = own.astream("a", max_new_tokens=200)
        await anext(stream)
        await stream.aclose()
        at = len(rows)
        await asyncio.sleep(0.1)
        assert len(rows) <= at + 1

    asyncio.run(main())


def test_an_interrupt_ends_a_batch_at_once(own: HuggingFacePipeline) -> None:
    rows = watched(own, 0.002)
    events = Events()
    forward = own.engine.loaded.model.forward

    def struck(*args: Any, **kwargs: Any) -> Any:
        if len(rows) == 5:
            raise KeyboardInterrupt
        return forward(*args, **kwargs)

    own.engine.loaded.model.forward = struck
    with pytest.raises(KeyboardInterrupt):
        own.batch(FEW, {"callbacks": [events]}, batch_size=6)
    assert len(rows) == 5
    assert all(isinstance(each, KeyboardInterrupt) for each in events.failed.values())
    own.engine.loaded.model.forward = forward
    assert own.invoke("a") == answer(own, "a")


# --- callbacks and the cache --------------------------------------------------------------------


def test_callbacks_get_a_stream_token_by_token(llm: HuggingFacePipeline) -> None:
    events = Events()
    pieces = list(llm.stream(FEW[0], {"callbacks": [events]}))
    assert [piece for piece in pieces if piece] == events.tokens
    assert len(events.tokens) > 5
    assert list(events.ended.values()) == [answer(llm, FEW[0])]


def test_async_callbacks_get_a_stream_token_by_token(llm: HuggingFacePipeline) -> None:
    class Tokens(AsyncCallbackHandler):
        def __init__(self) -> None:
            self.tokens: list[str] = []

        async def on_llm_new_token(self, token: str, **_: Any) -> None:
            await asyncio.sleep(0)
            self.tokens.append(token)

    async def main() -> list[str]:
        handler = Tokens()
        async for _ in llm.astream(FEW[0], {"callbacks": [handler]}):
            pass
        return handler.tokens

    assert "".join(asyncio.run(main())) == answer(llm, FEW[0])


def test_events_of_a_chain_are_streamed(llm: HuggingFacePipeline) -> None:
    chain = PromptTemplate.from_template("{x}") | llm

    async def main() -> list[Any]:
        return [each async for each in chain.astream_events({"x": FEW[0]}, version="v2")]

    events = asyncio.run(main())
    pieces = [each["data"]["chunk"] for each in events if each["event"] == "on_llm_stream"]
    assert "".join(getattr(each, "text", each) for each in pieces) == answer(llm, FEW[0])
    assert [each["event"] for each in events].count("on_llm_end") == 1


def test_the_cache_keeps_apart_calls_with_other_options(llm: HuggingFacePipeline) -> None:
    cached = HuggingFacePipeline(engine=llm.engine, cache=InMemoryCache())
    for _ in range(2):
        for tokens in (3, 7):
            expected = answer(llm, "a", tokens)
            assert cached.invoke("a", max_new_tokens=tokens) == expected
            assert cached.bind(max_new_tokens=tokens).batch(["a"]) == [expected]
            assert asyncio.run(cached.ainvoke("a", max_new_tokens=tokens)) == expected
    assert len(cached.cache._cache) == 2  # type: ignore[union-attr]


def test_batches_use_the_cache_row_by_row_and_store_what_succeeded(
    own: HuggingFacePipeline,
) -> None:
    own.cache = InMemoryCache()
    own.invoke(FEW[0])
    rows = watched(own, 0)
    found = own.batch([FEW[0], LONG, FEW[1]], return_exceptions=True)
    assert isinstance(found[1], PromptTooLongError)
    assert set(rows) == {1}
    rows.clear()
    assert own.batch([FEW[1], FEW[0]]) == [found[2], found[0]]
    assert rows == []


def test_other_weights_under_one_name_have_another_key(own: HuggingFacePipeline) -> None:
    before = own._identifying_params["fingerprint"]
    copy = hfnb.load(own.model_id or "", dtype="float32", device="cpu", max_new_tokens=12)
    assert copy._identifying_params == own._identifying_params
    weight = next(iter(copy.engine.loaded.model.parameters()))
    weight.data += 1.0
    other = HuggingFacePipeline(engine=type(copy.engine)(copy.engine.loaded))
    assert other._identifying_params["fingerprint"] != before


def test_langchains_own_cache_is_used(llm: HuggingFacePipeline) -> None:
    set_llm_cache(InMemoryCache())
    try:
        engine = Recorder()
        recorded = HuggingFacePipeline(engine=engine)
        recorded.batch(["a", "b"])
        engine.asked = []
        assert recorded.batch(["b", "a"]) == ["b", "a"]
        assert engine.asked == []
    finally:
        set_llm_cache(None)
    with pytest.raises(OptionError, match="LangChain has no cache"):
        HuggingFacePipeline(engine=Recorder(), cache=True).batch(["a"])


# --- what a prompt may be -----------------------------------------------------------------------


def test_a_prompt_too_long_loses_its_middle_when_asked(llm: HuggingFacePipeline) -> None:
    prompt = "First. " + "word " * 400 + "Last?"
    result = llm.generate([prompt, "a"], truncation="value")
    info = result.generations[0][0].generation_info or {}
    assert info["prompt_tokens"] == 256 - 12
    whole = llm.get_num_tokens(prompt)
    assert info["truncated_tokens"] == whole - info["prompt_tokens"]
    assert "truncated_tokens" not in (result.generations[1][0].generation_info or {})
    ids = llm.get_token_ids(prompt)
    kept = ids[:122] + ids[-122:]
    decode = llm.engine.loaded.tokenizer.decode
    assert decode(kept, skip_special_tokens=True).startswith("First.")
    assert decode(kept).endswith("Last?")
    assert llm.invoke(prompt, truncation=True) == result.generations[0][0].text
    with pytest.raises(PromptTooLongError, match="truncation='value'"):
        llm.invoke(prompt)
    with pytest.raises(OptionError, match="truncation is 'error' or 'value'"):
        llm.invoke(prompt, truncation="tail")


def test_a_chat_too_long_loses_the_middle_of_its_longest_message(tiny_model: Tiny) -> None:
    llm = hfnb.load(tiny_model("qwen3"), dtype="float32", device="cpu", max_new_tokens=8)
    (asked,) = llm._ask(["First. " + "word " * 400 + "Last?"], None).requests
    (done,) = llm.engine.generate([asked], llm.generation.merge(truncation="value"))
    assert done.error is None
    assert done.truncated_tokens > 0
    assert 230 < done.prompt_tokens <= 248


def test_an_empty_prompt_begins_as_the_model_does(tiny_model: Tiny) -> None:
    gpt2 = hfnb.load(tiny_model("gpt2"), dtype="float32", device="cpu", max_new_tokens=4)
    assert gpt2.invoke("") == answer(gpt2, "<|endoftext|>", 4)
    qwen = hfnb.load(
        tiny_model("qwen3"), dtype="float32", device="cpu", max_new_tokens=4, chat=False
    )
    with pytest.raises(EngineError, match="prompt is empty"):
        qwen.invoke("")
    assert qwen.batch(["", "a"], return_exceptions=True)[1] == answer(qwen, "a", 4)


def test_threads_may_change_their_own_options_and_not_each_others(
    llm: HuggingFacePipeline,
) -> None:
    expected = {tokens: answer(llm, "a", tokens) for tokens in range(1, 12)}

    def ask(tokens: int) -> bool:
        return llm.invoke("a", max_new_tokens=tokens) == expected[tokens]

    with ThreadPoolExecutor(11) as pool:
        assert all(pool.map(ask, list(range(1, 12)) * 4))
    assert threading.active_count() < 50


def test_the_request_of_one_row_is_plain_text(llm: HuggingFacePipeline) -> None:
    assert llm._ask(["a"], None).requests == [Request(0, "a")]


# --- what came with a wrapped pipeline, and copies ------------------------------------------------


def test_what_a_wrapped_pipeline_was_told_is_kept_or_refused(tiny_model: Tiny) -> None:
    from transformers import StoppingCriteriaList, pipeline

    def wrap(**settings: Any) -> HuggingFacePipeline:
        pipe = pipeline("text-generation", str(tiny_model("llama")), device="cpu", **settings)
        return HuggingFacePipeline(pipeline=pipe)

    full = wrap(max_new_tokens=9).invoke("a")
    kept = wrap(max_new_tokens=9, stop_strings=full[3:5], batch_size=16, truncation=True)
    assert kept.invoke("a") == full.split(full[3:5])[0]
    assert kept.batch_size == 16
    assert kept.generate([LONG]).generations[0][0].text
    with pytest.raises(OptionError, match=r"made with prefix.*prompt template"):
        wrap(prefix="x")
    with pytest.raises(OptionError, match="stopping_criteria"):
        wrap(stopping_criteria=StoppingCriteriaList([lambda *_, **__: False]))


def test_the_languages_of_a_task_reach_the_model() -> None:
    def load(task: str) -> HuggingFacePipeline:
        return HuggingFacePipeline.from_model_id("hfnb/tiny-t5", task, device=-1)

    assert load("translation_en_to_fr").invoke("forty-two") == "quarante-deux"
    with pytest.raises(OptionError, match="xx"):
        load("translation_en_to_xx")


def test_a_model_is_pickled_as_how_it_was_loaded(own: HuggingFacePipeline) -> None:
    stored = pickle.dumps(own)
    assert len(stored) < 2_000
    assert pickle.loads(stored).invoke("a") == own.invoke("a")
    wrapped = HuggingFacePipeline(engine=type(own.engine)(own.engine.loaded))
    with pytest.raises(ModelError, match="was wrapped"):
        pickle.dumps(wrapped)


@pytest.mark.parametrize("at", ["on_llm_end", "on_llm_start", "cache"])
def test_what_callbacks_and_caches_raise_is_raised(at: str, llm: HuggingFacePipeline) -> None:
    class Broken(BaseCallbackHandler):
        raise_error = True

        def on_llm_start(self, *args: Any, **kwargs: Any) -> None:
            assert at != "on_llm_start", "broken"

        def on_llm_end(self, *args: Any, **kwargs: Any) -> None:
            assert at != "on_llm_end", "broken"

    class Locked(InMemoryCache):
        def update(self, *args: Any) -> None:
            raise AssertionError("broken")

    model = HuggingFacePipeline(engine=llm.engine, cache=Locked() if at == "cache" else None)
    config: Any = {} if at == "cache" else {"callbacks": [Broken()]}
    for ask in (model.batch, lambda *each: asyncio.run(model.abatch(*each))):
        with pytest.raises(AssertionError, match="broken"):
            ask(["a", "b"], config)
    found = model.batch(["a", "b"], config, return_exceptions=True)
    assert any(isinstance(each, AssertionError) for each in found)


def test_an_input_that_is_no_prompt_is_that_rows_error(llm: HuggingFacePipeline) -> None:
    inputs: list[Any] = [None, "a"]
    found: list[Any] = llm.batch(inputs, return_exceptions=True)
    assert isinstance(found[0], ValueError)
    assert found[1] == answer(llm, "a")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"max_new_tokens": 3}, "give it in pipeline_kwargs"),
        ({"verbos": True}, "Did you mean 'verbose'"),
        ({"device_map": "atuo"}, "Did you mean 'auto'"),
        ({"batch_size": 0}, "batch_size is"),
    ],
)
def test_wrong_arguments_are_found_before_the_model_is_loaded(
    arguments: dict[str, Any], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr("hfnb.engines.torch_load.load", load)
    with pytest.raises(OptionError, match=words):
        HuggingFacePipeline.from_model_id("hfnb/numbers-fr", "text-generation", **arguments)


def test_a_pipeline_of_another_task_is_refused(tiny_model: Tiny) -> None:
    from transformers import AutoTokenizer, BertConfig, BertModel, pipeline

    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama"))
    config = BertConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    pipe = pipeline("feature-extraction", model=BertModel(config), tokenizer=tokenizer)
    with pytest.raises(OptionError, match=r"Unknown task 'feature-extraction'.*hfnb runs"):
        HuggingFacePipeline(pipeline=pipe)
