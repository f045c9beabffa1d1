"""Loading: files that only transformers can judge, dtypes, and where the model is placed."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import hfnb
from hfnb import hardware
from hfnb.engines.registry import load_engine
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import DeviceError, ModelError, ModelFilesError, OptionError
from hfnb.spec import ModelSpec
from tests.engines.reference import PROMPTS, reference, texts

Tiny = Callable[[str], Path]


@pytest.fixture
def gpt2(tiny_model: Tiny, tmp_path: Path) -> Path:
    """A copy of a tiny model's folder, to be damaged."""
    return Path(shutil.copytree(tiny_model("gpt2"), tmp_path / "gpt2"))


def load(folder: Path, **options: object) -> TorchEngine:
    engine = load_engine(ModelSpec(str(folder), device="cpu", **options))  # type: ignore[arg-type]
    assert isinstance(engine, TorchEngine)
    return engine


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '{"version": "1.0"}',
    ],
)
def test_a_broken_tokenizer_is_the_models_error(content: str, gpt2: Path) -> None:
    (gpt2 / "tokenizer.json").write_text(content)
    with pytest.raises(ModelFilesError, match="could not be loaded"):
        load(gpt2)


def test_a_missing_tokenizer_is_the_models_error(gpt2: Path) -> None:
    for file in gpt2.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(ModelFilesError, match="has no tokenizer"):
        load(gpt2)


def test_weights_of_another_shape_are_the_models_error(gpt2: Path) -> None:
    config = json.loads((gpt2 / "config.json").read_text())
    (gpt2 / "config.json").write_text(json.dumps({**config, "n_embd": 32}))
    with pytest.raises(ModelFilesError, match="could not be loaded"):
        load(gpt2)


def test_a_header_that_says_other_shapes_is_the_models_error(gpt2: Path) -> None:
    """safetensors checks what its header says of shapes, and raises an exception of its own."""
    file = gpt2 / "model.safetensors"
    data = file.read_bytes()
    at = data.index(b'"shape":[') + len(b'"shape":[')
    file.write_bytes(data[:at] + b"9" + data[at + 1 :])
    with pytest.raises(ModelFilesError, match="could not be loaded"):
        load(gpt2)


def test_weights_that_are_missing_are_never_random(gpt2: Path) -> None:
    """transformers only warns, and makes up what the file lacks."""
    tensors = load_file(gpt2 / "model.safetensors")
    lacking = {name: each for name, each in tensors.items() if ".h.1." not in name}
    assert len(lacking) < len(tensors)
    save_file(lacking, gpt2 / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelFilesError):
        load(gpt2)


def test_a_broken_pickle_is_the_models_error(gpt2: Path) -> None:
    (gpt2 / "model.safetensors").unlink()
    (gpt2 / "pytorch_model.bin").write_bytes(b"not a pickle")
    with pytest.raises(ModelFilesError, match="could not be loaded"):
        load(gpt2, allow_pickle=True)


