"""Batched greedy answers equal transformers' own, for architectures beyond the tiny models' list.

Sliding windows, mixtures of experts, shared heads, positions by ALiBi, state-space layers: each
either runs in our loop or is sent to transformers' ``generate``, and writes the same.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

from hfnb.engines import torch_attention
from hfnb.engines.torch_engine import TorchEngine
from hfnb.engines.torch_model import wrap
from tests.engines.reference import PROMPTS, reference, texts

_SHARED = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
}
_GEMMA = {**_SHARED, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8}
_SMALL = {"n_embd": 64, "n_layer": 2, "n_head": 4}
ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "mistral, sliding window": ("MistralConfig", {**_SHARED, "sliding_window": 8}),
    "gemma2": ("Gemma2Config", _GEMMA),
    "gemma3, every other layer slides": (
        "Gemma3TextConfig",
        {**_GEMMA, "sliding_window_pattern": 2},
    ),
    "qwen2, upper layers slide": (
        "Qwen2Config",
        {**_SHARED, "use_sliding_window": True, "sliding_window": 8, "max_window_layers": 2},
    ),
    "mixtral": ("MixtralConfig", {**_SHARED, "num_local_experts": 4}),
    "olmo2": ("Olmo2Config", _SHARED),
    "cohere": ("CohereConfig", _SHARED),
    "granite": ("GraniteConfig", _SHARED),
    "falcon": ("FalconConfig", {"hidden_size": 64, "num_hidden_layers": 2}),
    "falcon, alibi": ("FalconConfig", {"hidden_size": 64, "num_hidden_layers": 2, "alibi": True}),
    "mpt": ("MptConfig", {"d_model": 64, "n_heads": 4, "n_layers": 2}),
    "gptj": ("GPTJConfig", {**_SMALL, "rotary_dim": 8}),
    "gpt_neo, local attention": (
        "GPTNeoConfig",
        {
            "hidden_size": 64,
            "num_layers": 2,
            "num_heads": 4,
            "attention_types": [[["global", "local"], 1]],
            "window_size": 8,
        },
    ),
    "mamba": ("MambaConfig", {"hidden_size": 64, "num_hidden_layers": 2}),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_batched_answers_are_those_of_generate_alone(
    name: str, tiny_model: Callable[[str], Path]
) -> None:
    class_name, options = ARCHITECTURES[name]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("llama"))
    if class_name == "FalconConfig":
        options = {**options, "num_attention_heads": 4}
    config = getattr(transformers, class_name)(vocab_size=len(tokenizer), **options)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config).eval()
    for each in model.parameters():
        if each.dim() > 1:
            torch.nn.init.normal_(each, std=0.3)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    torch_attention.use(model)
    engine = TorchEngine(wrap(model, tokenizer, name, "text-generation"))
    prompts = PROMPTS[:10]

    assert texts(engine, prompts, batch_size=4, max_new_tokens=10) == [
        reference(engine, prompt, max_new_tokens=10) for prompt in prompts
    ]
    ours = "decoder" if name != "mamba" else "generate"
    assert engine.info.engine == f"torch {ours}"
