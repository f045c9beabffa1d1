"""The way through transformers' generate: encoder-decoders, beams, and rarer options."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, BartConfig, BartForConditionalGeneration

from hfnb.engines.base import Completion, Delta, Request, Work
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import EngineError
from hfnb.spec import GenerationSpec
from tests.engines.reference import (
    PROMPTS,
    answers,
    engine_of,
    reference,
    streamed,
    texts,
    with_settings,
)

Engines = Callable[[str], TorchEngine]
FEW = PROMPTS[:8]


def new_word(engine: TorchEngine, options: dict[str, Any]) -> int:
    """Return a token that some greedy answer has in its middle."""
    ids: list[int] = engine.loaded.tokenizer(
        reference(engine, FEW[0], max_new_tokens=8, **options), add_special_tokens=False
    ).input_ids
    return ids[2]


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3},
        {"num_beams": 3, "length_penalty": 2.0, "early_stopping": True},
        {"max_time": 600.0},
        {"num_beams": 2, "repetition_penalty": 2.5},
    ],
    ids=str,
)
def test_options_beyond_the_loop_are_those_of_generate_row_by_row(
    options: dict[str, Any], name: str, engine: Engines
) -> None:
    work = Work()
    found = texts(engine(name), FEW, batch_size=4, max_new_tokens=8, work=work, **options)
    assert work.path.startswith("transformers generate (")
    assert next(iter(options)) in work.path
    expected = [reference(engine(name), p, max_new_tokens=8, **options) for p in FEW]
    assert found == expected


@pytest.mark.parametrize("name", ["llama", "gpt2", "t5"])
@pytest.mark.parametrize(
    "options",
    [
        {"no_repeat_ngram_size": 2},
        {"encoder_no_repeat_ngram_size": 2},
        {"encoder_repetition_penalty": 1.5},
        {"repetition_penalty": 1.7, "no_repeat_ngram_size": 3},
        {"min_length": 6, "exponential_decay_length_penalty": (3, 1.4)},
        {"forced_eos_token_id": 5, "forced_bos_token_id": 7, "renormalize_logits": True},
    ],
    ids=str,
)
def test_options_with_processors_of_the_row_are_those_of_generate(
    options: dict[str, Any], name: str, engine: Engines
) -> None:
    work = Work()
    found = texts(engine(name), FEW, batch_size=4, max_new_tokens=8, work=work, **options)
    assert not work.path.startswith("transformers generate")
    assert found == [reference(engine(name), p, max_new_tokens=8, **options) for p in FEW]


def test_options_that_hold_lists_work(engine: Engines) -> None:
    llama = engine("llama")
    word = new_word(llama, {})
    for options in (
        {"bad_words_ids": [[word]]},
        {"suppress_tokens": [word]},
        {"sequence_bias": [[[word], -90.0]]},
        {"sequence_bias": {(word,): -90.0}},
    ):
        found = texts(llama, FEW, max_new_tokens=8, **options)
        assert found == [reference(llama, p, max_new_tokens=8, **options) for p in FEW]
        assert found != texts(llama, FEW, max_new_tokens=8)


def test_neutral_values_of_rarer_options_keep_the_fast_way(engine: Engines) -> None:
    work = Work()
    answers(
        engine("llama"),
        ["a"],
        work=work,
        max_new_tokens=2,
        num_beams=1,
        no_repeat_ngram_size=0,
        length_penalty=1.0,
        early_stopping=False,
    )
    assert work.path == "continuous decoding"


def test_min_length_counts_each_row_alone_whatever_stands_beside_it(
    engine: Engines, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    plain = engine("llama")
    end = new_word(plain, {})
    early = engine_of(
        with_settings(
            tiny_model("llama"),
            tmp_path / "llama",
            "generation_config.json",
            eos_token_id=[plain.loaded.tokenizer.eos_token_id, end],
        )
    )
    prompts = [FEW[0], *(prompt for prompt in FEW if len(prompt) > len(FEW[0]))]
    least = early.count_tokens(FEW[0]) + 6
    options = {"min_length": least, "max_new_tokens": 10}
    expected = [reference(early, prompt, **options) for prompt in prompts]
    assert expected[0] != reference(early, prompts[0], max_new_tokens=10)
    assert texts(early, prompts, batch_size=1, **options) == expected
    assert texts(early, prompts, batch_size=8, **options) == expected


def test_beams_with_max_length_count_each_row_alone(engine: Engines) -> None:
    llama = engine("llama")
    options = {"num_beams": 3, "max_length": 44}
    prompts = [prompt for prompt in PROMPTS if llama.count_tokens(prompt) < 40][:10]
    assert texts(llama, prompts, batch_size=10, **options) == [
        reference(llama, prompt, **options) for prompt in prompts
    ]


def test_beams_and_stop_strings_cut_the_best_beam(engine: Engines) -> None:
    llama = engine("llama")
    full = reference(llama, FEW[0], max_new_tokens=8, num_beams=3)
    (done,) = answers(llama, FEW[:1], num_beams=3, max_new_tokens=8, stop=full[4:6])
    assert done.text == full[: full.index(full[4:6])]
    assert done.finish_reason == "stop"


def test_sampling_leaves_a_checkpoints_beams_out(
    engine: Engines, tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """Many summarisers store num_beams; whoever asks for a temperature wants samples."""
    folder = with_settings(
        tiny_model("llama"), tmp_path / "llama", "generation_config.json", num_beams=3
    )
    options = {"temperature": 1.2, "seed": 3, "max_new_tokens": 6}
    beams, work = engine_of(folder), Work()
    assert texts(beams, FEW, work=work, **options) == texts(engine("llama"), FEW, **options)
    assert work.recomputed_rows == 0


def test_sampling_on_this_way_is_that_of_the_loop(engine: Engines) -> None:
    llama = engine("llama")
    options = {"temperature": 1.4, "seed": 5, "max_new_tokens": 8, "top_k": 9}
    work = Work()
    # A limit that is not reached changes nothing but the way that is taken.
    found = texts(llama, FEW, max_time=600.0, work=work, batch_size=3, **options)
    assert work.path.startswith("transformers generate")
    assert found == texts(llama, FEW, **options)


def test_rows_end_at_their_own_stop_strings(engine: Engines) -> None:
    llama = engine("llama")
    options = {"max_time": 600.0, "max_new_tokens": 10}
    full = texts(llama, FEW, **options)
    stop = (full[0] or "")[4:7]
    done = answers(llama, FEW, stop=stop, **options)
    assert [each.text for each in done] == [(text or "").split(stop)[0] for text in full]
    assert done[0].finish_reason == "stop"


def test_deltas_are_the_text_of_the_completion(engine: Engines) -> None:
    deltas, done = streamed(engine("llama"), FEW, num_beams=2, max_new_tokens=6)
    assert ["".join(each) for each in deltas] == [each.text for each in done]


def test_cancel_ends_generate_within_a_step(engine: Engines) -> None:
    llama, work, cancel = engine("llama"), Work(), threading.Event()
    forward, calls = llama.loaded.model.forward, [0]

    def watched(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == 3:
            cancel.set()
        return forward(*args, **kwargs)

    llama.loaded.model.forward = watched
    try:
        spec = GenerationSpec.of(max_time=600.0, max_new_tokens=100)
        requests = [Request(row, prompt) for row, prompt in enumerate(FEW)]
        assert list(llama.generate(requests, spec, cancel=cancel, work=work, batch_size=4)) == []
    finally:
        llama.loaded.model.forward = forward
    assert calls[0] <= 4


# --- encoder-decoders -------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, "auto"])
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"repetition_penalty": 1.6}], ids=str)
def test_t5_answers_are_those_of_generate_row_by_row(
    options: dict[str, Any], batch_size: int | str, engine: Engines
) -> None:
    t5, work = engine("t5"), Work()
    found = texts(t5, FEW, batch_size=batch_size, max_new_tokens=10, work=work, **options)
    assert found == [reference(t5, prompt, max_new_tokens=10, **options) for prompt in FEW]
    assert work.batches == {1: 8, 3: 3, "auto": 1}[batch_size]
    assert work.prompt_tokens == sum(map(t5.count_tokens, FEW))


def test_t5_max_length_counts_the_answer_alone(engine: Engines) -> None:
    t5 = engine("t5")
    done = answers(t5, FEW, max_length=7)
    assert all(each.new_tokens == 7 or each.finish_reason == "eos" for each in done)
    assert [each.text for each in done] == [reference(t5, p, max_new_tokens=7) for p in FEW]


def test_t5_stops_at_strings_and_streams(engine: Engines) -> None:
    t5 = engine("t5")
    full = [reference(t5, prompt, max_new_tokens=12) for prompt in FEW]
    stop = full[0][3:6]
    deltas, done = streamed(t5, FEW, stop=stop, max_new_tokens=12)
    assert [each.text for each in done] == [text.split(stop)[0] for text in full]
    assert ["".join(each) for each in deltas] == [each.text for each in done]
    assert done[0].finish_reason == "stop"


def test_t5_samples_alike_whatever_the_batches_are(engine: Engines) -> None:
    t5 = engine("t5")
    options = {"temperature": 1.5, "seed": 9, "max_new_tokens": 8}
    assert texts(t5, FEW, batch_size=3, **options) == texts(t5, FEW, batch_size=1, **options)


def test_t5_takes_prompts_of_any_length_and_says_which_task_it_has(engine: Engines) -> None:
    t5 = engine("t5")
    assert t5.info.task == "text2text-generation"
    assert t5.info.engine == "torch encoder-decoder"
    assert t5.info.context_length is None
    assert texts(t5, ["one two " * 100], max_new_tokens=3)


def test_a_fault_in_a_t5_batch_stays_in_its_row(engine: Engines) -> None:
    t5 = engine("t5")
    mark = t5.loaded.encode(["§"])[0][-2]
    prompts = [*FEW, "the § culprit"]
    encoder = t5.loaded.model.encoder
    forward = encoder.forward

    def failing(*args: Any, **kwargs: Any) -> Any:
        if bool((kwargs["input_ids"] == mark).any()):
            raise RuntimeError("injected")
        return forward(*args, **kwargs)

    encoder.forward = failing
    try:
        done = answers(t5, prompts, max_new_tokens=6)
    finally:
        encoder.forward = forward
    assert isinstance(done[-1].error, EngineError)
    assert [each.text for each in done[:-1]] == [reference(t5, p, max_new_tokens=6) for p in FEW]


def test_an_encoder_decoder_with_positions_answers_a_prompt_as_long_as_its_encoder(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    """BART's encoder and decoder each have positions of their own.

    A text that fills the encoder leaves the whole decoder to the answer.
    """
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("t5"))
    most = 64
    config = BartConfig(
        init_std=0.5,
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        max_position_embeddings=most,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        forced_eos_token_id=None,
    )
    torch.manual_seed(0)
    BartForConditionalGeneration(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    bart = engine_of(tmp_path)
    prompt = "x" * (most - 1)
    assert bart.count_tokens(prompt) == most
    full = reference(bart, prompt, max_new_tokens=20)
    assert len(bart.loaded.tokenizer.tokenize(full)) > 10
    assert texts(bart, [prompt], max_new_tokens=20) == [full]


def test_the_completion_tells_times_tokens_and_rows(engine: Engines) -> None:
    requests = [Request(row, prompt) for row, prompt in enumerate(FEW)]
    spec = GenerationSpec.of(max_new_tokens=4)
    for each in engine("t5").generate(requests, spec, batch_size=4, stream=True):
        if isinstance(each, Delta):
            continue
        assert isinstance(each, Completion)
        assert each.batch_rows == 4
        assert each.prompt_tokens
        assert each.latency_s is not None
        assert each.latency_s > 0
