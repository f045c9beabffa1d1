"""How much is computed on the kinds of rows that the benchmarks time: no clock is needed."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pandas as pd
import pytest

import hfnb
from hfnb.engines import torch_plan
from hfnb.engines.base import Work
from hfnb.engines.torch_engine import TorchEngine
from tests.engines.reference import answers, reference, texts

Engines = Callable[[str], TorchEngine]
Shapes = list[tuple[int, int]]
"""Rows and columns of each forward pass."""
NEW = 12


def prompts_of(count: int, least: int, most: int, seed: int = 0) -> list[str]:
    """Return random prompts whose lengths in characters are spread geometrically."""
    draw = random.Random(seed)
    lengths = [round(least * (most / least) ** (i / (count - 1))) for i in range(count)]
    draw.shuffle(lengths)
    return ["".join(draw.choices("abcdefghij klmnop", k=length)) for length in lengths]


def tokens_of(engine: TorchEngine, prompts: list[str]) -> int:
    return sum(map(engine.count_tokens, prompts))


@pytest.fixture
def llama(engine: Engines) -> TorchEngine:
    return engine("llama")


@pytest.fixture
def shapes(llama: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> Shapes:
    """The rows and columns of each forward pass that follows."""
    seen: Shapes = []
    forward = llama.loaded.model.forward

    def noting(*args: Any, **kwargs: Any) -> Any:
        rows, columns = kwargs["input_ids"].shape
        seen.append((rows, columns))
        return forward(*args, **kwargs)

    monkeypatch.setattr(llama.loaded.model, "forward", noting)
    return seen


def static_forwards(lengths: list[int], batch_size: int) -> int:
    """Return the forward passes of batches that wait for their longest answer each."""
    batches = [lengths[i : i + batch_size] for i in range(0, len(lengths), batch_size)]
    return sum(map(max, batches))


def test_prompts_of_mixed_length(llama: TorchEngine, shapes: Shapes) -> None:
    prompts, work = prompts_of(64, 8, 200), Work()
    texts(llama, prompts, max_new_tokens=NEW, min_new_tokens=NEW, work=work)
    total = tokens_of(llama, prompts)
    assert work.prompt_tokens + work.shared_tokens == total
    assert work.shared_tokens == 0
    assert work.padding_tokens < 0.16 * (total + work.padding_tokens)
    assert work.new_tokens == 64 * NEW
    # All prompts are computed before the first row goes on, so that no step runs half empty.
    assert work.forwards == len(shapes) == work.batches + NEW - 1
    assert shapes[work.batches :] == [(64, 1)] * (NEW - 1)
    prefilled = sum(rows * columns for rows, columns in shapes[: work.batches])
    assert prefilled == total + work.padding_tokens


def test_an_encoder_decoder_reads_its_weights_once_a_step(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts of all lengths are read in even batches, and answered together."""
    t5 = engine("t5")
    batch: Any = t5._scheduler._batch  # type: ignore[union-attr]
    monkeypatch.setattr(batch, "_planner", torch_plan.Planner(batch.budget, 2048))
    monkeypatch.setattr(batch, "_padding", 10_000)
    prompts, work = prompts_of(64, 8, 200), Work()
    texts(t5, prompts, max_new_tokens=NEW, min_new_tokens=NEW, work=work)
    assert work.prompt_tokens == tokens_of(t5, prompts)
    assert work.padding_tokens < 0.2 * work.prompt_tokens
    assert work.new_tokens == 64 * NEW
    assert work.batches > 2
    assert work.forwards == work.batches + NEW - 1


