"""How bitsandbytes keeps a PyTorch model's weights in 8 or 4 bits, and what a model has of it."""

from __future__ import annotations

from typing import Any

import torch
from transformers import BitsAndBytesConfig


def quantisation(weight_format: str, dtype: Any) -> Any:
    """Return what transformers is told to quantise weights with, while it loads them.

    Args:
        weight_format: ``"int8"`` (LLM.int8) or ``"int4"`` (NF4, with the scales in 8 bits).
        dtype: What is computed in; ``"auto"`` is what the checkpoint has, for which bitsandbytes
            takes bfloat16.
    """
    make: Any = BitsAndBytesConfig  # whose constructor has no types
    if weight_format == "int8":
        return make(load_in_8bit=True)
    computed = dtype if isinstance(dtype, torch.dtype) else torch.bfloat16
    return make(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=computed,
    )


def shown(model: Any) -> str:
    """Return what is said of a model's quantised weights; empty where they are as usual."""
    if getattr(model, "is_loaded_in_4bit", False):
        return "weights int4 (bitsandbytes)"
    if getattr(model, "is_loaded_in_8bit", False):
        return "weights int8 (bitsandbytes)"
    method = getattr(model, "quantization_method", None)
    return f"weights quantised ({getattr(method, 'value', method)})" if method else ""
