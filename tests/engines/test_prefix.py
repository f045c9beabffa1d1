"""A prefix that prompts share is computed once, and their answers stay those of `generate`."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hfnb.engines import call, prefixes
from hfnb.engines.base import Request, Work
from hfnb.engines.prefixes import shared_runs
from hfnb.engines.torch_decoder import DecoderBatch
from hfnb.engines.torch_engine import TorchEngine
from hfnb.spec import GenerationSpec
from tests.engines.reference import (
    PROMPTS,
    answers,
    random_engine,
    reference,
    streamed,
    texts,
)
from tests.engines.test_torch_faults import faults, once
from tests.tiny_models import DECODERS

Engines = Callable[[str], TorchEngine]
FEW_SHOT = "Number: 1 French: un\n" * 6
OTHER = "one two three four " * 8
ALIKE = [FEW_SHOT + prompt for prompt in PROMPTS[:12]]


def batch_of(engine: TorchEngine) -> DecoderBatch:
    assert engine._scheduler is not None
    batch = engine._scheduler._batch
    assert isinstance(batch, DecoderBatch)
    return batch


def tokens_of(engine: TorchEngine, prompts: list[str]) -> int:
    return sum(map(engine.count_tokens, prompts))


# -- which prefixes are chosen --------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=7), max_size=9))
def test_what_is_shared_saves_no_less_than_any_one_prefix_would(prompts: list[list[int]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("_LEAST_TOKENS", "_SMALL", "_COST"):
            patch.setattr(prefixes, name, 1)
        runs = shared_runs(prompts)
    members = [i for run in runs for i in run.members]
    assert len(members) == len(set(members))
    for run in runs:
        assert len({tuple(prompts[i][: run.length]) for i in run.members}) == 1
        assert all(len(prompts[i]) > run.length for i in run.members)
    saved = sum(run.length * (len(run.members) - 1) for run in runs)
    for prompt in prompts:
        for length in range(1, len(prompt)):
            alike = [each[:length] == prompt[:length] and len(each) > length for each in prompts]
            assert saved >= length * (sum(alike) - 1)


def test_two_longer_prefixes_are_taken_in_place_of_the_one_that_both_begin_with() -> None:
    system = list(range(100))
    tasks = [[*system, task, *range(200)] for task in (1000, 2000)]
    runs = shared_runs([[*task, 5000 + row] for row in range(4) for task in tasks])
    assert sorted(run.length for run in runs) == [301, 301]
    runs = shared_runs([[*task[:103], 5000 + row] for row in range(4) for task in tasks])
    assert [run.length for run in runs] == [100]


def test_a_short_prefix_is_chosen_where_it_is_much_of_the_prompts() -> None:
    head = list(range(8))
    short = [[*head, 100 + row, *range(200, 211)] for row in range(100)]
    assert [run.length for run in shared_runs(short)] == [8]
    longer = [[*head, 100 + row, *range(200, 230)] for row in range(100)]
    assert shared_runs(longer) == []
    assert shared_runs(short[:30]) == []  # it saves less than a forward pass costs


def test_one_prefix_is_taken_in_place_of_several_that_are_hardly_longer() -> None:
    head = list(range(8))
    prompts = [[*head, digit, 100 + row] for digit in range(9) for row in range(100)]
    assert [(run.length, len(run.members)) for run in shared_runs(prompts)] == [(8, 900)]


def test_thousands_of_prompts_that_are_prefixes_of_each_other_are_no_trouble() -> None:
    chain = [list(range(length)) for length in range(1, 2000)]
    runs = shared_runs(chain)
    assert sum(run.length * (len(run.members) - 1) for run in runs) > 900_000


# -- answers, and what they cost ------------------------------------------------------------------


@pytest.mark.parametrize("name", DECODERS)
def test_answers_are_those_of_generate_and_the_prefix_is_computed_once(
    name: str, engine: Engines
) -> None:
    model, work = engine(name), Work()
    found = texts(model, ALIKE, max_new_tokens=10, work=work)
    assert found == [reference(model, prompt, max_new_tokens=10) for prompt in ALIKE]
    total = tokens_of(model, ALIKE)
    assert work.prompt_tokens + work.shared_tokens == total
    if name == "bloom":  # it adds a bias to each column, so that no prefix can stand apart
        assert work.shared_tokens == 0
        return
    ids = [model.token_ids(prompt) for prompt in ALIKE]
    prefix = next(i for i in range(999) if len({each[i] for each in ids}) > 1)
    assert work.shared_tokens == prefix * (len(ALIKE) - 1)
    # A pass for the prefix, one for each group of prompts, and one for each token but the first.
    assert work.forwards == 1 + work.batches + 9
    longest = max(map(len, ids))
    assert work.padding_tokens <= (longest - prefix) * len(ALIKE) - (total - prefix * len(ALIKE))


_SHAPE = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 512,
}
_EXPERTS = {**_SHAPE, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("ArceeConfig", _SHAPE),
        ("CohereConfig", _SHAPE),
        ("Ernie4_5Config", _SHAPE),
        ("GemmaConfig", {**_SHAPE, "head_dim": 16}),
        ("GraniteConfig", _SHAPE),
        ("GraniteMoeConfig", {**_SHAPE, "num_local_experts": 4}),
        ("HeliumConfig", {**_SHAPE, "head_dim": 16}),
        ("MistralConfig", {**_SHAPE, "sliding_window": None}),
        ("MixtralConfig", {**_SHAPE, "num_local_experts": 4}),
        ("OlmoConfig", _SHAPE),
        ("Olmo2Config", _SHAPE),
        ("OlmoeConfig", {**_SHAPE, "num_experts": 4, "num_experts_per_tok": 2}),
        ("PersimmonConfig", _SHAPE),
        ("PhiConfig", _SHAPE),
        ("Qwen2Config", _SHAPE),
        ("Qwen2MoeConfig", {**_EXPERTS, "shared_expert_intermediate_size": 32}),
        ("Qwen3MoeConfig", {**_EXPERTS, "head_dim": 16}),
        ("SeedOssConfig", _SHAPE),
        ("SmolLM3Config", {**_SHAPE, "pad_token_id": 0}),
        ("StableLmConfig", _SHAPE),
        ("Starcoder2Config", {**_SHAPE, "sliding_window": None}),
    ],
)
def test_further_architectures_answer_as_generate_does(
    config: str, options: dict[str, Any], tiny_model: Callable[[str], Path]
) -> None:
    model, work = random_engine(config, options, tiny_model("llama")), Work()
    prompts = [*ALIKE[:5], PROMPTS[0]]
    found = texts(model, prompts, batch_size=4, max_new_tokens=6, work=work)
    assert found == [reference(model, prompt, max_new_tokens=6) for prompt in prompts]
    assert len(set(found)) > 4
    assert work.shared_tokens > 4 * 50


@pytest.mark.parametrize(
    ("config", "options"),
    [
        ("MistralConfig", {**_SHAPE, "sliding_window": 8}),
        (
            "LlamaConfig",
            {
                **_SHAPE,
                "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
            },
        ),
    ],
)
def test_models_whose_attention_depends_on_distance_or_length_compute_each_prompt(
    config: str, options: dict[str, Any], tiny_model: Callable[[str], Path]
) -> None:
    model, work = random_engine(config, options, tiny_model("llama")), Work()
    found = texts(model, ALIKE[:5], max_new_tokens=6, work=work)
    assert found == [reference(model, prompt, max_new_tokens=6) for prompt in ALIKE[:5]]
    assert work.shared_tokens == 0


@pytest.mark.parametrize(
    ("name", "batch_size"), [("llama", 1), ("qwen3", 3), ("gpt2", 7), ("llama", "auto")]
)
def test_rows_with_several_prefixes_and_with_none_decode_together(
    name: str, batch_size: Any, engine: Engines
) -> None:
    model, work = engine(name), Work()
    prompts = [
        *(FEW_SHOT + each for each in PROMPTS[:6]),
        *(OTHER + each for each in PROMPTS[3:9]),
        *PROMPTS[:6],
        FEW_SHOT,  # the whole of the prefix
        FEW_SHOT.strip(),
        FEW_SHOT[: len(FEW_SHOT) // 2],
        *(FEW_SHOT + "one " * i for i in range(4)),  # each begins the next
    ]
    found = texts(model, prompts, batch_size=batch_size, max_new_tokens=8, work=work)
    assert found == [reference(model, prompt, max_new_tokens=8) for prompt in prompts]
    assert work.prompt_tokens + work.shared_tokens == tokens_of(model, prompts)
    assert work.shared_tokens > tokens_of(model, prompts) / 2


def test_one_row_alone_shares_nothing(engine: Engines) -> None:
    llama, work = engine("llama"), Work()
    assert texts(llama, ALIKE[:1], max_new_tokens=5, work=work) == [
        reference(llama, ALIKE[0], max_new_tokens=5)
    ]
    assert (work.prompt_tokens, work.shared_tokens) == (llama.count_tokens(ALIKE[0]), 0)


def test_a_prefix_is_kept_from_window_to_window(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(call, "LOOKAHEAD", 6)
    llama, work = engine("llama"), Work()
    texts(llama, ALIKE, batch_size=4, max_new_tokens=4, work=work)
    prefix = llama.count_tokens(FEW_SHOT) - 1
    assert work.shared_tokens >= prefix * (len(ALIKE) - 1)


def test_prefixes_are_let_go_when_the_calls_end(engine: Engines) -> None:
    llama = engine("llama")
    stream = llama.generate(
        [Request(i, each) for i, each in enumerate(ALIKE)],
        GenerationSpec.of(max_new_tokens=5),
        batch_size=4,
    )
    next(iter(stream))
    kept = batch_of(llama)._prefixes
    assert kept.tokens > 50
    list(stream)
    assert kept.tokens == 0


def test_idle_prefixes_beyond_the_budget_are_let_go_and_computed_again(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    llama, work = engine("llama"), Work()
    monkeypatch.setattr("hfnb.engines.torch_plan._PREFIX_SHARE", 0.0)
    prompts = [start + each for each in PROMPTS[:8] for start in (FEW_SHOT, OTHER)]
    found = texts(llama, prompts, batch_size=3, max_new_tokens=3, work=work)
    assert found == [reference(llama, prompt, max_new_tokens=3) for prompt in prompts]
    assert work.prompt_tokens + work.shared_tokens == tokens_of(llama, prompts)


def test_calls_at_once_with_prefixes_of_their_own_answer_right(engine: Engines) -> None:
    llama = engine("llama")
    starts = [FEW_SHOT, OTHER, "un deux trois quatre " * 8, ""]

    def ask(start: str) -> list[str | None]:
        return texts(llama, [start + each for each in PROMPTS[:7]], batch_size=6, max_new_tokens=8)

    with ThreadPoolExecutor(len(starts)) as pool:
        found = list(pool.map(ask, starts))
    for start, each in zip(starts, found, strict=True):
        assert each == [reference(llama, start + p, max_new_tokens=8) for p in PROMPTS[:7]]


@pytest.mark.parametrize("options", [{}, {"temperature": 1.5, "seed": 4}], ids=["greedy", "seeded"])
def test_streams_stops_and_seeds_are_as_without(options: dict[str, Any], engine: Engines) -> None:
    llama = engine("llama")
    batch = batch_of(llama)
    options = {**options, "max_new_tokens": 12, "stop": ["e", "\n"], "repetition_penalty": 1.2}
    batch.shares_prefixes = False
    try:
        expected = texts(llama, ALIKE, **options)
    finally:
        batch.shares_prefixes = True
    deltas, done = streamed(llama, ALIKE, batch_size=5, **options)
    assert [each.text for each in done] == expected
    assert ["".join(each) for each in deltas] == expected
    assert [each.prompt_tokens for each in done] == [llama.count_tokens(each) for each in ALIKE]


def test_answers_in_half_precision_are_those_without_sharing_nearly_always(
    tiny_model: Callable[[str], Path],
) -> None:
    """Rounding tips a few tokens over; a wrong key would change nearly all of the answers."""
    llama = random_engine("LlamaConfig", _SHAPE, tiny_model("llama"))
    llama.loaded.model.to(torch.bfloat16)
    batch = batch_of(llama)
    shared = texts(llama, ALIKE, max_new_tokens=4)
    batch.shares_prefixes = False
    alone = texts(llama, ALIKE, max_new_tokens=4)
    assert sum(a == b for a, b in zip(shared, alone, strict=True)) >= 0.7 * len(ALIKE)


# -- failures -------------------------------------------------------------------------------------


def test_a_row_that_fails_spoils_none_that_shares_its_prefix(engine: Engines) -> None:
    llama = engine("llama")
    mark = llama.loaded.encode(["§"])[0][-1]
    prompts = [f"{each} §" if row == 4 else each for row, each in enumerate(ALIKE)]
    with faults(llama, lambda ids: bool((ids == mark).any())):
        done = answers(llama, prompts, batch_size=8, max_new_tokens=5)
    assert [row for row, each in enumerate(done) if each.error] == [4]
    for row, each in enumerate(done):
        if row != 4:
            assert each.text == reference(llama, prompts[row], max_new_tokens=5)


@pytest.mark.parametrize("columns", ["prefix", "suffixes", "step"])
def test_what_fails_once_is_computed_again(columns: str, engine: Engines) -> None:
    llama, work = engine("llama"), Work()
    condition: dict[str, Callable[[torch.Tensor], bool]] = {
        "prefix": lambda ids: ids.shape[0] == 1 and ids.shape[1] > 40,
        "suffixes": lambda ids: ids.shape[0] > 1 and ids.shape[1] > 1,
        "step": lambda ids: ids.shape[0] > 3 and ids.shape[1] == 1,
    }
    with faults(llama, once(condition[columns])):
        done = answers(llama, ALIKE, batch_size=6, max_new_tokens=5, work=work)
    assert [each.text for each in done] == [
        reference(llama, prompt, max_new_tokens=5) for prompt in ALIKE
    ]
    assert work.recomputed_rows > 0
    assert work.shared_tokens > 0


def test_a_prefix_that_can_not_be_computed_is_the_error_of_its_rows_alone(engine: Engines) -> None:
    llama = engine("llama")
    mark = llama.loaded.encode(["§"])[0][-1]
    prompts = [*(OTHER + "§" + each for each in PROMPTS[:5]), *ALIKE[:5]]
    with faults(llama, lambda ids: bool((ids == mark).any())):
        done = answers(llama, prompts, batch_size=4, max_new_tokens=4)
    assert [each.error is None for each in done] == [False] * 5 + [True] * 5