def test_answers_of_different_length_leave_no_place_empty(
    llama: TorchEngine, shapes: Shapes
) -> None:
    prompts, work, rows = prompts_of(96, 8, 30), Work(), 16
    stop = ["e", "a"]
    done = answers(llama, prompts, batch_size=rows, max_new_tokens=64, stop=stop, work=work)
    computed = list(shapes)
    for each, prompt in zip(done[:4], prompts, strict=False):
        whole = reference(llama, prompt, max_new_tokens=64)
        assert whole.startswith(each.text or "")
        assert not any(end in (each.text or "") for end in stop)
    lengths = [each.new_tokens or 0 for each in done]
    assert max(lengths) > 4 * sum(lengths) / len(lengths)  # very different, as it is meant
    decoded = [each for each, columns in computed if columns == 1]
    # A row is in no pass after its last token.
    assert sum(decoded) <= sum(lengths)
    # While rows wait, at least three quarters of the places are taken.
    prefilled = [each for each, columns in computed if columns > 1]
    assert sum(prefilled) == len(prompts)
    last = max(at for at, (_, columns) in enumerate(computed) if columns > 1)
    busy = [each for each, columns in computed[1:last] if columns == 1]
    assert min(busy) >= 0.75 * rows - 1
    by_prompt = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    assert len(decoded) < 0.6 * static_forwards([lengths[i] for i in by_prompt], rows)


def test_a_long_prefix_is_computed_once(llama: TorchEngine, shapes: Shapes) -> None:
    prefix = "Number: 1 French: un\n" * 6
    prompts, work = [prefix + each for each in prompts_of(64, 4, 12)], Work()
    texts(llama, prompts, max_new_tokens=NEW, min_new_tokens=NEW, work=work)
    total, computed = tokens_of(llama, prompts), work.prompt_tokens
    assert computed + work.shared_tokens == total
    assert computed < total / 8
    assert sum(columns > llama.count_tokens(prefix) / 2 for _, columns in shapes) == 1
    assert work.forwards == 1 + work.batches + NEW - 1
    assert shapes[-(NEW - 1) :] == [(64, 1)] * (NEW - 1)


def test_what_short_prompts_begin_with_is_computed_once(llama: TorchEngine, shapes: Shapes) -> None:
    prefix = "What is the number "
    prompts, work = [f"{prefix}{each} in french?" for each in range(1000, 1064)], Work()
    found = texts(llama, prompts, max_new_tokens=NEW, min_new_tokens=NEW, work=work)
    total, shared = tokens_of(llama, prompts), llama.count_tokens(prefix)
    assert work.shared_tokens >= (shared - 1) * (len(prompts) - 1)
    assert work.prompt_tokens + work.shared_tokens == total
    assert work.forwards == len(shapes) == 1 + work.batches + NEW - 1
    assert shapes[-(NEW - 1) :] == [(64, 1)] * (NEW - 1)
    assert found[::16] == [
        reference(llama, each, max_new_tokens=NEW, min_new_tokens=NEW) for each in prompts[::16]
    ]


def test_duplicates_cost_nothing(llama: TorchEngine, shapes: Shapes) -> None:
    unique = prompts_of(16, 8, 60)
    found: list[Shapes] = []
    for prompts in (unique, [*unique, *reversed(unique)]):
        shapes.clear()
        result = hfnb.run(
            pd.DataFrame({"x": prompts}),
            "{x}",
            llama,
            max_new_tokens=NEW,
            progress=False,
            journal=False,
        )
        assert result.stats.ok == len(prompts)
        assert result.stats.duplicates == len(prompts) - len(unique)
        found.append(list(shapes))
    assert found[0] == found[1]
    output = result.data["output"].tolist()
    assert output[:16] == output[:15:-1]


def test_long_prompts_fill_the_forward_passes(
    llama: TorchEngine, shapes: Shapes, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 512
    batch: Any = llama._scheduler._batch  # type: ignore[union-attr]
    monkeypatch.setattr(batch, "_planner", torch_plan.Planner(batch.budget, most))
    prompts, work = prompts_of(8, 200, 201), Work()
    texts(llama, prompts, max_new_tokens=NEW, min_new_tokens=NEW, work=work)
    lengths = sorted(map(llama.count_tokens, prompts), reverse=True)
    assert lengths[-1] > 80
    prefills = shapes[: work.batches]
    assert all(rows * columns <= most for rows, columns in prefills)
    # Each pass but the last is as full as the next prompt lets it be.
    assert all(rows == most // columns for rows, columns in prefills[:-1])
    assert work.padding_tokens <= sum(before - after for before, after in pairwise(lengths)) * 8
    assert shapes[work.batches :] == [(8, 1)] * (NEW - 1)
