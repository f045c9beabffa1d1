"""An answer is found again only where everything that it depends on is the same."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from safetensors.torch import load_file, save_file

import hfnb
from hfnb.engines.base import Chat, Message
from hfnb.frame.identity import prompt_key
from tests.needs import require

DF = pd.DataFrame({"x": ["one", "two two", "three three three"]})


def from_journal(llm: Any, **options: Any) -> int:
    """Run, and return how many rows had been computed before."""
    result = hfnb.run(DF, "{x}", llm, progress=False, **{"max_new_tokens": 4, **options})
    assert result.stats.ok == len(DF)
    return result.stats.from_journal


@pytest.fixture
def llama(tiny_model: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model("llama"), tmp_path / "llama"))


def test_a_model_is_known_by_its_content_and_not_by_its_name(llama: Path) -> None:
    llm = hfnb.load(llama)
    assert from_journal(llm) == 0
    assert from_journal(llm) == from_journal(hfnb.load(llama)) == 3
    other = shutil.copytree(llama, llama.with_name("renamed"))
    assert from_journal(hfnb.load(other)) == 3


def test_one_weight_of_many_makes_another_model(llama: Path) -> None:
    assert from_journal(hfnb.load(llama)) == 0
    weights = load_file(llama / "model.safetensors")
    name = next(each for each in weights if "mlp" in each)
    weights[name].reshape(-1)[1] += 1.0
    save_file(weights, llama / "model.safetensors", metadata={"format": "pt"})
    assert from_journal(hfnb.load(llama)) == 0


def test_the_checkpoints_own_options_count(llama: Path) -> None:
    assert from_journal(hfnb.load(llama)) == 0
    (llama / "generation_config.json").write_text(json.dumps({"repetition_penalty": 1.5}))
    assert from_journal(hfnb.load(llama)) == 0


def test_another_tokenizer_counts(llama: Path) -> None:
    assert from_journal(hfnb.load(llama)) == 0
    file = llama / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": 77}))
    assert from_journal(hfnb.load(llama)) == 0


def test_weights_that_are_trained_in_memory_count(llama: Path) -> None:
    """A model that the user has at hand, in a notebook that trains it."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, pipeline

    model = AutoModelForCausalLM.from_pretrained(llama)
    made = pipeline("text-generation", model=model, tokenizer=AutoTokenizer.from_pretrained(llama))
    llm = hfnb.HuggingFacePipeline(pipeline=made)
    assert (from_journal(llm), from_journal(llm)) == (0, 3)
    with torch.no_grad():
        for each in model.parameters():
            each.mul_(1.01)
    assert from_journal(llm) == 0


def test_dtype_and_backend_count() -> None:
    require("openvino")
    assert from_journal(hfnb.load("hfnb/numbers-fr", dtype="float32")) == 0
    assert from_journal(hfnb.load("hfnb/numbers-fr", dtype="bfloat16")) == 0
    llm = hfnb.load("hfnb/numbers-fr", backend="openvino", weight_format="fp32")
    assert (from_journal(llm), from_journal(llm)) == (0, 3)
    assert from_journal(hfnb.load("hfnb/numbers-fr", dtype="float32")) == 3


def test_what_a_task_puts_before_a_text_counts() -> None:
    tasks = ("translation", "summarization")
    for expected in (0, 3):
        assert [from_journal(hfnb.load("hfnb/tiny-t5", each)) for each in tasks] == [expected] * 2


def test_messages_have_keys_by_all_that_a_template_reads() -> None:
    def key(**options: Any) -> bytes | None:
        message = Message("user", "a", options.pop("fields", {}))
        return prompt_key(Chat((message,), **options))

    keys = [
        key(),
        key(fields={"name": "Ann"}),
        key(tools=({"type": "function"},)),
        key(options={"enable_thinking": True}),
        key(prefill=True),
        prompt_key("a"),
        prompt_key("half \ud83d"),
    ]
    assert None not in keys
    assert len(set(keys)) == len(keys)
    assert key(fields={"image": object()}) is None