def test_pickled_weights_answer_where_they_are_allowed(gpt2: Path, tiny_model: Tiny) -> None:
    torch.save(load_file(gpt2 / "model.safetensors"), gpt2 / "pytorch_model.bin")
    (gpt2 / "model.safetensors").unlink()
    options = {"dtype": "float32"}
    pickled, plain = load(gpt2, allow_pickle=True, **options), load(tiny_model("gpt2"), **options)
    assert texts(pickled, PROMPTS[:4], max_new_tokens=5) == texts(
        plain, PROMPTS[:4], max_new_tokens=5
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_is_what_was_asked_for_and_is_told(dtype: str, tiny_model: Tiny) -> None:
    engine = load(tiny_model("llama"), dtype=dtype)
    assert engine.loaded.model.dtype == getattr(torch, dtype)
    assert engine.info.dtype == dtype
    assert texts(engine, PROMPTS[:3], max_new_tokens=3)


def test_auto_is_bfloat16_where_it_is_fast_and_else_what_the_file_has(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    for fast, dtype in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(hardware, "multiplies_bfloat16", lambda device, fast=fast: fast)
        assert load(tiny_model("llama")).info.dtype == dtype


def test_a_device_map_places_the_model(tiny_model: Tiny) -> None:
    spec = ModelSpec(str(tiny_model("llama")), device_map={"": "cpu"}, dtype="float32")
    engine = load_engine(spec)
    assert isinstance(engine, TorchEngine)
    assert engine.info.device == "cpu"
    assert texts(engine, ["a"], max_new_tokens=4) == [reference(engine, "a", max_new_tokens=4)]


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has an accelerator")
def test_a_missing_accelerator_is_told_before_the_weights_are_read(tiny_model: Tiny) -> None:
    with pytest.raises(DeviceError, match="sees none"):
        hfnb.load(str(tiny_model("llama")), device=0)


def test_load_gives_what_run_and_chains_take(tiny_model: Tiny) -> None:
    llm = hfnb.load(
        tiny_model("llama"), device="cpu", dtype="float32", max_new_tokens=4, batch_size=8
    )
    assert llm.model_id == str(tiny_model("llama"))
    assert llm.batch_size == 8
    assert llm.engine.info.load_s > 0
    assert isinstance(llm.engine, TorchEngine)
    assert llm.invoke("a") == reference(llm.engine, "a", max_new_tokens=4)


def test_load_takes_generation_options_in_model_kwargs_and_gives_from_pretrained_the_rest(
    tiny_model: Tiny,
) -> None:
    llm = hfnb.load(
        tiny_model("llama"),
        device="cpu",
        dtype="float32",
        model_kwargs={"temperature": 0, "max_length": 20, "attn_implementation": "eager"},
    )
    assert isinstance(llm.engine, TorchEngine)
    assert llm.engine.loaded.model.config._attn_implementation == "eager"
    assert llm.invoke("a") == reference(llm.engine, "a", max_length=20)


def test_load_says_where_an_argument_belongs(tiny_model: Tiny) -> None:
    with pytest.raises(OptionError, match=r"model_kwargs has 'torch_dtype'.*dtype"):
        hfnb.load(tiny_model("llama"), model_kwargs={"torch_dtype": "auto"})
    with pytest.raises(OptionError, match="Did you mean 'attn_implementation'"):
        hfnb.load(tiny_model("llama"), model_kwargs={"attn_implementaton": "eager"})


def test_a_chat_template_wraps_plain_prompts_where_there_is_one(tiny_model: Tiny) -> None:
    prompt = "hello"
    rendered = "<|im_start|>user\nhello<|im_end|>\n<|im_start|>assistant\n"
    options = {"device": "cpu", "dtype": "float32", "max_new_tokens": 5}
    chat = hfnb.load(tiny_model("qwen3"), **options)
    assert isinstance(chat.engine, TorchEngine)
    assert chat.invoke(prompt) == reference(chat.engine, rendered, max_new_tokens=5)
    plain = hfnb.load(tiny_model("qwen3"), chat=False, **options)
    assert plain.invoke(prompt) == reference(chat.engine, prompt, max_new_tokens=5)
    with pytest.raises(ModelError, match="no chat template"):
        hfnb.load(tiny_model("gpt2"), chat=True, **options).invoke(prompt)


def test_a_model_that_is_wholly_on_disk_is_refused(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    with pytest.raises(OptionError, match="no device is left to compute it"):
        hfnb.load(
            tiny_model("gpt2"),
            device_map="auto",
            model_kwargs={"max_memory": {"cpu": "100KB"}, "offload_folder": str(tmp_path)},
        )


def test_copies_of_what_uses_an_engine_share_it(tiny_model: Callable[[str], Path]) -> None:
    llm = hfnb.load(tiny_model("gpt2"), device="cpu", max_new_tokens=3)
    copied = copy.deepcopy(llm)
    assert copied.engine is llm.engine
    assert copied.invoke("a") == llm.invoke("a")
