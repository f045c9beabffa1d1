"""The options of loading and generating: their names, their types, their ranges."""

from __future__ import annotations

import math
import numbers
from collections.abc import Iterable, Mapping
from typing import Any

from hfnb.errors import OptionError, closest


class _FrozenDict(dict[Any, Any]):
    """A dictionary that can be hashed, and so must not be changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def freeze(value: Any) -> Any:
    """Return a value in which lists are tuples and dictionaries can be hashed, all the way down."""
    if isinstance(value, (list, tuple)):
        return tuple(freeze(each) for each in value)
    if isinstance(value, dict):
        return _FrozenDict({freeze(name): freeze(each) for name, each in value.items()})
    return value


def is_whole(value: object) -> bool:
    """Whether it is an int, of Python's own or numpy's."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a number, of Python's own or numpy's."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


# The options of transformers' GenerationConfig that change what is generated (a test compares
# them with the installed transformers). What only changes the form of generate's return value,
# or how it runs, is hfnb's own business.
GENERATION_OPTIONS = frozenset(
    """
    max_length max_new_tokens min_length min_new_tokens early_stopping max_time do_sample num_beams
    temperature top_k top_p min_p top_h typical_p epsilon_cutoff eta_cutoff repetition_penalty
    encoder_repetition_penalty length_penalty no_repeat_ngram_size bad_words_ids renormalize_logits
    forced_bos_token_id forced_eos_token_id remove_invalid_values exponential_decay_length_penalty
    suppress_tokens begin_suppress_tokens sequence_bias token_healing guidance_scale
    watermarking_config num_return_sequences pad_token_id bos_token_id eos_token_id
    encoder_no_repeat_ngram_size decoder_start_token_id cache_implementation cache_config
    """.split()
)
INTERNAL_OPTIONS = frozenset(
    """
    use_cache output_attentions output_hidden_states output_scores output_logits
    return_dict_in_generate is_assistant num_assistant_tokens num_assistant_tokens_schedule
    assistant_confidence_threshold prompt_lookup_num_tokens max_matching_ngram_size
    assistant_early_exit assistant_lookbehind target_lookbehind compile_config disable_compile
    continuous_batching_config low_memory penalty_alpha dola_layers diversity_penalty
    num_beam_groups constraints force_words_ids prefill_chunk_size transformers_version stop_strings
    """.split()
)
LOAD_OPTIONS = frozenset(
    """
    attn_implementation cache_dir code_revision device device_map dtype force_download key_mapping
    load_in_4bit load_in_8bit local_files_only low_cpu_mem_usage max_memory offload_buffers
    offload_folder offload_state_dict ov_config proxies quantization_config reproducible revision
    state_dict subfolder token torch_dtype tp_plan tp_size trust_remote_code use_auth_token
    use_safetensors variant weight_format weights_only
    """.split()
)
"""The arguments of transformers' ``from_pretrained``, as far as they are not hfnb's business."""
PROMPT_OPTIONS = frozenset({"src_lang", "tgt_lang", "truncation"})
"""How the prompt is read: the languages of a translation, and what is done when it is too long."""
CALL_OPTIONS = GENERATION_OPTIONS | PROMPT_OPTIONS | {"stop", "seed"}
"""Every option that a caller may give to one call."""
TEXT_OPTIONS = frozenset({"return_full_text", "skip_prompt"})
"""What LangChain's users may say about the form of the text, among the generation options."""
_OTHER_NAMES = {
    "batch_size": "batch_size=... of hfnb.load or from_model_id",
    "max_tokens": "'max_new_tokens'",
    "max_output_tokens": "'max_new_tokens'",
    "max_gen_len": "'max_new_tokens'",
    "n": "'num_return_sequences'",
    "stop_sequence": "'stop'",
    "stop_sequences": "'stop'",
    "random_seed": "'seed'",
}
"""What other libraries call some options."""
_WHOLE_FROM = {
    "max_new_tokens": 1,
    "max_length": 1,
    "min_new_tokens": 0,
    "min_length": 0,
    "num_beams": 1,
    "num_return_sequences": 1,
    "top_k": 0,
    "no_repeat_ngram_size": 0,
    "encoder_no_repeat_ngram_size": 0,
    "seed": 0,
}
_SHARE = ("top_p", "top_h", "typical_p")
_POSITIVE = ("repetition_penalty", "encoder_repetition_penalty")
_FINITE = ("length_penalty", "guidance_scale", "max_time", "epsilon_cutoff", "eta_cutoff")
_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
_FLAGS = ("do_sample", "renormalize_logits", "remove_invalid_values", "token_healing")


