"""Several calls of OpenVINO's engine at once, rows that fail, and the end of an engine."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import hfnb
from hfnb.engines.asynchronous import agenerate
from hfnb.engines.base import Completion, Request, Work
from hfnb.errors import EngineError, ModelError
from hfnb.spec import GenerationSpec
from tests.engines.reference import PROMPTS, answers, reference, streamed, texts
from tests.needs import require
from tests.openvino.engines import engine, exported, fresh, load, source, torch_engine, watched

require("openvino")

EIGHT = GenerationSpec.of(max_new_tokens=8)


@cache
def told(prompt: str, tokens: int) -> str:
    return reference(torch_engine("llama"), prompt, max_new_tokens=tokens)


def asked(engine: Any, prompt: str, **options: Any) -> str | None:
    (done,) = answers(engine, [prompt], **options)
    assert done.error is None
    return done.text


def slowed(engine: Any, seconds: float, *, until_calls: int = 0) -> Any:
    """Make each step take longer; the first waits until there are ``until_calls`` calls."""
    pipeline = watched(engine)

    def wait() -> None:
        while pipeline.steps == 1 and len(engine._scheduler._calls) < until_calls:
            time.sleep(0.001)
        time.sleep(seconds)

    pipeline.before = wait
    return pipeline


# --- together ---------------------------------------------------------------------------------


def test_threads_that_ask_at_once_are_computed_together() -> None:
    llama = fresh("llama")
    expected = [told(prompt, 8) for prompt in PROMPTS]
    pipeline = slowed(llama, 0.005, until_calls=len(PROMPTS))
    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        found = list(pool.map(lambda each: asked(llama, each, max_new_tokens=8), PROMPTS))
    assert found == expected
    assert pipeline.steps < 4 * len(PROMPTS)  # alone, they would take eight steps each


def test_tasks_that_await_at_once_are_computed_together() -> None:
    llama = fresh("llama")
    expected = [told(prompt, 8) for prompt in PROMPTS]
    pipeline = slowed(llama, 0.005, until_calls=len(PROMPTS))

    async def one(prompt: str) -> str | None:
        (done,) = [each async for each in agenerate(llama, [Request(0, prompt)], EIGHT)]
        assert isinstance(done, Completion)
        return done.text

    async def every() -> list[str | None]:
        return await asyncio.gather(*map(one, PROMPTS))

    assert asyncio.run(every()) == expected
    assert pipeline.steps < 4 * len(PROMPTS)


def test_calls_with_other_options_share_a_batch_and_keep_their_own() -> None:
    llama = engine("llama")
    several: list[dict[str, Any]] = [
        {"max_new_tokens": 3},
        {"max_new_tokens": 20, "stop": ["e", "\n"]},
        {"max_new_tokens": 9, "temperature": 1.3, "seed": 4},
        {"max_new_tokens": 9, "repetition_penalty": 1.6},
        {"max_new_tokens": 9, "batch_size": 2},
    ]
    alone = [texts(llama, PROMPTS[:5], **options) for options in several]
    for _ in range(3):
        with ThreadPoolExecutor(len(several)) as pool:
            assert list(pool.map(lambda o: texts(llama, PROMPTS[:5], **o), several)) == alone


# --- ending early -----------------------------------------------------------------------------


def test_cancelling_ends_within_one_step() -> None:
    llama, work, cancel = fresh("llama"), Work(), threading.Event()
    pipeline = watched(llama)
    requests = [Request(row, prompt) for row, prompt in enumerate(PROMPTS)]
    spec = GenerationSpec.of(max_new_tokens=200)
    stream = llama.generate(requests, spec, cancel=cancel, stream=True, work=work)
    next(stream)
    at = work.forwards
    cancel.set()
    assert not [each for each in stream if isinstance(each, Completion)]
    assert work.forwards <= at + 1
    assert pipeline.steps <= at + 2  # one to let go of the rows
    assert not pipeline.has_non_finished_requests()


def test_cancelled_before_it_begins_is_nothing_computed() -> None:
    work, cancel = Work(), threading.Event()
    cancel.set()
    stream = engine("llama").generate([Request(0, "a")], EIGHT, cancel=cancel, work=work)
    assert list(stream) == []
    assert work.forwards == 0


def test_leaving_a_stream_frees_the_engine() -> None:
    llama = fresh("llama")
    pipeline = watched(llama)
    requests = [Request(row, prompt) for row, prompt in enumerate(PROMPTS)]
    stream: Any = llama.generate(requests, GenerationSpec.of(max_new_tokens=200), stream=True)
    next(stream)
    stream.close()
    assert pipeline.steps <= 3
    assert not pipeline.has_non_finished_requests()
    assert asked(llama, "a", max_new_tokens=3) == told("a", 3)


def test_cancelling_one_of_several_calls_lets_the_others_go_on() -> None:
    llama, cancel = fresh("llama"), threading.Event()
    slowed(llama, 0.002)
    spec = GenerationSpec.of(max_new_tokens=200)
    with ThreadPoolExecutor(3) as pool:
        gone = pool.submit(lambda: list(llama.generate([Request(0, "b")], spec, cancel=cancel)))
        other = pool.submit(asked, llama, "a", max_new_tokens=60)
        time.sleep(0.03)
        cancel.set()
        assert gone.result(timeout=5) == []
        assert other.result() == told("a", 60)


def test_an_interrupt_in_one_call_spoils_no_other() -> None:
    llama = fresh("llama")
    expected = [told(prompt, 30) for prompt in PROMPTS[:6]]
    pipeline = slowed(llama, 0.002)
    main, struck = threading.current_thread(), threading.Event()

    def strike() -> None:
        if threading.current_thread() is main and not struck.is_set():
            struck.set()
            raise KeyboardInterrupt

    pipeline.after = strike
    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(asked, llama, each, max_new_tokens=30) for each in PROMPTS[:6]]
        with pytest.raises(KeyboardInterrupt):
            texts(llama, ["a"] * 500, max_new_tokens=30)
        assert [each.result() for each in others] == expected
    assert struck.is_set()
    assert asked(llama, "a", max_new_tokens=3) == told("a", 3)


def test_a_request_that_an_interrupt_left_alone_is_let_go() -> None:
    """Between the request and its note an interrupt leaves one that nobody can cancel."""
    llama = fresh("llama")
    pipeline = watched(llama)

    class Interrupted:
        def __getattr__(self, name: str) -> Any:
            return getattr(pipeline, name)

        def add_request(self, *args: Any) -> Any:
            handle = pipeline.add_request(*args)
            if not struck:
                struck.append(handle)
                raise KeyboardInterrupt
            return handle

    struck: list[Any] = []
    llama._batch._pipeline = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        texts(llama, ["a"], max_new_tokens=200, min_new_tokens=200)
    assert pipeline.steps < 20
    assert texts(llama, PROMPTS[:3], max_new_tokens=5) == [told(p, 5) for p in PROMPTS[:3]]


# --- failures ---------------------------------------------------------------------------------


def test_a_step_that_fails_once_spoils_no_row() -> None:
    llama = fresh("llama")
    pipeline, work = watched(llama), Work()
    failed: list[int] = []

    def fail() -> None:
        if pipeline.steps == 3:
            failed.append(3)
            raise RuntimeError("no luck")

    pipeline.before = fail
    found = texts(llama, PROMPTS, max_new_tokens=8, work=work)
    assert found == [told(prompt, 8) for prompt in PROMPTS]
    assert failed
    assert work.recomputed_rows == len(PROMPTS)


def test_streams_go_on_where_they_were_after_a_failed_step() -> None:
    llama = fresh("llama")
    pipeline = watched(llama)

    def fail() -> None:
        if pipeline.steps == 4:
            raise RuntimeError("no luck")

    pipeline.before = fail
    options: dict[str, Any] = {"max_new_tokens": 8, "temperature": 1.0}  # without a seed
    deltas, done = streamed(llama, PROMPTS[:4], **options)
    assert ["".join(each) for each in deltas] == [each.text for each in done]
    assert pipeline.steps > 8


def test_a_pipeline_that_fails_for_ever_is_replaced() -> None:
    llama = fresh("llama")
    pipeline = watched(llama)

    def fail() -> None:
        raise RuntimeError("broken for good")

    pipeline.before = fail
    assert texts(llama, PROMPTS[:3], max_new_tokens=5) == [told(p, 5) for p in PROMPTS[:3]]
    assert llama._batch._pipeline is not pipeline
    assert pipeline.steps <= 2


def test_a_row_without_memory_fails_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenVINO drops all of its rows when one is too large; only that one may fail."""
    import openvino_genai

    from hfnb.engines import openvino_engine

    make = openvino_genai.SchedulerConfig

    def small() -> Any:
        config = make()
        config.num_kv_blocks = 4  # of 32 tokens
        return _WithoutSize(config)

    class _WithoutSize:
        def __init__(self, config: Any) -> None:
            object.__setattr__(self, "config", config)

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in ("cache_size", "num_kv_blocks"):
                setattr(self.config, name, value)

    real = openvino_genai.ContinuousBatchingPipeline

    def pipeline(folder: str, scheduler: Any, *rest: Any) -> Any:
        return real(folder, scheduler.config, *rest)

    monkeypatch.setattr(openvino_engine.openvino_genai, "SchedulerConfig", small)
    monkeypatch.setattr(openvino_engine.openvino_genai, "ContinuousBatchingPipeline", pipeline)
    llama, work = load(exported("llama")), Work()
    long = "one two " * 45
    done = answers(llama, ["a", long, *PROMPTS[:5]], max_new_tokens=20, work=work)
    assert isinstance(done[1].error, EngineError)
    assert "not enough memory for this row" in str(done[1].error)
    assert f"{llama.count_tokens(long):,} prompt tokens" in str(done[1].error)
    expected = [told(prompt, 20) for prompt in ("a", *PROMPTS[:5])]
    assert [each.text for each in (done[0], *done[2:])] == expected
    assert work.recomputed_rows > 0


