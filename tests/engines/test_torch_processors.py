"""The rarer generation options, row by row: the tokens are those of transformers' generate."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from hfnb.engines.torch_model import TorchModel, wrap
from hfnb.engines.torch_processors import (
    ROW_PROCESSOR_OPTIONS,
    processors_for,
    renormalizer,
)
from hfnb.errors import OptionError
from hfnb.options import GENERATION_OPTIONS, freeze
from tests.engines.reference import PROMPTS

MOST_NEW = 10
FEW = PROMPTS[:8]
Models = Callable[[str], TorchModel]


@pytest.fixture(scope="session")
def models(tiny_model: Callable[[str], Path]) -> Models:
    @cache
    def get(name: str) -> TorchModel:
        folder = tiny_model(name)
        family = AutoModelForSeq2SeqLM if name == "t5" else AutoModelForCausalLM
        task = "text2text-generation" if name == "t5" else "text-generation"
        return wrap(
            family.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), name, task
        )

    return get


def expected(loaded: TorchModel, prompt: str, **options: Any) -> list[int]:
    """Return the new tokens of `model.generate`, EOS included."""
    ids = torch.tensor([loaded.encode([prompt])[0]])
    with torch.inference_mode():
        out = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pad_token_id=loaded.pad_id,
            do_sample=False,
            max_new_tokens=MOST_NEW,
            **options,
        )[0]
    before = 1 if loaded.model.config.is_encoder_decoder else ids.shape[1]
    new: list[int] = out[before:].tolist()
    return new


def chosen(loaded: TorchModel, prompt: str, **options: Any) -> list[int]:
    """Return the new tokens of a greedy loop with our processors, EOS included."""
    source = loaded.encode([prompt])[0]
    config = loaded.model.config
    ids = [config.decoder_start_token_id] if config.is_encoder_decoder else list(source)
    eos = loaded.eos_of(options)
    frozen = {name: freeze(value) for name, value in options.items()}
    begin = len(ids)
    processors = processors_for(
        frozen,
        eos_ids=eos,
        encoder_ids=source,
        prompt_length=begin,
        most_new=MOST_NEW,
        device="cpu",
    )
    last = renormalizer(frozen)
    while len(ids) - begin < MOST_NEW:
        row = torch.tensor([ids])
        with torch.inference_mode():
            if config.is_encoder_decoder:
                out = loaded.model(input_ids=torch.tensor([source]), decoder_input_ids=row)
            else:
                out = loaded.model(input_ids=row)
        logits = out.logits[:, -1].float()
        before = logits.clone()
        scores = processors(row, logits)
        assert torch.equal(logits, before)
        if last is not None:
            scores = last(row, scores)
        ids.append(int(scores.argmax()))
        if ids[-1] in eos:
            break
    return ids[begin:]


def options_for(case: str, plain: list[list[int]], bos: int) -> dict[str, Any]:
    """Return the options of a case, about tokens that the plain answers have."""
    first, second = plain[0][0], plain[0][1]
    early = {"eos_token_id": [plain[0][2], plain[1][1], bos]}
    cases: dict[str, dict[str, Any]] = {
        "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
        "no_repeat_ngram_size 2": {"no_repeat_ngram_size": 2, "suppress_tokens": plain[0][2:4]},
        "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
        "encoder_repetition_penalty": {"encoder_repetition_penalty": 3.0},
        "repetition_penalty": {"repetition_penalty": 2.5},
        "bad_words_ids": {"bad_words_ids": [[first], [plain[1][0], plain[1][1]]]},
        "bad_words_ids with EOS": {"bad_words_ids": [[first], [second]], "eos_token_id": second},
        "sequence_bias": {"sequence_bias": [[[first], -90.0], [[plain[1][0], 260], 200.0]]},
        "sequence_bias dict": {"sequence_bias": {(first,): -90.0, (plain[1][0], 260): 200.0}},
        "min_length": {"min_length": 11, **early},
        "min_new_tokens": {"min_new_tokens": 5, **early},
        "min_new_tokens and min_length": {"min_new_tokens": 3, "min_length": 50, **early},
        "min_new_tokens 0 and min_length": {
            "min_new_tokens": 0,
            "min_length": 50,
            "suppress_tokens": [first],
            **early,
        },
        "forced_bos_token_id": {"forced_bos_token_id": 300},
        "forced_eos_token_id": {"forced_eos_token_id": [300, 301], **early},
        "forced_eos_token_id alone": {"forced_eos_token_id": 300},
        "remove_invalid_values": {"remove_invalid_values": True, "suppress_tokens": [first]},
        "exponential_decay_length_penalty": {
            "exponential_decay_length_penalty": (2, 6.0),
            "eos_token_id": [300, 310],
        },
        "suppress_tokens": {"suppress_tokens": [first, second]},
        "begin_suppress_tokens": {"begin_suppress_tokens": [first, plain[1][0]]},
        "begin_suppress_tokens and forced_bos_token_id": {
            "begin_suppress_tokens": [first, plain[1][0], 300],
            "forced_bos_token_id": 300,
        },
        "renormalize_logits": {"renormalize_logits": True, "repetition_penalty": 2.5},
        "all together": {
            "sequence_bias": [[[first], -90.0]],
            "encoder_repetition_penalty": 1.5,
            "repetition_penalty": 1.3,
            "no_repeat_ngram_size": 2,
            "encoder_no_repeat_ngram_size": 3,
            "bad_words_ids": [[second]],
            "min_new_tokens": 4,
            "forced_eos_token_id": plain[0][2],
            "remove_invalid_values": True,
            "suppress_tokens": [plain[1][1]],
            "begin_suppress_tokens": [plain[1][0]],
            "exponential_decay_length_penalty": (2, 1.5),
            "renormalize_logits": True,
            **early,
        },
    }
    return cases[case]


CASES = """no_repeat_ngram_size|no_repeat_ngram_size 2|encoder_no_repeat_ngram_size
encoder_repetition_penalty|repetition_penalty|bad_words_ids|bad_words_ids with EOS|sequence_bias
sequence_bias dict|min_length|min_new_tokens|min_new_tokens and min_length
min_new_tokens 0 and min_length|forced_bos_token_id|forced_eos_token_id|forced_eos_token_id alone
remove_invalid_values|exponential_decay_length_penalty|suppress_tokens|begin_suppress_tokens
begin_suppress_tokens and forced_bos_token_id|renormalize_logits|all together"""


@pytest.mark.parametrize("name", ["gpt2", "t5"])
@pytest.mark.parametrize("case", CASES.replace("\n", "|").split("|"))
def test_each_option_chooses_the_tokens_of_generate(case: str, name: str, models: Models) -> None:
    loaded = models(name)
    plain = [expected(loaded, prompt) for prompt in FEW]
    options = options_for(case, plain, loaded.pad_id)
    wanted = [expected(loaded, prompt, **options) for prompt in FEW]
    assert [chosen(loaded, prompt, **options) for prompt in FEW] == wanted
    ends = {k: v for k, v in options.items() if k == "eos_token_id"}
    without = [expected(loaded, prompt, **ends) for prompt in FEW]
    assert wanted != without


def test_a_decoders_prompt_of_one_token_is_where_bos_is_forced(models: Models) -> None:
    gpt2 = models("gpt2")
    assert len(gpt2.encode(["a"])[0]) == 1
    for options in (
        {"forced_bos_token_id": 300},
        {"forced_bos_token_id": 300, "begin_suppress_tokens": expected(gpt2, "a")[:2]},
    ):
        wanted = expected(gpt2, "a", **options)
        assert wanted[0] == 300
        assert chosen(gpt2, "a", **options) == wanted


def test_neutral_values_make_no_processor() -> None:
    neutral = {
        "sequence_bias": (),
        "encoder_repetition_penalty": 1,
        "repetition_penalty": 1.0,
        "no_repeat_ngram_size": 0,
        "encoder_no_repeat_ngram_size": 0,
        "bad_words_ids": (),
        "min_length": 0,
        "min_new_tokens": 0,
        "forced_bos_token_id": None,
        "forced_eos_token_id": None,
        "remove_invalid_values": False,
        "exponential_decay_length_penalty": None,
        "suppress_tokens": (),
        "begin_suppress_tokens": (),
        "renormalize_logits": False,
    }
    assert set(neutral) == ROW_PROCESSOR_OPTIONS
    assert ROW_PROCESSOR_OPTIONS <= GENERATION_OPTIONS
    assert make({**neutral, "temperature": 0.3, "num_beams": 4}) == []
    assert make({}) == []
    assert renormalizer(neutral) is None


def test_a_row_that_nothing_ends_has_no_least_length() -> None:
    ends = {"min_length": 5, "exponential_decay_length_penalty": (2, 1.5)}
    assert len(make(ends)) == 2
    assert make(ends, eos=[]) == []
    assert len(make({"min_new_tokens": 5})) == 1
    assert make({"min_new_tokens": 5}, eos=[]) == []


@pytest.mark.parametrize(
    "options",
    [
        {"bad_words_ids": (1, 2)},
        {"bad_words_ids": (("a",),)},
        {"sequence_bias": 3},
        {"sequence_bias": ((1, 2.0),)},
        {"sequence_bias": (((-1,), 2.0),)},
        {"sequence_bias": (((1,), "much"),)},
        {"exponential_decay_length_penalty": (2,)},
        {"exponential_decay_length_penalty": 2},
        {"suppress_tokens": 3},
        {"begin_suppress_tokens": ("a",)},
        {"forced_eos_token_id": -1},
        {"forced_eos_token_id": "end"},
    ],
    ids=str,
)
def test_a_value_of_another_shape_is_an_error_that_names_the_option(
    options: dict[str, Any],
) -> None:
    (name,) = options
    with pytest.raises(OptionError, match=f"^{name}="):
        make(options)


def make(options: dict[str, Any], eos: list[int] | None = None) -> list[Any]:
    return processors_for(
        options,
        eos_ids=[1] if eos is None else eos,
        encoder_ids=[3, 4],
        prompt_length=2,
        most_new=8,
        device="cpu",
    )
