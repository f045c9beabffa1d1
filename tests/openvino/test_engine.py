"""OpenVINO's engine for decoders: the tokens of PyTorch in float32, whatever stands beside."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hfnb.engines.base import Completion, Engine, Request, Work
from hfnb.errors import EngineError, OptionError, PromptTooLongError
from hfnb.spec import GenerationSpec
from tests.engines.reference import (
    PROMPTS,
    answers,
    reference,
    reference_ids,
    streamed,
    texts,
)
from tests.needs import require
from tests.openvino.engines import engine, exported, load, torch_engine, watched
from tests.tiny_models import DECODERS, LAYERS, MAX_POSITIONS, WIDTH

require("openvino")

TOKENS = 12
OTHERS = [name for name in DECODERS if name != "llama"]


@cache
def expected(name: str) -> list[str]:
    return [reference(torch_engine(name), prompt, max_new_tokens=TOKENS) for prompt in PROMPTS]


@cache
def frequent() -> int:
    """Return a token that is in many answers, at different times: it serves as an end."""
    llama = torch_engine("llama")
    counts: Counter[int] = Counter()
    for prompt in PROMPTS:
        counts.update(set(reference_ids(llama, prompt, max_new_tokens=TOKENS)))
    return counts.most_common(1)[0][0]


# --- equal to PyTorch -------------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [1, 3, 16, "auto", 1000])
def test_greedy_answers_are_those_of_pytorch_row_by_row(batch_size: int | str) -> None:
    work = Work()
    found = texts(engine("llama"), PROMPTS, batch_size=batch_size, max_new_tokens=TOKENS, work=work)
    assert found == expected("llama")
    assert work.path == "continuous batching"
    assert work.batch_rows == min(len(PROMPTS), batch_size if isinstance(batch_size, int) else 64)
    assert work.prompt_tokens == sum(map(engine("llama").count_tokens, PROMPTS))


@pytest.mark.slow
@pytest.mark.parametrize("name", [*OTHERS, "numbers-fr"])
def test_all_architectures_answer_as_pytorch_does(name: str) -> None:
    for batch_size in (1, 3, "auto"):
        found = texts(engine(name), PROMPTS, batch_size=batch_size, max_new_tokens=TOKENS)
        assert found == expected(name)
    for prompt in [*PROMPTS, "<s>a</s>", "<|im_start|>x<|endoftext|>", "  two  spaces\t\n", "👩‍🔬"]:
        assert engine(name).token_ids(prompt) == torch_engine(name).token_ids(prompt)
    assert engine(name).info.parameters == pytest.approx(
        torch_engine(name).info.parameters, rel=0.02
    )


def test_tokens_are_those_of_transformers() -> None:
    ours, theirs = engine("llama"), torch_engine("llama")
    for prompt in [*PROMPTS, "", "<s>a</s>", "a</s> b", "  two  spaces\t\n", "👩‍🔬 \u202e", "\x00"]:
        assert ours.token_ids(prompt) == theirs.token_ids(prompt)


@pytest.mark.parametrize(
    "options",
    [
        {"repetition_penalty": 1.7},
        {"repetition_penalty": 0.6},
        {"min_new_tokens": 9},
        {"repetition_penalty": 1.3, "min_new_tokens": 6},
        {"max_length": 40},
    ],
)
def test_options_mean_what_they_mean_to_transformers(options: dict[str, Any]) -> None:
    work = Work()
    prompts = PROMPTS[:5]
    more = {
        "eos_token_id": frequent(),
        **({} if "max_length" in options else {"max_new_tokens": 16}),
    }
    found = texts(engine("llama"), prompts, work=work, **more, **options)
    llama = torch_engine("llama")
    assert found == [reference(llama, prompt, **more, **options) for prompt in prompts]
    assert work.path == "continuous batching"


def test_rows_that_end_at_different_times_say_how() -> None:
    done = answers(engine("llama"), PROMPTS, max_new_tokens=TOKENS, eos_token_id=frequent())
    llama = torch_engine("llama")
    ids = [
        reference_ids(llama, prompt, max_new_tokens=TOKENS, eos_token_id=frequent())
        for prompt in PROMPTS
    ]
    assert [each.new_tokens for each in done] == list(map(len, ids))
    assert {each.finish_reason for each in done} == {"eos", "length"}
    for each in done:
        assert each.queue_s is not None
        assert each.queue_s >= 0
        assert each.latency_s is not None
        assert each.latency_s > 0
        assert each.batch_rows == len(PROMPTS)


def test_new_tokens_and_steps_are_counted() -> None:
    work = Work()
    texts(engine("llama"), ["one two three"] * 8, max_new_tokens=10, work=work)
    assert work.new_tokens == 80
    assert 10 <= work.forwards <= 12  # the first row goes ahead where all share a long beginning
    assert work.batch_rows == 8
    assert work.recomputed_rows == 0


# --- options that OpenVINO GenAI does not have ------------------------------------------------


# optimum-intel makes arrays of tensors in a way that numpy will change.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_what_openvino_genai_has_not_goes_through_optimum_intel_and_says_why() -> None:
    """Its no_repeat_ngram_size counts for beams alone, so that greedy answers passed it over."""
    llama, prompts = torch_engine("llama"), PROMPTS[:3]
    for options, name in [
        ({"no_repeat_ngram_size": 1}, "no_repeat_ngram_size"),
        ({"num_beams": 3}, "num_beams"),
        ({"bad_words_ids": [[frequent()]]}, "bad_words_ids"),
        ({"suppress_tokens": [frequent()]}, "suppress_tokens"),
    ]:
        work = Work()
        found = texts(engine("llama"), prompts, max_new_tokens=TOKENS, work=work, **options)
        assert found == [reference(llama, p, max_new_tokens=TOKENS, **options) for p in prompts]
        assert work.path.startswith("optimum-intel generate (")
        assert name in work.path
    work = Work()
    stream = engine("llama").generate(
        [Request(0, "a")], GenerationSpec.of(num_beams=3, num_return_sequences=3), work=work
    )
    assert [each.copy for each in stream if isinstance(each, Completion)] == [0, 1, 2]


def test_options_that_change_nothing_stay_with_openvino_genai() -> None:
    """gemma2's generation config names a kind of cache: that is no reason to be slower."""
    from hfnb.engines.openvino_settings import not_taken

    assert not_taken({"cache_implementation": "hybrid", "max_new_tokens": 3}) == []
    assert not_taken({"length_penalty": 2.0, "early_stopping": True, "num_beams": 1}) == []
    assert not_taken({"no_repeat_ngram_size": 0, "typical_p": 1.0, "guidance_scale": 1.0}) == []
    assert not_taken({"typical_p": 0.9, "top_k": 5}) == ["typical_p"]
    assert not_taken({"length_penalty": 2.0, "num_beams": 2}) == ["length_penalty", "num_beams"]


