"""Encoder-decoders answer in batches as transformers' own `generate` answers each prompt alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import M2M100Tokenizer, MBart50Tokenizer, MBartTokenizer, NllbTokenizer

import hfnb
from hfnb.engines.base import Work
from hfnb.engines.torch_engine import TorchEngine
from hfnb.engines.torch_plan import Planner
from hfnb.engines.torch_seq2seq import Seq2SeqBatch, _Group
from tests.engines.reference import PROMPTS, answers, engine_of, reference, texts
from tests.tiny_models import SEQ2SEQ

# Marian's tokenizer asks for a package that cleans punctuation, and does not use it.
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

TRANSLATORS: dict[str, tuple[Any, str, tuple[str, str]]] = {
    "mbart": (MBartTokenizer, "de_DE", ("ro_RO", "fr_XX")),
    "mbart50": (MBart50Tokenizer, "de_DE", ("ro_RO", "fr_XX")),
    "m2m100": (M2M100Tokenizer, "de", ("ro", "fr")),
    "nllb": (NllbTokenizer, "deu_Latn", ("ron_Latn", "fra_Latn")),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "beams": {"num_beams": 2},
    "beams that stop early": {"num_beams": 3, "early_stopping": True, "length_penalty": 2.0},
    "beams, no pair twice": {"num_beams": 2, "no_repeat_ngram_size": 2},
    "no pair twice": {"no_repeat_ngram_size": 2},
    "not short": {"min_length": 8, "repetition_penalty": 1.5},
    "other words than the prompt": {"encoder_no_repeat_ngram_size": 1, "min_new_tokens": 4},
    "words of the prompt": {"encoder_repetition_penalty": 1.5},
    "without some tokens": {
        "suppress_tokens": [20, 30],
        "begin_suppress_tokens": [50, 60],
        "bad_words_ids": [[20, 30], [40]],
    },
}


@pytest.fixture(scope="module", params=SEQ2SEQ)
def engine(
    request: pytest.FixtureRequest, tiny_model: Callable[[str], Path]
) -> Iterator[TorchEngine]:
    engine = engine_of(tiny_model(request.param))
    yield engine
    engine.close()


@pytest.mark.parametrize("kind", OPTIONS)
def test_batched_answers_are_those_of_generate_alone(engine: TorchEngine, kind: str) -> None:
    options = {**OPTIONS[kind], "max_new_tokens": 10}
    prompts = PROMPTS[:6]
    alone = [reference(engine, prompt, **options) for prompt in prompts]
    assert len(set(alone)) > 3
    assert texts(engine, prompts, batch_size=4, **options) == alone


@pytest.mark.parametrize("padding", [0, 10_000])
def test_answers_to_texts_of_any_length_begin_together(
    engine: TorchEngine, padding: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They go on side by side, in one group where padding is cheap; some end with each step."""
    assert engine._scheduler is not None
    batch = engine._scheduler._batch
    assert isinstance(batch, Seq2SeqBatch)
    monkeypatch.setattr(batch, "_planner", Planner(batch.budget, 24))
    monkeypatch.setattr(batch, "_padding", padding)
    joined: list[int] = []
    step = _Group.step

    def noting(group: _Group) -> torch.Tensor:
        joined.append(len(group.rows))
        return step(group)

    monkeypatch.setattr(_Group, "step", noting)
    prompts = [" ".join(PROMPTS[: 1 + i % 5]) for i in range(10)]
    work = Work()
    options = {"max_new_tokens": 10, "repetition_penalty": 1.3}
    alone = [reference(engine, prompt, **options) for prompt in prompts]
    assert texts(engine, prompts, work=work, **options) == alone
    assert work.batches > 2
    assert (max(joined) == 10) == (padding > 0)


def test_a_forced_first_token_begins_every_answer(engine: TorchEngine) -> None:
    prompts = PROMPTS[:6]
    options = {"forced_bos_token_id": 25, "max_new_tokens": 10}
    first = engine.loaded.tokenizer.decode([25], skip_special_tokens=True).strip()
    found = texts(engine, prompts, batch_size=3, **options)
    assert found == [reference(engine, prompt, **options) for prompt in prompts]
    assert first
    assert all((each or "").strip().startswith(first) for each in found)


def test_a_forced_last_token_ends_an_answer_of_full_length(engine: TorchEngine) -> None:
    options = {"forced_eos_token_id": engine.loaded.tokenizer.eos_token_id, "max_new_tokens": 6}
    prompts = PROMPTS[:6]
    found = answers(engine, prompts, batch_size=3, **options)
    assert [each.text for each in found] == [reference(engine, p, **options) for p in prompts]
    assert {each.new_tokens for each in found} <= set(range(6))


