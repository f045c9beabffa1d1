"""What a call's options are for OpenVINO GenAI, and which it does not have."""

from __future__ import annotations

import hashlib
import importlib.util
import secrets
from collections.abc import Mapping
from typing import Any

import openvino_genai

from hfnb.engines.row import Row
from hfnb.errors import MissingExtraError, OptionError
from hfnb.spec import GenerationSpec, Grammar

_TAKEN = frozenset(
    "max_new_tokens max_length min_new_tokens temperature do_sample top_k top_p min_p "
    "repetition_penalty no_repeat_ngram_size pad_token_id bos_token_id eos_token_id".split()
)
_PASSED = ("top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram_size")
_NEUTRAL: dict[str, Any] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "length_penalty": 1.0,
    "early_stopping": False,
    "min_length": 0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "renormalize_logits": False,
    "typical_p": 1.0,
}
"""Values with which an option does nothing."""


def not_taken(options: Mapping[str, Any]) -> list[str]:
    """Return the options that do something which OpenVINO GenAI does not have."""
    return sorted(
        name
        for name, value in options.items()
        if name not in _TAKEN and _NEUTRAL.get(name) != value
    )


class GenAISettings:
    """How the rows of one call are generated; see `hfnb.engines.call.Settings`.

    Args:
        generation: How to generate.
        options: The generation options in force.

    Raises:
        OptionError: The grammar is of a kind that OpenVINO GenAI does not take.
    """

    def __init__(self, generation: GenerationSpec, options: Mapping[str, Any]) -> None:
        self._generation = generation
        self._options = options
        self._structure = None
        if generation.grammar is not None:
            self._structure = _structure(generation.grammar)

    def state_of(self, row: Row) -> None:
        """Return nothing: OpenVINO GenAI keeps what a row needs."""

    def config_of(self, row: Row) -> Any:
        """Return a row's generation config."""
        options, generation = self._options, self._generation
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = row.most_new
        if row.call.eos_ids:
            config.stop_token_ids = set(row.call.eos_ids)
        else:
            config.ignore_eos = True
        config.min_new_tokens = int(options.get("min_new_tokens") or 0)
        for name in _PASSED:
            if options.get(name):
                setattr(config, name, options[name])
        if generation.sampling:
            config.do_sample = True
            config.temperature = generation.temperature
            config.rng_seed = _seed_of(row, generation.seed)
        if self._structure is not None:
            config.structured_output_config = self._structure
        return config


def _seed_of(row: Row, seed: int | None) -> int:
    """Return a row's own seed, by the call's, its prompt and its copy number."""
    if seed is None:
        return secrets.randbits(32)
    text = f"{seed}:{row.copy}:{','.join(map(str, row.prompt_ids))}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")


def _structure(grammar: Grammar) -> Any:
    """Return a grammar as OpenVINO GenAI takes it: an EBNF, which xgrammar makes of any kind.

    Given a JSON schema itself, it allows free white space, which an undecided model writes for
    ever.

    Raises:
        MissingExtraError: xgrammar is not installed.
        OptionError: The grammar can't be compiled.
    """
    if grammar.kind == "ebnf":
        return openvino_genai.StructuredOutputConfig(grammar=grammar.text)
    if importlib.util.find_spec("xgrammar") is None:
        raise MissingExtraError(
            "Grammars (JSON schemas, regular expressions, structural tags) need the package "
            'xgrammar. Install it with: pip install "hfnb[structured]"'
        )
    import xgrammar

    try:
        if grammar.kind == "json_schema":
            made = xgrammar.Grammar.from_json_schema(grammar.text, any_whitespace=False)
        elif grammar.kind == "regex":
            made = xgrammar.Grammar.from_regex(grammar.text)
        else:
            made = xgrammar.Grammar.from_structural_tag(grammar.text)
    except Exception as error:  # xgrammar's own, of several kinds
        raise OptionError(
            f"The {grammar.kind.replace('_', ' ')} can't be compiled: {error}"
        ) from error
    return openvino_genai.StructuredOutputConfig(grammar=str(made))
