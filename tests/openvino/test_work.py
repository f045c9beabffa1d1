"""How many steps OpenVINO takes for the kinds of rows that the benchmarks time: no clock."""

from __future__ import annotations

from typing import Any

import pytest

from hfnb.engines import batches, openvino_paged
from hfnb.engines.base import Work
from tests.engines.reference import answers, texts
from tests.engines.test_work import prompts_of, static_forwards
from tests.needs import require
from tests.openvino.engines import engine, fresh

require("openvino")

STEP = 32
NEW = 8


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return how many outputs were found each time that a row which goes on had any to read."""
    read, unread = list[int](), openvino_paged._unread

    def counting(handle: Any) -> list[Any]:
        outputs = unread(handle)
        read.extend([len(outputs)] if outputs else [])
        return outputs

    monkeypatch.setattr(openvino_paged, "_unread", counting)
    return read


def test_prompts_of_mixed_length_fill_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    work, prompts = Work(), prompts_of(16, 8, 200)
    tokens = sum(map(engine("llama").count_tokens, prompts))
    monkeypatch.setattr(batches, "_SMALL_STEP_TOKENS", STEP)
    narrow = fresh("llama")
    texts(narrow, prompts, max_new_tokens=NEW, min_new_tokens=NEW, work=work)
    narrow.close()
    computed = work.prompt_tokens + work.new_tokens - len(prompts)
    assert work.prompt_tokens == tokens
    # The last prompt's answer has its steps to itself, or shares them with few.
    assert computed / STEP <= work.forwards <= computed / STEP + NEW + 2


def test_answers_of_different_length_leave_no_place_empty() -> None:
    prompts, work, rows = prompts_of(96, 8, 30), Work(), 16
    done = answers(
        engine("llama"), prompts, batch_size=rows, max_new_tokens=64, stop=["e", "a"], work=work
    )
    lengths = [each.new_tokens or 0 for each in done]
    assert max(lengths) > 4 * sum(lengths) / len(lengths)
    assert work.batch_rows == rows
    by_prompt = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    assert work.forwards < 0.6 * static_forwards([lengths[i] for i in by_prompt], rows)


def test_long_prompts_take_no_more_steps_than_their_tokens_need() -> None:
    prompts, work = prompts_of(8, 200, 201), Work()
    texts(engine("llama"), prompts, max_new_tokens=NEW, min_new_tokens=NEW, work=work)
    most = batches.openvino_step_tokens(engine("llama").info.parameters)
    assert work.forwards <= -(-work.prompt_tokens // most) + NEW


def test_a_tiny_model_decodes_more_rows_together() -> None:
    prompts, work = prompts_of(200, 4, 8), Work()
    texts(engine("llama"), prompts, max_new_tokens=NEW, min_new_tokens=NEW, work=work)
    most = batches.openvino_step_tokens(engine("llama").info.parameters)
    assert work.batch_rows == len(prompts)
    assert work.forwards <= -(-work.prompt_tokens // most) + NEW + 1


def test_tokens_are_read_in_one_piece_unless_somebody_looks_at_each(read: list[int]) -> None:
    prompts, rows, new = prompts_of(6, 8, 30), 6, 40
    options: dict[str, Any] = {"max_new_tokens": new, "min_new_tokens": new}
    whole = texts(engine("llama"), prompts, **options)
    # Of all rows now and then, in one of 32 steps; the rest comes with the last.
    assert rows <= len(read) <= 2 * rows
    read.clear()
    assert texts(engine("llama"), prompts, stop=["no such text"], **options) == whole
    assert len(read) >= rows * (new - 1)


def test_first_tokens_are_read_at_once_after_long_prompts(
    read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openvino_paged, "_READ_EVERY", 10**9)
    begins = "once more " * 12
    texts(engine("llama"), [f"{begins}{i}" for i in range(4)], max_new_tokens=4, min_new_tokens=4)
    assert read == [1] * 4
    read.clear()
    texts(engine("llama"), [f"row {i}" for i in range(4)], max_new_tokens=4, min_new_tokens=4)
    assert not read


def test_short_prompts_decode_in_larger_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "_TINY", 0)
    monkeypatch.setattr(batches, "_PROMPTS_OF_A_BATCH", 1000)
    for characters, rows in ((4, 96), (150, 64)):
        work = Work()
        prompts = prompts_of(96, characters, characters + 1)
        texts(engine("llama"), prompts, max_new_tokens=2, min_new_tokens=2, work=work)
        assert work.batch_rows == rows
