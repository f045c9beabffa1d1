"""What the engines are compared with: transformers' own `generate`, one row at a time."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from hfnb.engines import torch_attention
from hfnb.engines.base import Completion, Delta, Request, Work
from hfnb.engines.registry import load_engine
from hfnb.engines.torch_engine import TorchEngine
from hfnb.engines.torch_model import wrap
from hfnb.spec import GenerationSpec, ModelSpec

# Of many lengths, and twenty, so that batches of 3 and of 16 have rows that join late.
PROMPTS = [
    "What is the number 72 in french?",
    "a",
    "The quick brown fox jumps over the lazy dog, and then it sleeps.",
    "café été déjà",
    "Question: one two three Answer:",
    "Translate English to German: a notebook runs a small model over the rows of a table.",
    "Où?",
    "Summarize: " + "un deux trois " * 6,
    "€",
    "one",
    "eight nine ten\n",
    *(f"What is the number {n} in french?" for n in (3, 14, 159, 2653)),
    "five six seven eight nine ten twenty thirty hundred thousand",
    " leading space",
    "Größe, Straße",
    "x y z",
    "the the the the the the the the",
]


def engine_of(folder: Path) -> TorchEngine:
    """Load a folder on the CPU in float32, in which sums in another order change no token."""
    engine = load_engine(ModelSpec(str(folder), device="cpu", dtype="float32"))
    assert isinstance(engine, TorchEngine)
    return engine


def random_engine(config_class: str, options: dict[str, Any], folder: Path) -> TorchEngine:
    """Make a random decoder with the tokenizer of a folder, and load it as `engine_of` does."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    config = getattr(transformers, config_class)(vocab_size=len(tokenizer), **options)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).float().eval()
    for each in model.parameters():
        if each.dim() > 1:
            torch.nn.init.normal_(each, std=0.3)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    torch_attention.use(model)
    return TorchEngine(wrap(model, tokenizer, config.model_type, "text-generation"))


def with_settings(folder: Path, target: Path, file: str, **changes: Any) -> Path:
    """Copy a model's folder and change one of its JSON files."""
    shutil.copytree(folder, target)
    path = target / file
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return target


def answers(
    engine: TorchEngine,
    prompts: Sequence[Any],
    *,
    batch_size: Any = "auto",
    work: Work | None = None,
    **options: Any,
) -> list[Completion]:
    """Return one completion a prompt, in the prompts' order."""
    requests = [Request(row, prompt) for row, prompt in enumerate(prompts)]
    found: dict[int, Completion] = {}
    spec = GenerationSpec.of(**options)
    for each in engine.generate(requests, spec, batch_size=batch_size, work=work):
        assert isinstance(each, Completion)
        assert each.row not in found
        found[each.row] = each
    assert sorted(found) == list(range(len(prompts)))
    return [found[row] for row in range(len(prompts))]


def texts(engine: TorchEngine, prompts: Sequence[Any], **options: Any) -> list[str | None]:
    """Return the answers' texts; no row may fail."""
    done = answers(engine, prompts, **options)
    assert [each.error for each in done if each.error] == []
    return [each.text for each in done]


def streamed(
    engine: TorchEngine, prompts: Sequence[str], *, batch_size: Any = "auto", **options: Any
) -> tuple[list[list[str]], list[Completion]]:
    """Return each row's deltas and its completion; no delta comes after its completion."""
    requests = [Request(row, prompt) for row, prompt in enumerate(prompts)]
    deltas: list[list[str]] = [[] for _ in prompts]
    done: dict[int, Completion] = {}
    spec = GenerationSpec.of(**options)
    for each in engine.generate(requests, spec, batch_size=batch_size, stream=True):
        assert each.row not in done
        if isinstance(each, Delta):
            assert each.text
            deltas[each.row].append(each.text)
        else:
            done[each.row] = each
    return deltas, [done[row] for row in range(len(prompts))]


def reference_ids(engine: TorchEngine, prompt: str, **options: Any) -> list[int]:
    """Return the new tokens of `model.generate` for this prompt alone, without EOS."""
    loaded = engine.loaded
    ids = torch.tensor([loaded.encode([prompt])[0]])
    with torch.inference_mode():
        out = loaded.model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            pad_token_id=loaded.pad_id,
            do_sample=False,
            **options,
        )[0].tolist()
    new = out[1:] if loaded.model.config.is_encoder_decoder else out[ids.shape[1] :]
    ends = options.get("eos_token_id") or sorted(loaded.eos_ids)
    ends = {ends} if isinstance(ends, int) else set(ends)
    return new[: next((i for i, token in enumerate(new) if token in ends), len(new))]


def reference(engine: TorchEngine, prompt: str, **options: Any) -> str:
    """Return the new text of `model.generate` for this prompt alone."""
    text: str = engine.loaded.tokenizer.decode(
        reference_ids(engine, prompt, **options), skip_special_tokens=True
    )
    return text