def test_languages_are_for_models_that_translate() -> None:
    with pytest.raises(OptionError, match="ask in the prompt"):
        answers(engine("llama"), ["a"], tgt_lang="fr")


# --- sampling ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"top_p": 0.8},
        {"top_k": 3},
        {"min_p": 0.2, "top_k": 0},
        {"repetition_penalty": 1.4},
    ],
)
def test_a_sampled_row_depends_on_its_prompt_and_the_seed_alone(options: dict[str, Any]) -> None:
    sampled = {"temperature": 0.9, "seed": 5, "max_new_tokens": 8, **options}
    llama = engine("llama")
    found = texts(llama, PROMPTS, **sampled)
    assert found == texts(llama, PROMPTS, batch_size=1, **sampled)
    assert found == texts(llama, PROMPTS[::-1], batch_size=3, **sampled)[::-1]
    assert found != texts(llama, PROMPTS, **{**sampled, "seed": 6})
    assert found != texts(llama, PROMPTS, max_new_tokens=8)


def test_copies_of_a_prompt_differ_and_repeat() -> None:
    spec = GenerationSpec.of(temperature=1.0, seed=1, max_new_tokens=6)

    def copies() -> dict[int, str | None]:
        requests = [Request(0, "a", copy) for copy in range(6)]
        done = engine("llama").generate(requests, spec)
        return {each.copy: each.text for each in done if isinstance(each, Completion)}

    first = copies()
    assert len(set(first.values())) > 3
    assert copies() == first


