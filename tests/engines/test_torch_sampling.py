"""Sampling: it repeats under a seed, whatever rows stand beside, and draws as the model says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hfnb.engines.base import Completion, Request
from hfnb.engines.torch_engine import TorchEngine
from hfnb.engines.torch_sampling import RowRandom, draw, warpers
from hfnb.spec import GenerationSpec
from tests.engines.reference import PROMPTS, reference, streamed, texts

Engines = Callable[[str], TorchEngine]
SAMPLED = {"temperature": 0.9, "max_new_tokens": 10}


def copies(engine: TorchEngine, prompt: str, count: int, **options: object) -> list[str]:
    """Return several samples of one prompt."""
    requests = [Request(copy, prompt, copy) for copy in range(count)]
    done = engine.generate(requests, GenerationSpec.of(**options))
    found = {each.row: each.text for each in done if isinstance(each, Completion)}
    return [found[copy] or "" for copy in range(count)]


def test_a_seed_repeats_whatever_the_batches_and_neighbours_are(engine: Engines) -> None:
    llama = engine("llama")
    once = texts(llama, PROMPTS, seed=7, **SAMPLED)
    for batch_size in (1, 3, 16):
        assert texts(llama, PROMPTS, batch_size=batch_size, seed=7, **SAMPLED) == once
    assert texts(llama, PROMPTS[::-1], batch_size=5, seed=7, **SAMPLED) == once[::-1]
    assert texts(llama, [PROMPTS[3]], seed=7, **SAMPLED) == [once[3]]


def test_streaming_draws_what_a_run_without_it_draws(engine: Engines) -> None:
    llama = engine("llama")
    deltas, _ = streamed(llama, PROMPTS[:6], seed=7, **SAMPLED)
    assert ["".join(each) for each in deltas] == texts(llama, PROMPTS[:6], seed=7, **SAMPLED)


def test_other_seeds_no_seed_and_greedy_give_other_answers(engine: Engines) -> None:
    llama = engine("llama")
    hot = {"temperature": 3.0, "max_new_tokens": 10}
    runs = [texts(llama, PROMPTS, seed=seed, **hot) for seed in (1, 2, None, None)]
    runs.append(texts(llama, PROMPTS, max_new_tokens=10))
    assert len({tuple(run) for run in runs}) == 5


def test_equal_prompts_in_one_run_answer_alike_and_numbered_copies_do_not(
    engine: Engines,
) -> None:
    llama = engine("llama")
    hot = {"temperature": 3.0, "max_new_tokens": 10, "seed": 1}
    assert len(set(texts(llama, ["a"] * 4, **hot))) == 1
    assert len(set(copies(llama, "a", 4, **hot))) == 4
    assert copies(llama, "a", 4, **hot) == copies(llama, "a", 4, **hot)


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 2.0, "top_k": 1},
        {"temperature": 1.0, "top_p": 1e-6},
        {"temperature": 1e-4},
        {"temperature": 0.9, "do_sample": False},
        {"do_sample": True, "temperature": 0.0},
    ],
    ids=str,
)
def test_options_that_leave_one_token_are_greedy(
    options: dict[str, float], engine: Engines
) -> None:
    llama = engine("llama")
    assert texts(llama, PROMPTS, max_new_tokens=8, **options) == [
        reference(llama, prompt, max_new_tokens=8) for prompt in PROMPTS
    ]


def test_first_tokens_are_drawn_as_often_as_the_model_says(engine: Engines) -> None:
    llama = engine("llama")
    options = {"temperature": 2.5, "top_k": 6, "top_p": 0.95}
    ids = torch.tensor(llama.loaded.encode(["a"]))
    with torch.inference_mode():
        logits = llama.loaded.model(input_ids=ids).logits[:, -1].float()
    scores = warpers(options)(torch.empty((1, 0), dtype=torch.long), logits)
    decode = llama.loaded.tokenizer.decode
    expected: Counter[str] = Counter()
    for token, probability in enumerate(scores.softmax(-1)[0].tolist()):
        if probability:
            expected[decode([token], skip_special_tokens=True)] += probability  # type: ignore[assignment]
    assert len(expected) > 2

    count = 3000
    found = Counter(copies(llama, "a", count, seed=5, max_new_tokens=1, **options))
    assert set(found) <= set(expected)
    for text, probability in expected.items():
        spread = (count * probability * (1 - probability)) ** 0.5
        assert abs(found[text] - count * probability) < 5 * spread + 1, text


def test_top_k_is_transformers_50_unless_the_caller_says_otherwise(engine: Engines) -> None:
    llama = engine("llama")
    hot = {"temperature": 50.0, "max_new_tokens": 1, "seed": 3}
    by_default = set(copies(llama, "a", 400, **hot))
    assert by_default == set(copies(llama, "a", 400, top_k=50, **hot))
    assert 30 < len(by_default) <= 50
    assert len(set(copies(llama, "a", 400, top_k=0, **hot))) > 50


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.one_of(st.just(float("-inf")), st.floats(-30, 30)), min_size=1, max_size=12),
    st.floats(0, 1, exclude_max=True),
)
def test_a_token_that_is_out_is_never_drawn(scores: list[float], uniform: float) -> None:
    if max(scores) == float("-inf"):
        scores = [*scores, 0.0]
    (token,) = draw(torch.tensor([scores]), [uniform]).tolist()
    assert scores[token] != float("-inf")


def test_row_random_is_uniform_and_depends_on_seed_prompt_and_copy_alone() -> None:
    def numbers(*of: object) -> list[float]:
        random = RowRandom(*of)  # type: ignore[arg-type]
        return [random.next() for _ in range(500)]

    base = numbers(1, [5, 6], 0)
    assert base == numbers(1, (5, 6), 0)
    others = [numbers(2, [5, 6], 0), numbers(1, [56], 0), numbers(1, [5, 6], 1)]
    assert all(other != base for other in others)
    assert numbers(None, [5], 0) != numbers(None, [5], 0)
    assert all(0 <= number < 1 for number in base)
    assert abs(sum(base) / len(base) - 0.5) < 0.05
    assert len(set(base)) == len(base)
