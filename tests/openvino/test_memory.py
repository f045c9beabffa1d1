"""OpenVINO when memory runs out: batches become smaller, finished rows stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hfnb.engines import memory, openvino_engine, openvino_paged
from hfnb.engines.base import Work
from hfnb.engines.row import Row
from hfnb.errors import EngineError
from hfnb.hardware import Memory
from hfnb.sizes import kv_bytes_per_token
from tests.engines.reference import PROMPTS, answers, reference, streamed, texts
from tests.needs import require
from tests.openvino.engines import Pipeline, engine, exported, fresh, load, torch_engine

require("openvino")


def full(llama: Any, fits: Callable[[int], bool]) -> list[Pipeline]:
    """Let steps fail, for want of memory, whose rows don't fit; return the pipelines in use."""
    batch, made = llama._batch, list[Pipeline]()
    make = batch._make

    def watched(real: Any) -> Pipeline:
        pipeline = Pipeline(real)

        def before() -> None:
            if not fits(pipeline.rows[-1]):
                raise RuntimeError("Exception from src/x.cpp:1:\nstd::bad_alloc (injected)")

        pipeline.before = before
        made.append(pipeline)
        return pipeline

    def anew() -> tuple[Pipeline, int | None]:
        real, blocks = make()
        return watched(real), blocks

    batch._pipeline = watched(batch._pipeline)
    batch._make = anew
    return made


def told(tokens: int) -> list[str]:
    return [reference(torch_engine("llama"), each, max_new_tokens=tokens) for each in PROMPTS]


def test_a_batch_too_large_is_tried_smaller_and_what_fits_is_remembered(
    finished: set[Row],
) -> None:
    llama, work, again = fresh("llama"), Work(), Work()
    made = full(llama, lambda rows: rows <= 6)
    assert texts(llama, PROMPTS, max_new_tokens=8, work=work) == told(8)
    assert work.memory_backoffs > 0
    assert len(made) > 1  # what failed gave its memory back
    finished.clear()
    texts(llama, PROMPTS, max_new_tokens=8, work=again)
    assert again.memory_backoffs <= 1
    assert again.recomputed_rows < work.recomputed_rows


def test_the_next_load_of_the_model_remembers_what_fits() -> None:
    first, second, work = fresh("llama"), fresh("llama"), Work()
    full(first, lambda rows: rows <= 6)
    texts(first, PROMPTS, max_new_tokens=4)
    texts(second, PROMPTS, max_new_tokens=4, work=work)
    assert work.memory_backoffs == 0
    assert 1 < work.batch_rows < len(PROMPTS)


def test_batches_grow_again_when_there_is_more_memory() -> None:
    llama, room = fresh("llama"), [4]
    full(llama, lambda rows: rows <= room[0])
    texts(llama, PROMPTS, max_new_tokens=4)
    room[0] = 1000
    for _ in range(30):
        work = Work()
        texts(llama, PROMPTS, max_new_tokens=4, work=work)
        assert work.memory_backoffs == 0
        if work.batch_rows == len(PROMPTS):
            break
    assert work.batch_rows == len(PROMPTS)


def test_streams_show_nothing_twice_when_memory_runs_out() -> None:
    llama, steps = fresh("llama"), [0]

    def fits(rows: int) -> bool:
        steps[0] += 1
        return steps[0] < 4 or rows <= 3

    full(llama, fits)
    deltas, done = streamed(llama, PROMPTS[:6], max_new_tokens=8, temperature=1.0)
    assert ["".join(each) for each in deltas] == [each.text for each in done]


def test_rows_are_added_only_while_there_is_memory_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    llama, work = fresh("llama"), Work()
    budget = llama._batch.budget
    assert budget.bytes_per_token == 2 * 2 * 64 * 4
    longest = max(map(llama.count_tokens, PROMPTS)) + 4
    free = memory._LEAST_RESERVE + 3 * longest * budget.bytes_per_token
    monkeypatch.setattr(budget, "_look", lambda: Memory(free, 10**9))
    assert texts(llama, PROMPTS, max_new_tokens=4, work=work) == told(4)
    assert 1 < work.batch_rows < len(PROMPTS)
    monkeypatch.setattr(budget, "_look", lambda: Memory(0, 10**9))
    alone = Work()
    assert texts(llama, PROMPTS, max_new_tokens=4, work=alone) == told(4)
    assert alone.batch_rows == 1


@pytest.mark.parametrize(
    ("precision", "size"), [("f32", 4 * 16), ("bf16", 2 * 16), ("f16", 2 * 16), ("u8", 16 + 8)]
)
def test_the_bytes_of_a_token_go_by_the_config_and_the_precision(precision: str, size: int) -> None:
    config = {
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "hidden_size": 64,
    }
    assert kv_bytes_per_token(config, precision) == 2 * 3 * 2 * size
    assert kv_bytes_per_token({"text_config": config}, precision) == 2 * 3 * 2 * size
    assert kv_bytes_per_token({"n_layer": 3, "n_head": 2, "n_embd": 32}, precision) == 12 * size
    assert kv_bytes_per_token({}, precision) == 0


def test_a_small_machine_gets_a_small_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least that `cache_size` can say is a gigabyte."""
    with monkeypatch.context() as patch:
        patch.setattr(openvino_engine.hardware, "memory_free", lambda: 400_000 * 1024)
        llama = load(exported("llama"))
    texts(llama, PROMPTS[:2], max_new_tokens=4)
    size = llama._batch._pipeline.get_metrics().cache_size_in_bytes
    assert 0 < size <= 0.4 * 400_000 * 1024


def test_more_rows_than_are_sure_are_taken_while_the_store_has_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """OpenVINO takes any number, and computes those again that it has had to drop."""
    with monkeypatch.context() as patch:
        patch.setattr(openvino_engine.hardware, "memory_free", lambda: 0)
        patch.setattr(openvino_engine, "_LEAST_BLOCKS", 40)
        llama = load(exported("llama"))
    prompts = [f"row {row}" for row in range(60)]
    new = openvino_paged.STORE_BLOCK  # beside the prompt: two blocks a row
    options: dict[str, Any] = {"max_new_tokens": new, "min_new_tokens": new}
    for sure, rows in ((8, 20), (30, 30)):
        monkeypatch.setattr(openvino_paged, "_SURE", sure)
        work = Work()
        found = texts(llama, prompts, work=work, **options)
        assert work.batch_rows == rows
        assert found == texts(engine("llama"), prompts, **options)


@pytest.mark.slow
def test_beams_through_optimum_intel_are_tried_fewer_at_a_time() -> None:
    llama, work = engine("llama"), Work()
    prompts = [f"{row} one two" for row in range(8)]
    expected = texts(llama, prompts, max_new_tokens=4, num_beams=2)
    model = llama._other.loaded.model
    generate = model.generate

    def failing(**options: Any) -> Any:
        if len(options["input_ids"]) > 3:
            raise MemoryError("std::bad_alloc (injected)")
        return generate(**options)

    model.generate = failing
    try:
        assert texts(llama, prompts, max_new_tokens=4, num_beams=2, work=work) == expected
        assert work.memory_backoffs > 0
        model.generate = lambda **_: failing(input_ids=[0] * 4)
        (done,) = answers(llama, prompts[:1], max_new_tokens=4, num_beams=2)
    finally:
        model.generate = generate
    assert isinstance(done.error, EngineError)
    assert "not enough memory for this row, even alone" in str(done.error)
