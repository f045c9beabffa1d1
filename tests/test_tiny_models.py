"""The tiny models load as models from the Hub do, and answer well enough to test with."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from tests.tiny_models import ARCHITECTURES

TEXT = "What is the number 72 in french? Où? 42 €"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_tiny_model_loads_and_its_greedy_answers_vary(
    name: str, tiny_model: Callable[[str], Path]
) -> None:
    folder = tiny_model(name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    kind = AutoModelForSeq2SeqLM if name == "t5" else AutoModelForCausalLM
    model = kind.from_pretrained(folder)
    assert model.dtype == torch.float32

    prompt = tokenizer(TEXT, return_tensors="pt")
    assert tokenizer.decode(prompt["input_ids"][0], skip_special_tokens=True) == TEXT

    answer = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0]
    again = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0]
    new = answer[1:] if name == "t5" else answer[prompt["input_ids"].shape[1] :]
    assert torch.equal(answer, again)
    assert len(set(new.tolist())) > len(new) / 3
    assert "\ufffd" not in tokenizer.decode(new)


def test_tiny_tokenizers_differ_as_the_real_ones_do(tiny_model: Callable[[str], Path]) -> None:
    tokenizers = {name: AutoTokenizer.from_pretrained(tiny_model(name)) for name in ARCHITECTURES}
    first = {name for name, t in tokenizers.items() if t("a")["input_ids"][0] == t.bos_token_id}
    last = {name for name, t in tokenizers.items() if t("a")["input_ids"][-1] == t.eos_token_id}

    assert first == {"llama", "opt", "phi3"}
    assert last == {"t5"}
    assert {n for n, t in tokenizers.items() if t.pad_token is None} == {
        "gpt2",
        "gpt_neox",
        "llama",
    }
    assert {n for n, t in tokenizers.items() if t.chat_template} == {"phi3", "qwen3"}