# --- the end ----------------------------------------------------------------------------------


def test_a_closed_engine_says_how_to_get_it_back() -> None:
    llama = fresh("llama")
    llama.close()
    llama.close()
    for options in ({}, {"num_beams": 2}):
        with pytest.raises(ModelError, match=r"unloaded.*hfnb.load"):
            answers(llama, ["a"], max_new_tokens=2, **options)
    with ThreadPoolExecutor(1) as pool, pytest.raises(ModelError, match="unloaded"):
        pool.submit(answers, llama, ["a"]).result(timeout=5)


def test_closing_ends_the_calls_of_all_threads_with_an_error() -> None:
    llama = fresh("llama")
    slowed(llama, 0.005)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(asked, llama, each, max_new_tokens=200) for each in PROMPTS[:4]]
        time.sleep(0.05)
        llama.close()
        for each in calls:
            with pytest.raises(ModelError, match="unloaded"):
                each.result(timeout=5)
    assert llama._batch._pipeline is None


@pytest.mark.slow
def test_loading_and_unloading_gives_the_memory_back(tmp_path: Path) -> None:
    """Ten rounds in one process, with weights that would be seen if they stayed even once."""
    import psutil

    folder = hfnb.export(with_weights_of_100_mb(tmp_path / "model"), tmp_path / "ov", progress=None)
    process = psutil.Process()
    kept, loaded = [], []
    for _ in range(11):
        made = load(folder)
        texts(made, PROMPTS, max_new_tokens=8)
        loaded.append(process.memory_info().rss / 1e6)
        made.close()
        del made
        gc.collect()
        kept.append(process.memory_info().rss / 1e6)
    assert loaded[-1] - kept[-1] > 80, (loaded, kept)  # MB
    assert kept[-1] - kept[0] < 50, kept  # the first round loads libraries


