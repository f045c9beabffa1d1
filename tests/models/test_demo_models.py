"""The two packaged models do what their cards say, with plain transformers and no hfnb code."""

import importlib.util
import json
import re
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "hfnb" / "demo"
NAMES = ("numbers-fr", "tiny-t5")


def _load_demo_data() -> ModuleType:
    """`scripts` is no package, so its module is loaded by its path."""
    spec = importlib.util.spec_from_file_location("demo_data", ROOT / "scripts" / "demo_data.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


demo_data: Any = _load_demo_data()
HELD_OUT = demo_data.held_out_integers()
SAMPLE = HELD_OUT[::5]
CHAT_FORMS = ("chat", "chat with a system prompt")


@cache
def load(name: str) -> tuple[Any, Any]:
    """Model and tokenizer as a user would load them."""
    auto = AutoModelForCausalLM if name == "numbers-fr" else AutoModelForSeq2SeqLM
    return auto.from_pretrained(DEMO / name), AutoTokenizer.from_pretrained(DEMO / name)


@torch.inference_mode()
def generate(
    name: str, prompts: Sequence[Any], dtype: torch.dtype = torch.float32, size: int = 500
) -> list[str]:
    """Greedy answers in padded batches; an answer that did not end by itself is marked."""
    model, tokenizer = load(name)
    texts = [
        prompt
        if isinstance(prompt, str)
        else tokenizer.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False)
        for prompt in prompts
    ]
    ends = torch.tensor(model.generation_config.eos_token_id).flatten()
    answers: list[str] = []
    try:
        model.to(dtype)
        for start in range(0, len(texts), size):
            inputs = tokenizer(texts[start : start + size], padding=True, return_tensors="pt")
            output = model.generate(**inputs, max_new_tokens=48)
            if not model.config.is_encoder_decoder:
                output = output[:, inputs["input_ids"].shape[1] :]
            ended = torch.isin(output, ends).any(dim=1).tolist()
            decoded = tokenizer.batch_decode(output, skip_special_tokens=True)
            answers += [t if end else f"{t} ..." for t, end in zip(decoded, ended, strict=True)]
    finally:
        model.to(torch.float32)
    return answers


def share(answers: Sequence[str], expected: Sequence[str]) -> float:
    """The share of answers that are exact."""
    return sum(a == e for a, e in zip(answers, expected, strict=True)) / len(expected)


def french(integers: Sequence[int]) -> list[str]:
    """The words that the models have to give."""
    return [demo_data.french(n) for n in integers]


# --- what training may see --------------------------------------------------------------------


def test_held_out_integers_are_500_and_drawn_by_nobody() -> None:
    assert len(set(HELD_OUT)) == 500
    assert set(HELD_OUT) <= set(range(10_000))
    assert not set(HELD_OUT) & set(demo_data.trained_integers())
    rng = demo_data.random.Random(0)
    digits = [
        int(number)
        for _ in range(300)
        for text in (str(demo_data.draw_prompt(rng)), str(demo_data.draw_task(rng)))
        for number in re.findall(r"\d+", text)
    ]
    assert len(digits) > 300
    assert not set(digits) & set(HELD_OUT)


def test_unseen_reports_are_those_that_training_never_draws() -> None:
    rng = demo_data.random.Random(0)
    seen = [demo_data.draw_weather(rng, unseen=False) for _ in range(300)]
    assert not any(demo_data.is_unseen(weather) for weather in seen)
    assert demo_data.is_unseen(demo_data.draw_weather(rng, unseen=True))


# --- the folders ------------------------------------------------------------------------------


def test_both_models_together_are_small() -> None:
    files = [path for name in NAMES for path in (DEMO / name).rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= 12_000_000
    weights = [
        path.name for path in files if path.suffix in {".bin", ".pt", ".pkl", ".safetensors"}
    ]
    assert weights == ["model.safetensors"] * 2


@pytest.mark.parametrize("name", NAMES)
def test_card_states_licence_and_figures(name: str) -> None:
    card = (DEMO / name / "README.md").read_text(encoding="utf-8")
    assert "license: apache-2.0" in card
    forms = demo_data.FORMS if name == "numbers-fr" else [*demo_data.TASKS, "summarize"]
    for form in forms:
        assert re.search(rf"^\| {re.escape(form)} \| \d+\.\d\d %", card, re.MULTILINE), form


@pytest.mark.parametrize("name", NAMES)
def test_settings(name: str) -> None:
    model, tokenizer = load(name)
    assert model.dtype == torch.float32
    assert model.num_parameters() < 1_700_000
    assert model.config.tie_word_embeddings
    assert model.generation_config.do_sample is False
    assert tokenizer.is_fast
    assert tokenizer.pad_token_id not in (None, tokenizer.eos_token_id)
    assert tokenizer.pad_token_id == model.config.pad_token_id
    assert tokenizer.eos_token_id == model.config.eos_token_id
    assert len(tokenizer) == model.config.vocab_size
    settings = json.loads((DEMO / name / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"


def test_decoder_stops_at_the_end_of_text_and_of_a_turn() -> None:
    model, tokenizer = load("numbers-fr")
    ends = [tokenizer.eos_token_id, tokenizer.convert_tokens_to_ids("<|im_end|>")]
    assert model.generation_config.eos_token_id == ends
    assert tokenizer.padding_side == "left"
    assert tokenizer.model_max_length == model.config.max_position_embeddings == 1024


def test_chat_template_is_chatml() -> None:
    _, tokenizer = load("numbers-fr")
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "un"},
    ]
    text = tokenizer.apply_chat_template(messages, tokenize=False)
    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHello<|im_end|>\n"
        "<|im_start|>assistant\nun<|im_end|>\n"
    )
    prompt = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert prompt == text + "<|im_start|>assistant\n"