def test_without_a_seed_answers_differ() -> None:
    found = [texts(engine("llama"), ["a"], temperature=1.0, max_new_tokens=8) for _ in range(4)]
    assert len({each[0] for each in found}) > 1


# --- stop strings and streams -----------------------------------------------------------------


def cut(text: str, stops: list[str]) -> str:
    places = [text.find(stop) for stop in stops if stop in text]
    return text[: min(places)] if places else text


def test_stop_strings_cut_where_the_first_one_begins() -> None:
    full = expected("llama")[:5]
    answer = full[2]
    for start, size in ((1, 1), (2, 3), (0, 2), (3, 11), (len(answer) - 2, 2)):
        stop = answer[start : start + size]
        done = answers(engine("llama"), PROMPTS[:5], stop=stop, max_new_tokens=TOKENS)
        assert [each.text for each in done] == [cut(text, [stop]) for text in full]
        assert [each.finish_reason == "stop" for each in done] == [stop in text for text in full]


def test_a_row_that_meets_its_stop_string_is_not_computed_further() -> None:
    work = Work()
    stop = expected("llama")[0][:1]
    (done,) = answers(engine("llama"), PROMPTS[:1], stop=stop, max_new_tokens=200, work=work)
    assert (done.text, done.finish_reason, work.forwards) == ("", "stop", 1)


@pytest.mark.parametrize("size", [0, 1, 2, 5])
def test_deltas_join_to_the_text_and_show_no_part_of_a_stop_string(size: int) -> None:
    full = expected("llama")[:6]
    stops = [full[2][5 : 5 + size], full[2][9 : 11 + size]] if size else []
    deltas, done = streamed(engine("llama"), PROMPTS[:6], stop=stops or None, max_new_tokens=TOKENS)
    assert ["".join(each) for each in deltas] == [cut(text, stops) for text in full]
    assert [each.text for each in done] == [cut(text, stops) for text in full]
    assert sum(map(len, deltas)) > len(done)


# --- prompts that can't be answered -----------------------------------------------------------


def test_a_row_that_cannot_be_answered_keeps_its_error_to_itself() -> None:
    llama = engine("llama")
    long = "word " * 400
    done = answers(llama, ["a", long, "broken \ud800 text", "b", ""], max_new_tokens=4)
    assert isinstance(done[1].error, PromptTooLongError)
    assert f"{llama.count_tokens(long):,}" in str(done[1].error)
    assert isinstance(done[2].error, EngineError)
    theirs = torch_engine("llama")
    assert [done[i].text for i in (0, 3, 4)] == [
        reference(theirs, prompt, max_new_tokens=4) for prompt in ("a", "b", "")
    ]


def test_too_long_a_prompt_can_lose_its_middle() -> None:
    long = "Question: " + "word " * 400 + "Answer:"
    options: dict[str, Any] = {"truncation": "value", "max_new_tokens": 8}
    ours = answers(engine("llama"), [long, "a"], **options)
    theirs = answers(torch_engine("llama"), [long, "a"], **options)
    for mine, other in zip(ours, theirs, strict=True):
        assert dataclasses.asdict(_plain(mine)) == dataclasses.asdict(_plain(other))
    assert ours[0].truncated_tokens > 100


def test_generation_stops_at_the_end_of_the_context() -> None:
    llama = engine("llama")
    prompt = "one two " * 45
    (done,) = answers(llama, [prompt], max_new_tokens=1000, min_new_tokens=1000)
    assert done.new_tokens == MAX_POSITIONS - llama.count_tokens(prompt)
    assert done.finish_reason == "length"


@dataclasses.dataclass
class _Plain:
    text: str | None
    prompt_tokens: int | None
    truncated: int


