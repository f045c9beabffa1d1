"""Wrap a ``transformers.pipeline`` that exists: its model, and how it was told to generate."""

from __future__ import annotations

from typing import Any

from hfnb.engines.base import Engine
from hfnb.errors import ModelError, OptionError
from hfnb.options import GENERATION_OPTIONS
from hfnb.spec import check_task, languages_of

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
        The engine, and what the pipeline was told: the options of generating, and ``batch_size``.
        transformers' own default, to sample at 0.7, is nobody's wish and is left out: greedy is
        hfnb's default.

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
    checked = check_task(task)
    if checked is None:
        raise OptionError("The pipeline does not say its task.")
    model = pipeline.model
    if not hasattr(model, "generate"):
        raise ModelError(f"A {type(model).__name__} does not generate text.")
    from hfnb.engines.torch_engine import TorchEngine
    from hfnb.engines.torch_model import wrap

    _refuse_what_has_no_place(pipeline)
    name = getattr(model, "name_or_path", "") or type(model).__name__
    loaded = wrap(model, pipeline.tokenizer, name, checked, languages=languages_of(task))
    return TorchEngine(loaded), _told(pipeline)


_NO_PLACE = {
    "stopping_criteria": "stop=[...] ends answers at strings, max_time after seconds",
    "logits_processor": "generation options such as bad_words_ids or sequence_bias may do the same",
    "assistant_model": "load the model itself; hfnb computes rows together instead",
    "streamer": "use llm.stream",
    "prefix": "put it into the prompt template",
}
"""Settings of a pipeline that hfnb's own generation has no place for, and what to do instead."""


def _refuse_what_has_no_place(pipeline: Any) -> None:
    told = {
        **getattr(pipeline, "_preprocess_params", {}),
        **getattr(pipeline, "_forward_params", {}),
    }
    if getattr(pipeline, "assistant_model", None) is not None:
        told["assistant_model"] = pipeline.assistant_model
    for name, instead in _NO_PLACE.items():
        if told.get(name):
            raise OptionError(
                f"The pipeline was made with {name}, which hfnb can't follow when it generates. "
                f"Make it without, and {instead}."
            )


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
    forward = getattr(pipeline, "_forward_params", {})
    for name, value in forward.items():
        if name in GENERATION_OPTIONS:
            told[name] = value
    stop = forward.get("stop_strings") or getattr(config, "stop_strings", None)
    if stop:
        told["stop"] = [stop] if isinstance(stop, str) else list(stop)
    if getattr(pipeline, "_preprocess_params", {}).get("truncation"):
        told["truncation"] = "value"
    if (rows := getattr(pipeline, "_batch_size", None)) is not None:
        told["batch_size"] = rows
    shape = getattr(pipeline, "_postprocess_params", {}).get("return_type")
    if getattr(shape, "name", "") == "FULL_TEXT":
        told["return_full_text"] = True
    return told