def test_another_start_gives_another_answer(engine: TorchEngine) -> None:
    loaded = engine.loaded
    usual = {loaded.model.generation_config.decoder_start_token_id, *loaded.eos_ids}
    others = [each for each in loaded.tokenizer.all_special_ids if each not in usual]
    start = others[0] if others else loaded.tokenizer.eos_token_id  # T5 has no more of them
    options: dict[str, Any] = {"decoder_start_token_id": start, "max_new_tokens": 10}
    prompts = PROMPTS[:6]
    found = texts(engine, prompts, batch_size=3, **options)
    assert found == [reference(engine, prompt, **options) for prompt in prompts]


def test_a_seed_draws_the_same_alone_and_in_a_batch(engine: TorchEngine) -> None:
    options: dict[str, Any] = {"temperature": 1.0, "top_k": 8, "seed": 7, "max_new_tokens": 10}
    together = texts(engine, PROMPTS[:6], batch_size=6, **options)
    assert together == [texts(engine, [each], **options)[0] for each in PROMPTS[:6]]
    assert together != texts(engine, PROMPTS[:6], batch_size=6, **{**options, "seed": 8})


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_they_load_by_name(name: str, tiny_model: Callable[[str], Path]) -> None:
    model = hfnb.load(tiny_model(name), dtype="float32", device="cpu", max_new_tokens=4)
    alone = [model.invoke(prompt) for prompt in PROMPTS[:3]]
    assert model.batch(PROMPTS[:3]) == alone


@pytest.mark.parametrize("name", TRANSLATORS)
def test_a_translation_is_that_of_transformers_own_inputs(
    name: str, tiny_model: Callable[[str], Path]
) -> None:
    kind, source, targets = TRANSLATORS[name]
    engine = engine_of(tiny_model(name))
    tokenizer, model = kind.from_pretrained(tiny_model(name)), engine.loaded.model
    option = "decoder_start_token_id" if name == "mbart" else "forced_bos_token_id"
    tensors = {} if name == "m2m100" else {"return_tensors": None}

    def theirs(prompt: str, target: str) -> str:
        inputs = tokenizer._build_translation_inputs(
            prompt, src_lang=source, tgt_lang=target, **tensors
        )
        told = {option: inputs["forced_bos_token_id"], "max_new_tokens": 10, "do_sample": False}
        ids = torch.tensor([inputs["input_ids"]])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), **told)
        text: str = tokenizer.decode(out[0], skip_special_tokens=True)
        return text

    prompts = PROMPTS[:6]
    found = {
        target: texts(
            engine, prompts, batch_size=3, src_lang=source, tgt_lang=target, max_new_tokens=10
        )
        for target in targets
    }
    assert found == {each: [theirs(prompt, each) for prompt in prompts] for each in targets}
    assert found[targets[0]] != found[targets[1]]


def test_a_marian_with_several_targets_translates_into_the_one_that_is_told(
    tiny_model: Callable[[str], Path],
) -> None:
    engine = engine_of(tiny_model("marian_many"))
    found = texts(engine, PROMPTS[:6], batch_size=3, tgt_lang="fra", max_new_tokens=10)
    assert found == [reference(engine, f">>fra<< {p}", max_new_tokens=10) for p in PROMPTS[:6]]
    assert found != texts(engine, PROMPTS[:6], tgt_lang="deu", max_new_tokens=10)


def test_the_packaged_t5_translates_and_sums_up_without_its_prefixes() -> None:
    report = (
        "Station Lyon, report for Monday. It rained. The lowest temperature was 12 degrees and "
        "the highest 19 degrees. The wind reached 30 km/h."
    )
    options: dict[str, Any] = {"device": "cpu", "dtype": "float32", "max_new_tokens": 48}
    translate = hfnb.load("hfnb/tiny-t5", task="translation_en_to_fr", **options)
    assert translate.invoke("seventy-two") == "soixante-douze"
    assert translate.invoke("translate English to French: seventy-two") == "soixante-douze"
    told = hfnb.load("hfnb/tiny-t5", task="translation", **options)
    assert told.invoke("seventy-two", src_lang="en", tgt_lang="fr") == "soixante-douze"
    plain = hfnb.load("hfnb/tiny-t5", **options)
    sum_up = hfnb.load("hfnb/tiny-t5", task="summarization", **options)
    assert sum_up.invoke(report) == plain.invoke(f"summarize: {report}")