def _plain(done: Completion) -> _Plain:
    return _Plain(done.text, done.prompt_tokens, done.truncated_tokens)


# --- what it says of itself -------------------------------------------------------------------


def test_the_engine_keeps_the_protocol_and_describes_itself() -> None:
    llama = engine("llama")
    assert isinstance(llama, Engine)
    info = llama.info
    assert (info.engine, info.backend, info.device) == ("OpenVINO GenAI", "openvino", "CPU")
    assert info.dtype == "f32"
    assert info.note == "weights fp32, KV cache f32"
    assert info.context_length == MAX_POSITIONS
    # Norms that are all ones are folded away.
    assert info.parameters == pytest.approx(torch_engine("llama").info.parameters, rel=0.01)


@pytest.mark.parametrize(
    ("config", "cache", "width"),
    [
        ({"INFERENCE_PRECISION_HINT": "f32"}, "KV cache f16", 2),
        ({"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}, "KV cache f32", 4),
        ({"EXECUTION_MODE_HINT": "ACCURACY"}, "KV cache f32", 4),
    ],
)
def test_precisions_in_effect_are_shown(config: dict[str, str], cache: str, width: int) -> None:
    """OpenVINO GenAI keeps 16 bits unless told otherwise, where the CPU's own default is u8."""
    made = load(exported("llama"), reproducible=False, ov_config=tuple(config.items()))
    assert made.info.note == f"weights fp32, {cache}"
    metrics = []
    pipeline = watched(made)
    pipeline.after = lambda: metrics.append(pipeline.real.get_metrics())  # type: ignore[method-assign]
    texts(made, ["a"], max_new_tokens=2)
    per_token = 2 * LAYERS * WIDTH * width  # keys and values
    assert metrics[0].kv_cache_size_in_bytes % (per_token * 32) == 0
    blocks = metrics[0].kv_cache_size_in_bytes / (per_token * 32)
    assert round(1 / (metrics[0].cache_usage / 100)) == blocks


def test_default_precisions_are_those_of_the_device() -> None:
    import openvino

    info = load(exported("llama"), reproducible=False).info
    told = openvino.Core().get_property("CPU", "INFERENCE_PRECISION_HINT").to_string()
    assert info.dtype == told
    assert info.note == f"weights fp32, KV cache {'bf16' if told == 'bf16' else 'f16'}"


def test_two_exports_have_two_fingerprints(tmp_path: Path) -> None:
    llama = engine("llama")
    other = tmp_path / "other"
    shutil.copytree(exported("llama"), other)
    weights = bytearray((other / "openvino_model.bin").read_bytes())
    assert load(other).fingerprint == llama.fingerprint
    weights[len(weights) // 2] ^= 1
    (other / "openvino_model.bin").write_bytes(weights)
    assert load(other).fingerprint != llama.fingerprint


@pytest.mark.slow
def test_a_folder_without_a_converted_tokenizer_answers_all_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    shutil.copytree(exported("llama"), folder)
    for file in folder.glob("openvino_*tokenizer*"):
        file.unlink()
    (folder / "hfnb_export.json").unlink()
    assert texts(load(folder), PROMPTS[:2], max_new_tokens=TOKENS) == expected("llama")[:2]


def test_the_checkpoints_own_options_count_until_the_caller_gives_others(tmp_path: Path) -> None:
    folder = tmp_path / "llama"
    shutil.copytree(exported("llama"), folder)
    config = json.loads((folder / "generation_config.json").read_text())
    config |= {"max_new_tokens": 5, "repetition_penalty": 1.7, "do_sample": True, "top_p": 0.3}
    (folder / "generation_config.json").write_text(json.dumps(config))
    stored, llama = load(folder), engine("llama")
    assert texts(stored, PROMPTS) == texts(llama, PROMPTS, max_new_tokens=5, repetition_penalty=1.7)
    assert texts(stored, PROMPTS, max_new_tokens=TOKENS, repetition_penalty=1.0) == expected(
        "llama"
    )
