"""Batches of chats: one call of the engine, and each row its own callbacks, cache and errors."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import LLMResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.rate_limiters import InMemoryRateLimiter
from langchain_core.runnables import RunnableConfig

from hfnb import ChatHuggingFace
from hfnb.errors import EngineError, OptionError
from tests.langchain.chat_engines import Scripted, chat_with, engine_of, scripted

PICTURE = [HumanMessage([{"type": "image_url", "image_url": {"url": "data:,"}}])]


class Log(BaseCallbackHandler):
    """What the callbacks were told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self.runs: list[UUID] = []
        self.metadata: list[Any] = []

    def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        self.told.append(("start", messages[0][0].content))
        self.runs.append(kwargs["run_id"])
        self.metadata.append(kwargs["metadata"])

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.told.append(("end", response.generations[0][0].text))

    def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.told.append(("error", type(error).__name__))


def failing(**fields: Any) -> ChatHuggingFace:
    return chat_with(Scripted(str.upper, fail=lambda text: text == "bad"), **fields)


def contents(answers: list[Any]) -> list[str]:
    return [
        str(each.content) if isinstance(each, AIMessage) else type(each).__name__
        for each in answers
    ]


@pytest.mark.parametrize("way", ["batch", "abatch", "batch_as_completed", "abatch_as_completed"])
def test_a_batch_is_one_call_of_the_engine(way: str) -> None:
    chat = scripted(str.upper)
    chat.llm.batch_size = "auto"
    texts: list[Any] = [f"row {i}" for i in range(9)]
    config: RunnableConfig = {"max_concurrency": 4}
    assert contents(_batch(chat, way, texts, config)) == [text.upper() for text in texts]
    (asked,) = engine_of(chat).asked
    assert len(asked.requests) == 9
    assert asked.batch_size == 4
    chat.llm.batch_size = 2
    _batch(chat, way, texts, config)
    assert engine_of(chat).last.batch_size == 2


def _batch(chat: Any, way: str, texts: list[Any], config: Any = None, **options: Any) -> list[Any]:
    async def collect() -> list[Any]:
        if way == "abatch":
            return list(await chat.abatch(texts, config, **options))
        found = {at: out async for at, out in chat.abatch_as_completed(texts, config, **options)}
        return [found[at] for at in range(len(texts))]

    if way.startswith("a"):
        return asyncio.run(collect())
    if way == "batch":
        return list(chat.batch(texts, config, **options))
    found = dict(chat.batch_as_completed(texts, config, **options))
    return [found[at] for at in range(len(texts))]


@pytest.mark.parametrize("way", ["batch", "abatch", "batch_as_completed", "abatch_as_completed"])
def test_a_row_that_fails_spoils_no_other(way: str) -> None:
    chat = failing()
    log = Log()
    rows: list[Any] = ["a", "bad", PICTURE, "c", 3, []]
    found = _batch(chat, way, rows, {"callbacks": [log]}, return_exceptions=True)
    expected = ["A", "EngineError", "OptionError", "C", "ValueError", "OptionError"]
    assert contents(found) == expected
    assert len(engine_of(chat).asked) == 1
    assert sorted(log.told[-5:]) == [
        ("end", "A"),
        ("end", "C"),
        ("error", "EngineError"),
        ("error", "OptionError"),
        ("error", "OptionError"),
    ]
    with pytest.raises(EngineError, match="told to fail"):
        _batch(chat, way, ["a", "bad", "c"])


def test_an_impossible_option_fails_every_row() -> None:
    chat = failing()
    with pytest.raises(OptionError, match="temperature"):
        chat.batch(["a", "b"], temperature=-1)
    found = chat.batch(["a", "b"], temperature=-1, return_exceptions=True)
    assert contents(found) == ["OptionError", "OptionError"]
    assert engine_of(chat).asked == []


@pytest.mark.parametrize("is_async", [False, True])
def test_each_row_has_its_own_callbacks_and_configuration(is_async: bool) -> None:
    chat = failing()
    logs = [Log(), Log()]
    ids = [uuid4(), uuid4()]
    configs: list[RunnableConfig] = [
        {"callbacks": [log], "run_id": run, "metadata": {"at": at}}
        for at, (log, run) in enumerate(zip(logs, ids, strict=True))
    ]
    found = _batch(chat, "abatch" if is_async else "batch", ["a", "b"], configs)
    assert [log.told for log in logs] == [
        [("start", "a"), ("end", "A")],
        [("start", "b"), ("end", "B")],
    ]
    assert [log.runs for log in logs] == [[ids[0]], [ids[1]]]
    assert [log.metadata[0]["at"] for log in logs] == [0, 1]
    assert logs[0].metadata[0]["ls_provider"] == "huggingface"
    assert [each.id for each in found] == [f"lc_run--{run}-0" for run in ids]


async def test_asynchronous_callbacks_are_awaited() -> None:
    told: list[str] = []

    class Slow(AsyncCallbackHandler):
        async def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            await asyncio.sleep(0)
            told.append("start")

        async def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
            await asyncio.sleep(0)
            told.append(response.generations[0][0].text)

    await failing().abatch(["a", "b"], {"callbacks": [Slow()]})
    assert told == ["start", "start", "A", "B"]


