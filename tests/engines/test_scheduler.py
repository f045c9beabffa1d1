"""Several calls of one engine at once: safe, computed together, each ended on its own."""

from __future__ import annotations

import asyncio
import itertools
import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from hfnb.engines.asynchronous import agenerate
from hfnb.engines.base import Completion, Delta, Request, Work
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import ModelError
from hfnb.spec import GenerationSpec
from tests.engines.reference import PROMPTS, answers, reference, texts

Engines = Callable[[str], TorchEngine]
EIGHT = GenerationSpec.of(max_new_tokens=8)


def asked(engine: TorchEngine, prompt: str, **options: Any) -> str | None:
    (done,) = answers(engine, [prompt], **options)
    assert done.error is None
    return done.text


def slowed(engine: TorchEngine, seconds: float, *, until_calls: int = 0) -> list[int]:
    """Make each forward pass take longer; return a list that holds the rows of each.

    The first pass waits until there are ``until_calls`` calls.
    """
    model, rows = engine.loaded.model, []
    forward = model.forward

    def slow(*args: Any, **kwargs: Any) -> Any:
        ids = kwargs.get("input_ids", kwargs.get("decoder_input_ids"))
        rows.append(len(ids))
        assert engine._scheduler is not None
        while len(rows) == 1 and len(engine._scheduler._calls) < until_calls:
            time.sleep(0.001)
        time.sleep(seconds)
        return forward(*args, **kwargs)

    model.forward = slow
    return rows


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_threads_that_ask_at_once_are_computed_together(name: str, fresh_engine: Engines) -> None:
    engine = fresh_engine(name)
    expected = [reference(engine, prompt, max_new_tokens=8) for prompt in PROMPTS]
    rows = slowed(engine, 0.005, until_calls=len(PROMPTS))
    with ThreadPoolExecutor(len(PROMPTS)) as pool:
        found = list(pool.map(lambda each: asked(engine, each, max_new_tokens=8), PROMPTS))
    assert found == expected
    assert max(rows) >= len(PROMPTS) // 2
    # Alone, they would take eight passes each.
    assert len(rows) < 4 * len(PROMPTS)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_tasks_that_await_at_once_are_computed_together(name: str, fresh_engine: Engines) -> None:
    engine = fresh_engine(name)
    expected = [reference(engine, prompt, max_new_tokens=8) for prompt in PROMPTS]
    rows = slowed(engine, 0.005, until_calls=len(PROMPTS))

    async def one(prompt: str) -> str | None:
        (done,) = [each async for each in agenerate(engine, [Request(0, prompt)], EIGHT)]
        assert isinstance(done, Completion)
        return done.text

    async def every() -> list[str | None]:
        return await asyncio.gather(*map(one, PROMPTS))

    assert asyncio.run(every()) == expected
    assert max(rows) >= len(PROMPTS) // 2


def test_calls_with_other_options_share_a_batch_and_keep_their_own(engine: Engines) -> None:
    llama = engine("llama")
    several: list[dict[str, Any]] = [
        {"max_new_tokens": 3},
        {"max_new_tokens": 20, "stop": ["e", "\n"]},
        {"max_new_tokens": 9, "temperature": 1.3, "seed": 4},
        {"max_new_tokens": 9, "repetition_penalty": 1.6},
        {"max_new_tokens": 9, "no_repeat_ngram_size": 2},
        {"max_new_tokens": 9, "batch_size": 2},
    ]
    alone = [[texts(llama, PROMPTS[:5], **options)] for options in several]
    for _ in range(3):
        with ThreadPoolExecutor(len(several)) as pool:
            together = list(pool.map(lambda o: [texts(llama, PROMPTS[:5], **o)], several))
        assert together == alone


def test_a_call_never_has_more_rows_beside_it_than_its_batch_size(fresh_engine: Engines) -> None:
    engine = fresh_engine("llama")
    rows = slowed(engine, 0.002)

    def ask(batch_size: int) -> list[str | None]:
        return texts(engine, PROMPTS[:6], batch_size=batch_size, max_new_tokens=4)

    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(ask, [2, 3, 3]))
    assert found[0] == found[1] == found[2]
    assert max(rows) <= 3