def check_option(name: str, value: Any) -> Any:
    """Check one generation option's type and range; return it, with lists made tuples."""
    if value is None:
        return None
    if name in _WHOLE_FROM:
        least = _WHOLE_FROM[name]
        if not is_whole(value) or value < least:
            raise OptionError(f"{name} is a whole number, {least} or more; not {value!r}.")
        return int(value)
    if name == "temperature":
        if not is_number(value) or not 0 <= value < float("inf"):
            raise OptionError(
                f"temperature is a number, 0 or more; not {value!r}. 0 always takes the likeliest "
                "token, 1 samples from the model's own distribution."
            )
        return float(value)
    if name in _SHARE:
        if not is_number(value) or not 0 < value <= 1:
            raise OptionError(f"{name} is a share, above 0 and at most 1; not {value!r}.")
        return float(value)
    if name == "min_p":
        if not is_number(value) or not 0 <= value <= 1:
            raise OptionError(f"min_p is a share, 0 (off) to 1; not {value!r}.")
        return float(value)
    if name in _POSITIVE:
        if not is_number(value) or not 0 < value < float("inf"):
            raise OptionError(f"{name} is a number above 0; not {value!r}.")
        return float(value)
    if name in _FINITE:
        if not is_number(value) or not math.isfinite(value):
            raise OptionError(f"{name} is a number; not {value!r}.")
        return float(value)
    if name in _TOKENS:
        ids = value if isinstance(value, (list, tuple)) else [value]
        if not ids or not all(is_whole(each) and each >= 0 for each in ids):
            raise OptionError(f"{name} is a token's number, or a list of them; not {value!r}.")
        return int(value) if ids is not value else tuple(map(int, ids))
    if name in ("src_lang", "tgt_lang"):
        if not isinstance(value, str) or not value:
            raise OptionError(f"{name} is a language's code, such as 'fr'; not {value!r}.")
        return value
    if name == "truncation":
        if value not in (False, True, "error", "value"):
            raise OptionError(
                f"truncation is 'error' or 'value'; not {value!r}. 'value' takes tokens out of "
                "the middle of a prompt that is too long, so that its beginning and end stay."
            )
        return "value" if value in (True, "value") else "error"
    if name in _FLAGS and not isinstance(value, bool):
        raise OptionError(f"{name} is True or False; not {value!r}.")
    return freeze(value)


def unknown_option(name: str, known: Iterable[str]) -> OptionError:
    """Return the error for a name that is no option, with the one that was probably meant."""
    other = _OTHER_NAMES.get(name)
    hint = f" Did you mean {other}?" if other else closest(name, known)
    return OptionError(f"Unknown option {name!r}.{hint}")


def check_stop(stop: Any) -> tuple[str, ...]:
    """Return stop strings as a tuple; take one string or several."""
    strings = (stop,) if isinstance(stop, str) else stop
    if not isinstance(strings, Iterable):
        raise OptionError(f"stop is a string or a list of strings; not {stop!r}.")
    strings = tuple(strings)
    for each in strings:
        if not isinstance(each, str) or not each:
            raise OptionError(f"stop holds strings that are not empty; not {each!r}.")
    return strings


def split_options(
    options: Mapping[str, Any], own: Iterable[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keyword arguments into those named in ``own`` and the generation options.

    Raises:
        OptionError: A name is neither, with the closest of both.
    """
    own = tuple(own)
    mine = {k: v for k, v in options.items() if k in own}
    rest = {k: v for k, v in options.items() if k not in own}
    for name in rest:
        if name not in CALL_OPTIONS and name not in INTERNAL_OPTIONS:
            raise unknown_option(name, (*own, *CALL_OPTIONS))
    return mine, rest


def split_model_kwargs(options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split what LangChain calls ``model_kwargs`` into options of loading and of generating.

    Raises:
        OptionError: A name is neither, with the closest one.
    """
    generating = CALL_OPTIONS | INTERNAL_OPTIONS | TEXT_OPTIONS
    for name in options:
        if name not in LOAD_OPTIONS and name not in generating:
            raise unknown_option(name, (*LOAD_OPTIONS, *CALL_OPTIONS, *TEXT_OPTIONS))
    load = {name: value for name, value in options.items() if name in LOAD_OPTIONS}
    return load, {name: value for name, value in options.items() if name in generating}


def check_call_options(options: Mapping[str, Any]) -> None:
    """Refuse options of loading among those of generating: there they come too late.

    Raises:
        OptionError: One is there, or a name is neither, with the closest one.
    """
    load, _ = split_model_kwargs(options)
    if load:
        raise OptionError(
            f"{', '.join(load)} says how a model is loaded, and this one is in memory already. "
            "Give it to hfnb.load, or to from_model_id in model_kwargs."
        )
