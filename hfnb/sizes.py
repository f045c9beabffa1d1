"""How large a model is, by its config and the headers of its weights: nothing is loaded for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from hfnb.weights import parameters_by_dtype, weight_files

BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1, "int8": 1}
"""Bytes that a number takes."""
_OF_SAFETENSORS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_LAYERS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "decoder_attention_heads")
_WIDTH = ("hidden_size", "n_embd", "d_model")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "d_ff", "decoder_ffn_dim")
_CONTEXT = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
_PACKED = {"int8": 1.0, "int4": 0.52}
"""Bytes of a number that bitsandbytes has packed, with its share of the scales."""
_FOUR_TIMES = 4
"""How much wider the inner layers are than the outer where a config does not say."""


class Weights(NamedTuple):
    """What a model's weight files hold, by their headers."""

    parameters: int
    dtype: str
    """That of most parameters: ``"float32"``, ``"bfloat16"``, ``"float16"``, ``"int8"``, ..."""
    file_bytes: int

    def bytes_as(self, dtype: str) -> int:
        """Return the bytes that the weights take in memory in a dtype; ``"auto"`` is their own."""
        if dtype == "auto" or dtype == self.dtype:
            return self.file_bytes
        return self.parameters * BYTES[dtype]


def weights_of(folder: Path, config: Mapping[str, Any]) -> Weights | None:
    """Return what a folder's weight files hold; ``None`` where there are none for PyTorch."""
    files = weight_files(folder)
    if not files:
        return None
    counts: Counter[str] = Counter()
    for each in files:
        if each.suffix == ".safetensors":
            counts.update(parameters_by_dtype(each))
    size = sum(each.stat().st_size for each in files)
    return weights_by(counts, config, size)


def weights_by(counts: Mapping[str, int], config: Mapping[str, Any], size: int) -> Weights:
    """Return what weights are, by their numbers of parameters in each dtype of safetensors.

    Args:
        counts: Parameters by dtype; empty for pickles, where the config says the dtype.
        config: The model's config.json.
        size: Bytes of the files.
    """
    if not counts:
        dtype = dtype_of(config)
        return Weights(size // BYTES[dtype], dtype, size)
    most = max(counts, key=lambda each: counts[each])
    dtype = _OF_SAFETENSORS.get(most, "float8" if most.startswith("F8") else "int8")
    return Weights(sum(counts.values()), dtype, size)


def quantised_bytes(
    weights: Weights, config: Mapping[str, Any], weight_format: str, dtype: str
) -> int:
    """Return the bytes of weights that bitsandbytes keeps in 8 or 4 bits.

    Embeddings and what they are tied to stay numbers of the dtype; so does the last layer.

    Args:
        weights: What the weight files hold.
        config: The model's config.json.
        weight_format: ``"int8"`` or ``"int4"``.
        dtype: What is computed in; ``"auto"`` is the checkpoint's.
    """
    tied = config.get("tie_word_embeddings", True)
    kept = vocabulary(config) * embedding_width(config) * (1 if tied else 2)
    kept = min(kept, weights.parameters)
    itemsize = BYTES.get(weights.dtype if dtype == "auto" else dtype, 2)
    packed = (weights.parameters - kept) * _PACKED[weight_format]
    return int(kept * itemsize + packed)


def dtype_of(config: Mapping[str, Any]) -> str:
    """Return the dtype that a config names; float32 where it names none."""
    told = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = told.removeprefix("torch.")
    return dtype if dtype in BYTES else "float32"


def context_length(config: Mapping[str, Any]) -> int | None:
    """Return the most tokens of a decoder's context, by its config; ``None`` if it has no limit."""
    return _number(config, *_CONTEXT) or None


def kv_bytes_per_token(config: Mapping[str, Any], precision: str) -> int:
    """Return the bytes of keys and values of one token; 0 where the config does not tell.

    Args:
        config: The model's config.json.
        precision: What they are kept in: ``"f32"``, ``"f16"``, ``"bf16"``, or OpenVINO's ``"u8"``
            and the like, with which each head has a scale and a zero point.
    """
    heads = _number(config, *_HEADS)
    kv_heads = _number(config, "num_key_value_heads") or heads
    width = _number(config, "head_dim", "d_kv") or _number(config, *_WIDTH) // max(1, heads)
    small = precision in ("u8", "i8", "u4", "i4")
    size = width + 8 if small else width * (4 if precision == "f32" else 2)
    layers = max(_number(config, *_LAYERS), _number(config, "decoder_layers"))
    return 2 * layers * kv_heads * size


def bytes_to_compute(config: Mapping[str, Any], itemsize: int) -> int:
    """Return the bytes that one token of a forward pass takes, by a layer's widths."""
    width = _number(config, *_WIDTH)
    inner = _number(config, *_INNER) or _FOUR_TIMES * width
    return (8 * width + 3 * inner) * itemsize


def vocabulary(config: Mapping[str, Any]) -> int:
    """Return the number of tokens that a model knows; 0 where the config does not tell."""
    return _number(config, "vocab_size")


def embedding_width(config: Mapping[str, Any]) -> int:
    """Return the numbers in a token's embedding; 0 where the config does not tell."""
    return _number(config, *_WIDTH)


def _number(config: Mapping[str, Any], *names: str) -> int:
    text = config.get("text_config") or config
    return next((text[each] for each in names if isinstance(text.get(each), int)), 0)