def test_a_stream_that_is_not_read_holds_up_nobody(engine: Engines) -> None:
    llama = engine("llama")
    spec = GenerationSpec.of(max_new_tokens=40)
    stream = llama.generate([Request(0, "a")], spec, stream=True)
    first = next(iter(stream))
    assert isinstance(first, Delta)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda each: asked(llama, each, max_new_tokens=8), PROMPTS[:6]))
    assert found == [reference(llama, prompt, max_new_tokens=8) for prompt in PROMPTS[:6]]
    rest = [each for each in stream if isinstance(each, Delta)]
    whole = first.text + "".join(each.text for each in rest)
    assert whole == reference(llama, "a", max_new_tokens=40)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_long_run_leaves_room_for_a_short_question(name: str, fresh_engine: Engines) -> None:
    engine = fresh_engine(name)
    rows = slowed(engine, 0.001)
    many = [f"{prompt} {i}" for i in range(6) for prompt in PROMPTS]
    ends: list[str] = []

    def long() -> None:
        texts(engine, many, batch_size=8, max_new_tokens=10)
        ends.append("long")

    def short() -> None:
        while len(rows) < 3:
            time.sleep(0.001)
        asked(engine, "a", max_new_tokens=5, batch_size=8)
        ends.append("short")

    threads = [threading.Thread(target=each) for each in (long, short)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert ends == ["short", "long"]


def test_an_interrupt_in_one_call_spoils_no_other(fresh_engine: Engines) -> None:
    engine = fresh_engine("llama")
    expected = [reference(engine, prompt, max_new_tokens=30) for prompt in PROMPTS[:6]]
    forward = engine.loaded.model.forward
    main, struck = threading.current_thread(), threading.Event()

    def striking(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.002)
        out = forward(*args, **kwargs)
        if threading.current_thread() is main and not struck.is_set():
            struck.set()
            raise KeyboardInterrupt
        return out

    engine.loaded.model.forward = striking
    with ThreadPoolExecutor(6) as pool:
        others = [pool.submit(asked, engine, each, max_new_tokens=30) for each in PROMPTS[:6]]
        with pytest.raises(KeyboardInterrupt):  # as soon as the turn comes to this thread
            texts(engine, ["a"] * 500, max_new_tokens=30)
        assert [each.result() for each in others] == expected
    assert struck.is_set()
    assert asked(engine, "a", max_new_tokens=3) == reference(engine, "a", max_new_tokens=3)


@pytest.mark.parametrize("options", [{}, {"max_time": 600.0}], ids=["loop", "generate"])
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_leaving_a_stream_ends_its_computation_within_a_token(
    name: str, options: dict[str, Any], fresh_engine: Engines
) -> None:
    engine = fresh_engine(name)
    rows = slowed(engine, 0.02)
    spec = GenerationSpec.of(max_new_tokens=100, min_new_tokens=100, **options)
    stream: Any = engine.generate([Request(0, "one two")], spec, stream=True)
    next(stream)
    stream.close()
    at = len(rows)
    time.sleep(0.1)
    assert len(rows) == at < 12


@pytest.mark.parametrize("options", [{}, {"max_time": 600.0}], ids=["loop", "generate"])
def test_cancelling_a_task_ends_its_computation_within_a_token(
    options: dict[str, Any], fresh_engine: Engines
) -> None:
    engine = fresh_engine("llama")
    rows = slowed(engine, 0.02)
    spec = GenerationSpec.of(max_new_tokens=200, **options)

    async def ask() -> None:
        async for _ in agenerate(engine, [Request(0, "one two")], spec):
            pass

    async def main() -> None:
        task = asyncio.create_task(ask())
        while len(rows) < 3:
            await asyncio.sleep(0.005)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        at = len(rows)
        await asyncio.sleep(0.15)
        assert len(rows) <= at + 1

    asyncio.run(main())


def test_cancelling_one_of_several_calls_lets_the_others_go_on(fresh_engine: Engines) -> None:
    engine = fresh_engine("llama")
    slowed(engine, 0.002)
    cancel = threading.Event()
    spec = GenerationSpec.of(max_new_tokens=200)

    def cancelled() -> list[Any]:
        return list(engine.generate([Request(0, "b")], spec, cancel=cancel))

    with ThreadPoolExecutor(3) as pool:
        gone = pool.submit(cancelled)
        other = pool.submit(asked, engine, "a", max_new_tokens=60)
        time.sleep(0.03)
        cancel.set()
        assert gone.result(timeout=5) == []
        assert other.result() == reference(engine, "a", max_new_tokens=60)


def test_an_error_of_the_computing_thread_reaches_every_caller(fresh_engine: Engines) -> None:
    engine = fresh_engine("llama")
    slowed(engine, 0.005)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(asked, engine, each, max_new_tokens=200) for each in PROMPTS[:4]]
        time.sleep(0.05)
        engine.close()
        for each in calls:
            with pytest.raises(ModelError, match="unloaded"):
                each.result(timeout=5)


def test_a_slow_source_of_requests_holds_up_nobody(fresh_engine: Engines) -> None:
    engine = fresh_engine("llama")
    go_on = threading.Event()

    def slow() -> Iterator[Request]:
        yield Request(0, "a")
        go_on.wait(10)
        yield Request(1, "b")

    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(lambda: list(engine.generate(slow(), EIGHT)))
        assert asked(engine, "c", max_new_tokens=8) == reference(engine, "c", max_new_tokens=8)
        go_on.set()
        assert len(waiting.result(timeout=5)) == 2


def test_work_is_counted_for_each_call(engine: Engines) -> None:
    llama = engine("llama")
    works = [Work() for _ in range(4)]

    def ask(work: Work) -> None:
        answers(llama, PROMPTS[:3], work=work, max_new_tokens=5)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(ask, works))
    tokens = sum(llama.count_tokens(prompt) for prompt in PROMPTS[:3])
    assert {work.prompt_tokens for work in works} == {tokens}
    assert {work.new_tokens for work in works} == {15}
    assert all(5 <= work.forwards <= 15 for work in works)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_storm_of_callers_who_leave_cancel_and_stay(name: str, fresh_engine: Engines) -> None:
    engine = fresh_engine(name)
    expected = {prompt: reference(engine, prompt, max_new_tokens=12) for prompt in PROMPTS}
    spec = GenerationSpec.of(max_new_tokens=12)
    deadline = time.perf_counter() + 20
    numbers = itertools.count()

    def caller(seed: int) -> int:
        luck, done = random.Random(seed), 0
        while time.perf_counter() < deadline:
            prompts = luck.sample(PROMPTS, luck.randint(1, 6))
            requests = [Request(i, prompt) for i, prompt in enumerate(prompts)]
            cancel = threading.Event()
            pieces: Any = engine.generate(
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
    assert engine._scheduler is not None
    assert not engine._scheduler._calls
    assert not engine._scheduler._batch.rows