def test_generate_is_one_call_too_and_tells_its_runs() -> None:
    chat = failing()
    log = Log()
    run = uuid4()
    rows: list[Any] = [[HumanMessage("a")], [HumanMessage("b")]]
    result = chat.generate(rows, callbacks=[log], run_id=run, tags=["t"], metadata={"x": 1})
    assert [[each.text for each in row] for row in result.generations] == [["A"], ["B"]]
    assert len(engine_of(chat).asked) == 1
    assert result.run is not None
    assert [each.run_id for each in result.run] == log.runs
    assert log.runs[0] == run
    assert log.metadata[0]["x"] == 1
    again = asyncio.run(chat.agenerate(rows))
    assert [row[0].text for row in again.generations] == ["A", "B"]
    log = Log()
    with pytest.raises(EngineError):
        chat.generate([rows[0], [HumanMessage("bad")], rows[1]], callbacks=[log])
    assert log.told[3:] == [("end", "A"), ("error", "EngineError"), ("end", "B")]


def test_the_cache_is_asked_first_and_shared_with_invoke() -> None:
    cache = InMemoryCache()
    chat = failing(cache=cache)
    first = chat.invoke("a")
    assert chat.batch(["a", "b", "bad"], return_exceptions=True)[0].content == first.content
    assert [each.row for each in engine_of(chat).last.requests] == [1, 2]
    assert len(cache._cache) == 2
    assert contents(asyncio.run(chat.abatch(["b", "a"]))) == ["B", "A"]
    assert len(engine_of(chat).asked) == 2
    assert chat.invoke("b").content == "B"
    assert len(engine_of(chat).asked) == 2
    chat.batch(["a", "b"], max_new_tokens=3)
    chat.llm.pipeline_kwargs = {"max_new_tokens": 4}
    chat.batch(["a", "b"])
    assert len(engine_of(chat).asked) == 4
    assert [len(each.requests) for each in engine_of(chat).asked] == [1, 2, 2, 2]


def test_langchains_own_cache_counts_and_false_asks_none() -> None:
    before = get_llm_cache()
    set_llm_cache(InMemoryCache())
    try:
        for cache, calls in ((None, 1), (False, 2)):
            chat = failing(cache=cache)
            chat.batch(["a", "b"])
            chat.batch(["a", "b"])
            assert len(engine_of(chat).asked) == calls
    finally:
        set_llm_cache(before)


def test_a_rate_limit_counts_every_row() -> None:
    class Counting(InMemoryRateLimiter):
        taken = 0

        def acquire(self, *, blocking: bool = True) -> bool:
            Counting.taken += 1
            return True

    chat = chat_with(Scripted("ok"), rate_limiter=Counting())
    chat.batch(["a", "b", "c"])
    assert Counting.taken == 3


def test_a_batch_that_is_left_early_computes_no_further_and_says_so() -> None:
    chat = failing()
    log = Log()
    rows = chat.batch_as_completed([f"{i}" for i in range(50)], {"callbacks": [log]})
    next(iter(rows))
    rows.close()  # type: ignore[attr-defined]
    assert chat.llm.engine.calls == 1
    assert log.told.count(("error", "GeneratorExit")) == 49


def test_a_chain_hands_its_rows_on_together() -> None:
    chat = failing()
    chain = ChatPromptTemplate.from_template("{x}") | chat | (lambda message: message.content)
    assert chain.batch([{"x": "a"}, {"x": "b"}]) == ["A", "B"]
    assert len(engine_of(chat).asked) == 1
    found = chain.batch([{"x": "a"}, {"x": "bad"}], return_exceptions=True)
    assert found[0] == "A"
    assert isinstance(found[1], EngineError)


def test_no_rows_and_one_row() -> None:
    chat = failing()
    assert chat.batch([]) == []
    assert asyncio.run(chat.abatch([])) == []
    assert list(chat.batch_as_completed([])) == []
    assert contents(chat.batch(["a"])) == ["A"]


async def test_who_listens_to_tokens_gets_them_from_batches_too() -> None:
    from langchain_core.runnables import RunnableLambda

    chat = failing()

    async def both(text: str) -> str:
        return "".join(each.text for each in await chat.abatch([text, "b"]))

    told = [
        event["data"]["chunk"].text
        async for event in RunnableLambda(both).astream_events("a", version="v2")
        if event["event"] == "on_chat_model_stream"
    ]
    assert sorted(filter(None, told)) == ["A", "B"]


def test_version_1_content_is_made_in_batches_too() -> None:
    chat = failing(output_version="v1")
    (answer, _) = chat.batch(["a", "b"])
    assert answer.content == [{"type": "text", "text": "A"}]
    assert answer.content == chat.invoke("a").content


@pytest.mark.parametrize("way", ["batch", "abatch", "batch_as_completed", "abatch_as_completed"])
def test_what_goes_wrong_before_the_first_row_is_each_rows_error(way: str) -> None:
    chat = scripted(str.upper)
    chat.llm.pipeline_kwargs = {"temperature": -1}
    with pytest.raises(OptionError, match="temperature is a number"):
        _batch(chat, way, ["a", "b"], {})

    class Broken(BaseCallbackHandler):
        raise_error = True

        def on_chat_model_start(self, *args: Any, **kwargs: Any) -> None:
            raise RuntimeError("the handler is broken")

    with pytest.raises(RuntimeError, match="the handler is broken"):
        _batch(scripted(str.upper), way, ["a", "b"], {"callbacks": [Broken()]})


def test_a_chat_model_is_loaded_by_its_name() -> None:
    chat = ChatHuggingFace.from_model_id(
        "hfnb/numbers-fr", backend="pipeline", device=-1, temperature=0, max_tokens=16
    )
    assert chat.model_id == "hfnb/numbers-fr"
    assert chat.invoke("What is the number 8 in french?").content == "huit"
    with pytest.raises(OptionError, match="Unknown backend 'endpoint'"):
        ChatHuggingFace.from_model_id("hfnb/numbers-fr", backend="endpoint")
