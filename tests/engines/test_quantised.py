"""Weights in 8 and 4 bits with PyTorch: what is refused, and bitsandbytes itself."""

from __future__ import annotations

import importlib.util
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import hfnb
from hfnb.demo import __file__ as demo
from hfnb.engines.torch_engine import TorchEngine
from hfnb.engines.torch_model import wrap
from hfnb.engines.torch_quantised import quantisation
from hfnb.errors import MissingExtraError, OptionError
from hfnb.sizes import quantised_bytes, weights_of
from tests.needs import require

NAME = "hfnb/numbers-fr"
QUESTIONS = [f"What is the number {i} in french?" for i in range(0, 10_000, 457)]


@pytest.mark.parametrize("device", ["cpu", -1, "auto", None])
def test_a_cpu_is_refused_and_openvino_named(
    device: str | int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("quant")
    if device not in ("cpu", -1) and torch.accelerator.is_available():
        pytest.skip("the best device here is no CPU")
    with pytest.raises(OptionError, match=r"weight_format='int8' with PyTorch is for CUDA.*backen"):
        hfnb.load(NAME, weight_format="int8", device=device)
    with pytest.raises(OptionError, match="would run on the CPU"):
        hfnb.estimate(NAME, weight_format="int4", device=device)


def test_a_missing_package_is_one_line_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(MissingExtraError, match=r'needs bitsandbytes.*"hfnb\[quant\]"'):
        hfnb.load("no/such-model", weight_format="int8", device="cuda")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"weight_format": "fp16"}, "is OpenVINO's. PyTorch takes int8, int4"),
        ({"weight_format": "int3"}, "PyTorch takes int8, int4"),
        (
            {"weight_format": "int8", "model_kwargs": {"quantization_config": {}}},
            "Both weight_format='int8' and quantization_config",
        ),
    ],
)
def test_what_pytorch_does_not_have_is_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        hfnb.load(NAME, device="cuda", **options)


def test_weights_that_are_quantised_already_are_not_quantised_again(
    tiny_model: Callable[[str], Path], tmp_path: Path
) -> None:
    require("quant")
    folder = Path(shutil.copytree(tiny_model("gpt2"), tmp_path / "gpt2"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps({**config, "quantization_config": {"quant_method": "gptq"}})
    )
    with pytest.raises(OptionError, match="quantised already: leave weight_format out"):
        hfnb.load(folder, weight_format="int4", device="cuda")


@pytest.mark.parametrize(("weight_format", "least"), [("int8", 0.95), ("int4", 0.5)])
def test_a_quantised_model_answers_and_its_figures_are_right(
    weight_format: str, least: float
) -> None:
    """bitsandbytes has a CPU's operators too: all but the device is what CUDA gets."""
    require("quant")
    folder = Path(demo).parent / "numbers-fr"
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        quantization_config=quantisation(weight_format, torch.float32),
        device_map={"": "cpu"},
    )
    engine = TorchEngine(
        wrap(model, AutoTokenizer.from_pretrained(folder), NAME, "text-generation")
    )
    plain = hfnb.load(NAME, device="cpu", dtype="float32", max_new_tokens=48)
    assert engine.info.note == f"weights {weight_format} (bitsandbytes)"
    assert engine.info.parameters == plain.engine.info.parameters
    assert engine.fingerprint != plain.engine.fingerprint
    config = json.loads((folder / "config.json").read_text())
    weights = weights_of(folder, config)
    assert weights is not None
    told = quantised_bytes(weights, config, weight_format, "float32")
    assert engine.info.weight_bytes == pytest.approx(told, rel=0.15)
    llm = hfnb.HuggingFacePipeline(engine=engine, chat="auto", batch_size="auto")
    answers = llm.batch(QUESTIONS, max_new_tokens=48)
    same = [a == b for a, b in zip(answers, plain.batch(QUESTIONS), strict=True)]
    assert sum(same) >= least * len(QUESTIONS)


@pytest.mark.cuda
@pytest.mark.parametrize(("weight_format", "least"), [("int8", 0.9), ("int4", 0.5)])
def test_a_model_is_quantised_on_cuda(weight_format: str, least: float) -> None:
    require("quant")
    llm = hfnb.load(NAME, device="cuda:0", weight_format=weight_format, max_new_tokens=48)
    assert llm.engine.info.note == f"weights {weight_format} (bitsandbytes)"
    assert llm.engine.info.device == "cuda:0"
    plain = hfnb.load(NAME, device="cuda:0", max_new_tokens=48)
    assert llm.engine.info.weight_bytes < plain.engine.info.weight_bytes
    told = hfnb.estimate(NAME, device="cuda:0", weight_format=weight_format)
    assert told.weights_bytes == pytest.approx(llm.engine.info.weight_bytes, rel=0.25)
    same = [a == b for a, b in zip(llm.batch(QUESTIONS), plain.batch(QUESTIONS), strict=True)]
    assert sum(same) >= least * len(QUESTIONS)