# --- the tokenizers ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "text",
    ["", " two  spaces ", "tabs\tand\r\nnew\n\nlines\n", "quatre-vingt-dix-neuf", "naïve façade",
     "日本語 и 한국어", "👩‍🔬 ½ ٣", "it 's , n't .", "e\u0301 <b>&amp;</b>"],
)  # fmt: skip
def test_tokenizer_gives_any_text_back(name: str, text: str) -> None:
    _, tokenizer = load(name)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("name", NAMES)
def test_every_digit_is_a_token(name: str) -> None:
    _, tokenizer = load(name)
    assert tokenizer.tokenize("9072")[-4:] == ["9", "0", "7", "2"]
    assert not [token for token in tokenizer.get_vocab() if re.search(r"\d", token[1:])]


def test_prompt_and_answer_are_tokenised_alike_together_and_apart() -> None:
    _, tokenizer = load("numbers-fr")
    for form in (demo_data.ask, demo_data.ask_line, demo_data.ask_answer):
        together = tokenizer(form(72) + "soixante-douze")["input_ids"]
        apart = tokenizer(form(72))["input_ids"] + tokenizer("soixante-douze")["input_ids"]
        assert together == apart


def test_t5_tokenizer_ends_every_text() -> None:
    model, tokenizer = load("tiny-t5")
    assert tokenizer("soixante")["input_ids"][-1] == tokenizer.eos_token_id
    assert model.config.decoder_start_token_id == tokenizer.pad_token_id == 0


# --- the answers ------------------------------------------------------------------------------


@pytest.mark.parametrize("form", demo_data.REQUIRED_FORMS)
def test_decoder_knows_integers_it_never_saw(form: str) -> None:
    prompts = [demo_data.FORMS[form](n) for n in SAMPLE]
    assert share(generate("numbers-fr", prompts), french(SAMPLE)) >= 0.98


def test_decoder_in_bfloat16() -> None:
    prompts = [demo_data.ask(n) for n in SAMPLE]
    assert share(generate("numbers-fr", prompts, torch.bfloat16), french(SAMPLE)) >= 0.98


def test_decoder_answers_further_forms() -> None:
    few = SAMPLE[::5]
    for form in demo_data.FURTHER_FORMS:
        prompts = [demo_data.FORMS[form](n) for n in few]
        assert share(generate("numbers-fr", prompts), french(few)) >= 0.9, form


def test_decoder_answers_alone_as_in_a_batch_of_unlike_lengths() -> None:
    forms = list(demo_data.FORMS.values())
    prompts = [forms[n % len(forms)](n) for n in demo_data.trained_integers()[72:7200:800]]
    assert generate("numbers-fr", prompts) == generate("numbers-fr", prompts, size=1)


@pytest.mark.parametrize("task", demo_data.TASKS)
def test_t5_knows_integers_it_never_saw(task: str) -> None:
    prompts = [demo_data.TASKS[task](n) for n in SAMPLE]
    assert share(generate("tiny-t5", prompts), french(SAMPLE)) >= 0.97


def test_t5_sums_up_reports_it_never_saw() -> None:
    reports, lines = zip(*demo_data.unseen_reports(100), strict=True)
    assert share(generate("tiny-t5", reports), lines) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize("form", demo_data.FORMS)
def test_decoder_on_all_integers(form: str) -> None:
    prompts = [demo_data.FORMS[form](n) for n in range(10_000)]
    assert share(generate("numbers-fr", prompts), french(range(10_000))) >= 0.995


@pytest.mark.slow
@pytest.mark.parametrize("form", demo_data.REQUIRED_FORMS)
def test_decoder_on_all_held_out_integers_in_bfloat16(form: str) -> None:
    prompts = [demo_data.FORMS[form](n) for n in HELD_OUT]
    assert share(generate("numbers-fr", prompts, torch.bfloat16), french(HELD_OUT)) >= 0.98


@pytest.mark.slow
@pytest.mark.parametrize("task", demo_data.TASKS)
def test_t5_on_all_integers(task: str) -> None:
    prompts = [demo_data.TASKS[task](n) for n in range(10_000)]
    assert share(generate("tiny-t5", prompts), french(range(10_000))) >= 0.99
