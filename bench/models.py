"""The random models that the benchmarks run: Llama-shaped, made once, kept in a cache folder."""

from __future__ import annotations

import os
from pathlib import Path

_SHAPES = {
    # name: hidden size, layers, heads, KV heads, intermediate size
    "100m": (768, 12, 12, 12, 2048),
    "500m": (1536, 16, 16, 16, 4096),
    "1b": (2048, 16, 32, 8, 8192),
    "7b": (4096, 32, 32, 32, 11008),
    "tiny": (64, 2, 4, 4, 128),
}
VOCABULARY = 32000


def cache_folder() -> Path:
    """Return where bench models are kept: ``HFNB_BENCH_CACHE``, or the user's cache folder."""
    import platformdirs

    told = os.environ.get("HFNB_BENCH_CACHE")
    return Path(told) if told else Path(platformdirs.user_cache_dir("hfnb")) / "bench"


def random_llama(size: str = "100m", dtype: str = "float32", device: str = "cpu") -> Path:
    """Return the folder of a random Llama, made on first use, on a device (seed 0)."""
    folder = cache_folder() / (f"llama-{size}" + ("" if dtype == "float32" else f"-{dtype}"))
    if not (folder / "tokenizer.json").is_file():
        llama_of(size, folder, dtype, device)
        word_tokenizer().save_pretrained(folder)  # the last, so that what is there is whole
    return folder


def llama_of(size: str, folder: Path, dtype: str = "float32", device: str = "cpu") -> None:
    """Make a random Llama of `VOCABULARY` tokens in a folder, without a tokenizer (seed 0)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    hidden, layers, heads, kv_heads, intermediate = _SHAPES[size]
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        intermediate_size=intermediate,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
        initializer_range=0.06,
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = LlamaForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = None  # every row then has the length it was asked for
    model.save_pretrained(folder)


def random_t5() -> Path:
    """Return the folder of a random T5 in the shape of t5-small, made on first use (seed 0)."""
    folder = cache_folder() / "t5-small"
    if (folder / "model.safetensors").is_file():
        return folder
    import torch
    from transformers import T5Config, T5ForConditionalGeneration

    torch.manual_seed(0)
    config = T5Config(
        vocab_size=VOCABULARY,
        d_model=512,
        d_kv=64,
        d_ff=2048,
        num_layers=6,
        num_heads=8,
        decoder_start_token_id=2,
        pad_token_id=2,
        eos_token_id=None,  # every row then has the length it was asked for
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    word_tokenizer(padding_side="right").save_pretrained(folder)
    return folder


def word_tokenizer(padding_side: str = "left"):
    """Return a tokenizer with a token for each of the words ``w3`` ... ``w31999``."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "</s>", "<pad>"]
    words = {name: i for i, name in enumerate(special)}
    words.update({f"w{i}": i for i in range(len(special), VOCABULARY)})
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="<pad>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token=None,
        pad_token="<pad>",
        model_max_length=4096,
        padding_side=padding_side,
    )


def mixed_prompts(count: int = 64, least: int = 8, most: int = 256, seed: int = 0) -> list[str]:
    """Return prompts of between ``least`` and ``most`` words, spread geometrically, shuffled.

    Short prompts are commoner than long ones, as in real frames: the mean is about 75 words.
    """
    import random

    draw = random.Random(seed)
    lengths = [round(least * (most / least) ** (i / (count - 1))) for i in range(count)]
    draw.shuffle(lengths)
    return [
        " ".join(f"w{draw.randrange(3, VOCABULARY)}" for _ in range(length)) for length in lengths
    ]


def packaged(name: str) -> Path:
    """Return the folder of a model that hfnb brings along."""
    import hfnb

    return Path(hfnb.__file__).parent / "demo" / name