def with_weights_of_100_mb(folder: Path) -> Path:
    """Write a random model that is larger than the tiny ones, with the tokenizer of one of them."""
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(source("llama"))
    config.update(
        {
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_hidden_layers": 6,
            "num_attention_heads": 8,
            "num_key_value_heads": 8,
            "head_dim": 64,
        }
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(source("llama")).save_pretrained(folder)
    return folder


@pytest.mark.slow
def test_a_storm_of_callers_who_leave_cancel_and_stay() -> None:
    llama = fresh("llama")
    expected = {prompt: told(prompt, 12) for prompt in PROMPTS}
    spec = GenerationSpec.of(max_new_tokens=12)
    deadline, numbers = time.perf_counter() + 15, itertools.count()

    def caller(seed: int) -> int:
        luck, done = random.Random(seed), 0
        while time.perf_counter() < deadline:
            prompts = luck.sample(PROMPTS, luck.randint(1, 6))
            requests = [Request(i, prompt) for i, prompt in enumerate(prompts)]
            cancel = threading.Event()
            pieces: Any = llama.generate(
                requests,
                spec,
                cancel=cancel,
                stream=luck.random() < 0.5,
                batch_size=luck.choice(["auto", 1, 3, 8]),
            )
            leave_after = luck.choice([None, None, 1, 4])
            for at, piece in enumerate(pieces):
                if isinstance(piece, Completion):
                    assert piece.text == expected[prompts[piece.row]]
                    done += 1
                if at == leave_after:
                    if luck.random() < 0.5:
                        cancel.set()
                    else:
                        pieces.close()
                        break
            next(numbers)
        return done

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(caller, range(12))) > 200
    assert not llama._scheduler._calls
    assert not llama._batch.rows
    assert not llama._batch._pipeline.has_non_finished_requests()


