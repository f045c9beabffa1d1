"""What a call's options are for OpenVINO GenAI, and which it does not have.

Options mean what they mean to transformers, but for one: with both ``top_p`` and ``top_k``, GenAI
takes the share of ``top_p`` from all tokens and then the ``top_k`` likeliest of these, where
transformers takes the ``top_k`` first.
"""

from __future__ import annotations

import dataclasses
import hashlib
import secrets
from collections.abc import Mapping
from typing import Any

import openvino_genai

from hfnb.engines.grammar_text import grammar_text
from hfnb.engines.row import Row
from hfnb.spec import GenerationSpec

_TAKEN = frozenset(
    "max_new_tokens max_length min_new_tokens temperature do_sample top_k top_p min_p "
    "repetition_penalty pad_token_id bos_token_id eos_token_id cache_implementation "
    "cache_config".split()
)
"""Options that GenAI has, and those of transformers' caches, which change no answer."""
_OF_BEAMS = frozenset("length_penalty early_stopping renormalize_logits".split())
"""Options that change nothing where there is one beam."""
_PASSED = ("top_k", "top_p", "min_p", "repetition_penalty")
_NEUTRAL: dict[str, Any] = {
    "num_beams": 1,
    "num_return_sequences": 1,
    "min_length": 0,
    "no_repeat_ngram_size": 0,
    "encoder_repetition_penalty": 1.0,
    "encoder_no_repeat_ngram_size": 0,
    "remove_invalid_values": False,
    "token_healing": False,
    "guidance_scale": 1.0,
    "typical_p": 1.0,
    "top_h": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
}
"""Values with which an option does nothing."""


def not_taken(options: Mapping[str, Any]) -> list[str]:
    """Return the options that do something which OpenVINO GenAI does not have.

    Its ``no_repeat_ngram_size`` counts for beams alone: without them it would be passed over.
    """
    taken = _TAKEN if (options.get("num_beams") or 1) > 1 else _TAKEN | _OF_BEAMS
    return sorted(
        name for name, value in options.items() if name not in taken and not _is_off(name, value)
    )


def _is_off(name: str, value: Any) -> bool:
    return name in _NEUTRAL and bool(_NEUTRAL[name] == value)


@dataclasses.dataclass
class PagedState:
    """What is kept for a row: a row that is tried again must come out the same."""

    seed: int
    blocks: list[int] | None = None
    """Numbers of its prompt's blocks; see `hfnb.engines.openvino_paged.Beginnings`."""

    def accept(self, token: int) -> None:
        """Do nothing: OpenVINO GenAI keeps the tokens."""

    def restart(self) -> None:
        """Do nothing: the seed stays."""


class GenAISettings:
    """How the rows of one call are generated; see `hfnb.engines.call.Settings`.

    Args:
        generation: How to generate.
        options: The generation options in force.

    Raises:
        OptionError: The grammar can't be compiled, or asks for what OpenVINO GenAI does not have.
        MissingExtraError: The grammar needs xgrammar.
    """

    def __init__(self, generation: GenerationSpec, options: Mapping[str, Any]) -> None:
        self._generation = generation
        self._options = options
        self._structure = None
        if generation.grammar is not None:
            text = grammar_text(generation.grammar)
            self._structure = openvino_genai.StructuredOutputConfig(grammar=text)
        self._made: dict[int, Any] = {}
        """Configs by the most new tokens: without a seed, rows have them in common."""

    def state_of(self, row: Row) -> PagedState:
        """Return what is kept for a row."""
        return PagedState(_seed_of(row, self._generation.seed) if self._generation.sampling else 0)

    def config_of(self, row: Row) -> Any:
        """Return a row's generation config, which OpenVINO GenAI copies."""
        if not self._generation.sampling:
            if row.most_new not in self._made:
                self._made[row.most_new] = self._config(row)
            return self._made[row.most_new]
        assert isinstance(row.state, PagedState)
        config = self._config(row)
        config.do_sample = True
        config.temperature = self._generation.temperature
        config.rng_seed = row.state.seed
        return config

    def _config(self, row: Row) -> Any:
        """Make a config for greedy decoding."""
        options = self._options
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens = row.most_new
        if row.call.eos_ids:
            config.stop_token_ids = set(row.call.eos_ids)
        else:
            config.ignore_eos = True
        config.min_new_tokens = min(int(options.get("min_new_tokens") or 0), row.most_new)
        for name in _PASSED:
            if options.get(name):
                setattr(config, name, options[name])
        if self._structure is not None:
            config.structured_output_config = self._structure
        return config


def _seed_of(row: Row, seed: int | None) -> int:
    """Return a row's own seed, by the call's, its prompt and its copy number."""
    if seed is None:
        return secrets.randbits(32)
    text = f"{seed}:{row.copy}:{','.join(map(str, row.prompt_ids))}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")
