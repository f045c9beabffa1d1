"""The tiny models load as models from the Hub do, and answer well enough to test with."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from hfnb import hub
from hfnb.spec import ModelSpec
from tests.tiny_models import DECODERS, NAMES, SEQ2SEQ

# Marian's tokenizer asks for a package that cleans punctuation, and does not use it.
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")

TEXT = "What is the number 72 in french? Où? 42 €"


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_model_loads_and_its_greedy_answers_vary(
    name: str, tiny_model: Callable[[str], Path]
) -> None:
    folder = tiny_model(name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    kind = AutoModelForSeq2SeqLM if name in SEQ2SEQ else AutoModelForCausalLM
    model = kind.from_pretrained(folder)
    assert model.dtype == torch.float32

    prompt = tokenizer(TEXT, return_tensors="pt")
    assert tokenizer.decode(prompt["input_ids"][0], skip_special_tokens=True) == TEXT

    answer = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0]
    again = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0]
    new = answer[1:] if name in SEQ2SEQ else answer[prompt["input_ids"].shape[1] :]
    assert torch.equal(answer, again)
    assert len(set(new.tolist())) > len(new) / 3
    assert "\ufffd" not in tokenizer.decode(new)


@pytest.mark.parametrize("name", SEQ2SEQ)
def test_a_tiny_encoder_decoders_answer_depends_on_what_it_reads(
    name: str, tiny_model: Callable[[str], Path]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(name))
    model = AutoModelForSeq2SeqLM.from_pretrained(tiny_model(name))
    answers = set()
    for text in (TEXT, "a", "one two three", "The quick brown fox jumps over the lazy dog."):
        prompt = tokenizer(text, return_tensors="pt")
        new = model.generate(**prompt, max_new_tokens=24, do_sample=False)[0]
        answers.add(tuple(new.tolist()))
    assert len(answers) == 4


@pytest.mark.parametrize("name", NAMES)
def test_a_tiny_models_files_are_what_hfnb_expects(
    name: str, tiny_model: Callable[[str], Path]
) -> None:
    task = "translation" if name in SEQ2SEQ else "text-generation"
    files = hub.find(ModelSpec(str(tiny_model(name)), task=task))
    assert files.task == task


def test_tiny_tokenizers_differ_as_the_real_ones_do(tiny_model: Callable[[str], Path]) -> None:
    names = (*DECODERS, "t5")
    tokenizers = {name: AutoTokenizer.from_pretrained(tiny_model(name)) for name in names}
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


@pytest.mark.parametrize(
    ("name", "kind", "frame"),
    [
        ("bart", "RobertaTokenizer", ["<s>", "</s>"]),
        ("marian", "MarianTokenizer", ["</s>"]),
        ("marian_many", "MarianTokenizer", ["</s>"]),
        ("mbart", "MBartTokenizer", ["</s>", "en_XX"]),
        ("mbart50", "MBart50Tokenizer", ["en_XX", "</s>"]),
        ("m2m100", "M2M100Tokenizer", ["__en__", "</s>"]),
        # AutoTokenizer knows no NllbTokenizer for a model of type m2m_100.
        ("nllb", "TokenizersBackend", ["eng_Latn", "</s>"]),
    ],
)
def test_the_tokenizers_of_tiny_translators_are_the_real_ones(
    name: str, kind: str, frame: list[str], tiny_model: Callable[[str], Path]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model(name))
    assert type(tokenizer).__name__ == kind
    ids = [each for each in tokenizer("one")["input_ids"] if each in tokenizer.all_special_ids]
    assert tokenizer.convert_ids_to_tokens(ids) == frame
    codes = getattr(tokenizer, "supported_language_codes", [])
    assert codes == ([">>deu<<", ">>fra<<", ">>fry<<"] if name == "marian_many" else [])
