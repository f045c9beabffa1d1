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
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer

from hfnb.engines.torch_engine import TorchEngine
from hfnb.engines.torch_model import wrap
from tests.engines.reference import PROMPTS, random_engine, reference, streamed, texts

_SHARED = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 96,
    "max_position_embeddings": 256,
}
_GEMMA = {**_SHARED, "head_dim": 16, "query_pre_attn_scalar": 16, "sliding_window": 8}
_FALCON = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
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
    "falcon": ("FalconConfig", _FALCON),
    "falcon, alibi": ("FalconConfig", {**_FALCON, "alibi": True}),
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
    engine = random_engine(class_name, options, tiny_model("llama"))
    prompts = [*PROMPTS[:10], *("one two three " * 14 + each for each in PROMPTS[:8])]

    assert texts(engine, prompts, batch_size=4, max_new_tokens=10) == [
        reference(engine, prompt, max_new_tokens=10) for prompt in prompts
    ]
    ours = "decoder" if name != "mamba" else "generate"
    assert engine.info.engine == f"torch {ours}"


_T5 = {"d_model": 64, "d_kv": 16, "d_ff": 96, "num_layers": 2, "num_heads": 4}
_BART = {
    "d_model": 64,
    **{f"{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 96 for part in ("encoder", "decoder")},
    "max_position_embeddings": 256,
}
_PROPHETNET = {
    "hidden_size": 64,
    **{f"num_{part}_layers": 2 for part in ("encoder", "decoder")},
    **{f"num_{part}_attention_heads": 4 for part in ("encoder", "decoder")},
    **{f"{part}_ffn_dim": 96 for part in ("encoder", "decoder")},
    "max_position_embeddings": 256,
}
ENCODER_DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "mt5": ("MT5Config", _T5),
    "umt5": ("UMT5Config", _T5),
    "longt5": ("LongT5Config", {**_T5, "local_radius": 8}),
    "longt5, global": (
        "LongT5Config",
        {**_T5, "local_radius": 8, "encoder_attention_type": "transient-global"},
    ),
    "bart": ("BartConfig", _BART),
    "mbart": ("MBartConfig", _BART),
    "plbart": ("PLBartConfig", _BART),
    "mvp": ("MvpConfig", _BART),
    "marian": ("MarianConfig", _BART),
    "m2m_100": ("M2M100Config", _BART),
    "pegasus": ("PegasusConfig", _BART),
    "pegasus_x": ("PegasusXConfig", {**_BART, "block_size": 8, "num_global_tokens": 4}),
    "blenderbot": ("BlenderbotConfig", _BART),
    "blenderbot-small": ("BlenderbotSmallConfig", _BART),
    "prophetnet": ("ProphetNetConfig", _PROPHETNET),
    "led, which goes through generate": (
        "LEDConfig",
        {**_BART, "attention_window": 8, "max_encoder_position_embeddings": 256},
    ),
}


@pytest.mark.filterwarnings("ignore:.*use_return_dict")
@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_batched_answers_of_an_encoder_decoder_are_those_of_generate_alone(
    name: str, tiny_model: Callable[[str], Path]
) -> None:
    kind, settings = ENCODER_DECODERS[name]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("t5"))
    config = getattr(transformers, kind)(
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=tokenizer.pad_token_id,
        **settings,
    )
    torch.manual_seed(3)
    model = AutoModelForSeq2SeqLM.from_config(config).float().eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0.0, 0.1 if "t5" in name else 0.3)
    engine = TorchEngine(wrap(model, tokenizer, name, "text2text-generation"))
    assert ("generate" in engine.info.engine) == ("generate" in name)
    expected = [reference(engine, prompt, max_new_tokens=9) for prompt in PROMPTS]
    assert len(set(expected)) > 1
    for batch_size in (1, 3, "auto"):
        assert texts(engine, PROMPTS, batch_size=batch_size, max_new_tokens=9) == expected


def test_a_model_that_goes_through_generate_streams_its_tokens_too(
    tiny_model: Callable[[str], Path],
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model("gpt2"))
    kind, settings = ARCHITECTURES["mamba"]
    torch.manual_seed(3)
    config = getattr(transformers, kind)(vocab_size=len(tokenizer), **settings)
    model = AutoModelForCausalLM.from_config(config).eval()
    engine = TorchEngine(wrap(model, tokenizer, "mamba", "text-generation"))
    deltas, done = streamed(engine, PROMPTS[:3], max_new_tokens=8)
    for pieces, completion, prompt in zip(deltas, done, PROMPTS[:3], strict=True):
        assert len(pieces) > 2
        assert "".join(pieces) == completion.text == reference(engine, prompt, max_new_tokens=8)
