"""Wrap a ``transformers.pipeline`` that exists: its model, and how it was told to generate."""

from __future__ import annotations

from typing import Any

from hfnb.engines.base import Engine
from hfnb.errors import ModelError, OptionError
from hfnb.options import GENERATION_OPTIONS
from hfnb.spec import check_task

# What transformers 5 fills in for options that nobody has set.
_DEFAULTS: dict[str, Any] = {
    "max_length": 20,
    "min_length": 0,
    "early_stopping": False,
    "num_beams": 1,
    "num_return_sequences": 1,
    "top_k": 50,
    "top_p": 1.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "repetition_penalty": 1.0,
    "encoder_repetition_penalty": 1.0,
    "length_penalty": 1.0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "remove_invalid_values": False,
    "renormalize_logits": False,
}
_SAMPLING = frozenset("temperature top_k top_p min_p top_h typical_p".split())


def engine_of(pipeline: Any) -> tuple[Engine, dict[str, Any]]:
    """Make an engine of a pipeline's model and tokenizer, which stay as they are.

    Returns:
        The engine, and the generation options that the pipeline was told. transformers' own
        default, to sample at 0.7, is nobody's wish and is left out: greedy is hfnb's default.

    Raises:
        OptionError: It is no pipeline, or its task is not one of text.
        ModelError: Its model does not generate text.
    """
    if not hasattr(pipeline, "model") or not hasattr(pipeline, "tokenizer"):
        raise OptionError(
            f"pipeline is a transformers pipeline; not {type(pipeline).__name__}. To load a model "
            "by its name, use HuggingFacePipeline.from_model_id or hfnb.load."
        )
    task = getattr(pipeline, "task", None)
    checked = check_task("translation" if str(task).startswith("translation_") else task)
    if checked is None:
        raise OptionError("The pipeline does not say its task.")
    model = pipeline.model
    if not hasattr(model, "generate"):
        raise ModelError(f"A {type(model).__name__} does not generate text.")
    from hfnb.engines.torch_engine import TorchEngine
    from hfnb.engines.torch_model import wrap

    name = getattr(model, "name_or_path", "") or type(model).__name__
    return TorchEngine(wrap(model, pipeline.tokenizer, name, checked)), _told(pipeline)


def _told(pipeline: Any) -> dict[str, Any]:
    """Return the generation options in which a pipeline differs from what nobody has set."""
    config: Any = getattr(pipeline, "generation_config", pipeline.model.generation_config)
    of_pipeline = getattr(pipeline, "_default_generation_config", None)
    of_model = pipeline.model.generation_config
    told: dict[str, Any] = {}
    for name in GENERATION_OPTIONS - {"cache_implementation", "cache_config"}:
        value = getattr(config, name, None)
        known = (getattr(of_pipeline, name, None), getattr(of_model, name, None))
        if value is not None and value not in (*known, _DEFAULTS.get(name)):
            told[name] = value
    if told.get("do_sample") is not False and told.keys() & _SAMPLING and config.do_sample:
        told["do_sample"] = True
        told["temperature"] = config.temperature
    for name, value in getattr(pipeline, "_forward_params", {}).items():
        if name in GENERATION_OPTIONS:
            told[name] = value
    shape = getattr(pipeline, "_postprocess_params", {}).get("return_type")
    if getattr(shape, "name", "") == "FULL_TEXT":
        told["return_full_text"] = True
    return told