# --- beginnings that rows share ---------------------------------------------------------------

LONG = "The quick brown fox jumps over the lazy dog. " * 14


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An engine that computes 32 tokens a step, so that steps count tokens."""
    from hfnb.engines import batches

    monkeypatch.setattr(batches, "_SMALL_STEP_TOKENS", 32)
    made = fresh("llama")
    yield made
    made.close()


def steps(narrow: Any, prompts: list[str]) -> int:
    work = Work()
    found = texts(narrow, prompts, max_new_tokens=1, work=work)
    assert found == [told(prompt, 1) for prompt in prompts]
    return work.forwards


def test_a_beginning_that_rows_share_is_computed_once(narrow: Any) -> None:
    tokens = narrow.count_tokens(LONG)
    assert 128 < tokens < 250
    prompts = [f"{LONG}{letter}?" for letter in "abcdefghijkl"]
    alone = -(-tokens // 32)
    assert steps(narrow, prompts) <= alone + 12 * 34 // 32 + 4
    again = [f"{LONG}{letter}!" for letter in "abcdefghijkl"]
    assert steps(narrow, again) <= 12 * 34 // 32 + 4


def test_of_several_groups_each_beginning_is_computed_once(narrow: Any) -> None:
    """As with questions about several documents, all under one instruction."""
    texts_of = [f"{LONG[:90]}{word * 65}" for word in ("one ", "two ", "three ")]
    prompts = [f"{text}{letter}?" for text in texts_of for letter in "abcd"]
    tokens = sum(narrow.count_tokens(text) for text in texts_of)
    everything = sum(map(narrow.count_tokens, prompts))
    assert everything > 3.5 * tokens
    assert steps(narrow, prompts) < tokens / 32 + len(prompts) * 70 / 32 + 6 < everything / 32


def test_rows_that_share_no_beginning_are_not_delayed() -> None:
    llama = fresh("llama")
    pipeline = watched(llama)
    started: list[int] = []
    add = pipeline.real.add_request

    class Adding:
        def __getattr__(self, name: str) -> Any:
            return getattr(pipeline, name)

        def add_request(self, *args: Any) -> Any:
            started.append(pipeline.steps)
            return add(*args)

    llama._batch._pipeline = Adding()
    different = [f"{number} {LONG}" for number in range(6)]
    short = ["The quick brown fox", "The quick brown dog", "The"]
    texts(llama, [*different, *short], max_new_tokens=2)
    assert started == [0] * 9
    started.clear()
    same = [f"{LONG[:80]}{'z ' * 40}{number}" for number in range(5)]
    before = pipeline.steps
    texts(llama, [*same, *(f"x{number} {LONG}" for number in range(6))], max_new_tokens=2)
    assert sorted(started) == [before] * 7 + [before + 1] * 4
