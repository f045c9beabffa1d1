"""The generation options in force: the checkpoint's own, over which the caller's win."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfnb.options import GENERATION_OPTIONS, PROMPT_OPTIONS
from hfnb.spec import GenerationSpec

_TRANSFORMERS_TOP_K = 50
"""What transformers' sampling takes when neither the caller nor the checkpoint names a top_k."""
_OF_SAMPLING = frozenset(
    "do_sample temperature top_k top_p min_p top_h typical_p epsilon_cutoff eta_cutoff".split()
)
_OF_BEAMS = frozenset("num_beams num_return_sequences early_stopping length_penalty".split())


def options_in_force(
    checkpoint: Mapping[str, Any], generation: GenerationSpec, *, is_decoder: bool
) -> dict[str, Any]:
    """Return the generation options in force.

    How the checkpoint samples counts only when the caller samples: greedy is hfnb's default.

    Args:
        checkpoint: The options that come with the model, those with a meaning of their own.
        generation: What the caller asks for.
        is_decoder: Whether the answer continues the prompt.
    """
    out = _OF_BEAMS if generation.sampling else _OF_SAMPLING
    stored = {
        name: value
        for name, value in checkpoint.items()
        if name in GENERATION_OPTIONS and value is not None and name not in out
    }
    if is_decoder:
        # It counts the prompt too, and nobody has asked for prompts to be refused.
        stored.pop("max_length", None)
    if generation.get("max_length") is not None or generation.get("max_new_tokens") is not None:
        stored.pop("max_length", None)
        stored.pop("max_new_tokens", None)
    told = {name: v for name, v in generation.options if name not in PROMPT_OPTIONS}
    options = {**stored, **told}
    if generation.sampling:
        options["temperature"] = generation.temperature
        options.setdefault("top_k", _TRANSFORMERS_TOP_K)
    else:
        options = {name: value for name, value in options.items() if name not in _OF_SAMPLING}
    return options
