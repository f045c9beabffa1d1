"""What a call's options are for OpenVINO GenAI, and which it does not have.

Options mean what they mean to transformers, but for one: with both ``top_p`` and ``top_k``, GenAI
takes the share of ``top_p`` from all tokens and then the ``top_k`` likeliest of these, where
transformers takes the ``top_k`` first.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import re
import secrets
from collections.abc import Iterator, Mapping
from typing import Any

import openvino_genai

from hfnb.engines.grammar_schema import need_xgrammar, reason_of, safe_schema, safe_tag
from hfnb.engines.row import Row
from hfnb.errors import OptionError
from hfnb.spec import GenerationSpec, Grammar

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

    def state_of(self, row: Row) -> PagedState:
        """Return what is kept for a row."""
        return PagedState(_seed_of(row, self._generation.seed) if self._generation.sampling else 0)

    def config_of(self, row: Row) -> Any:
        """Return a row's generation config."""
        options, generation = self._options, self._generation
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
        if generation.sampling:
            assert isinstance(row.state, PagedState)
            config.do_sample = True
            config.temperature = generation.temperature
            config.rng_seed = row.state.seed
        if self._structure is not None:
            config.structured_output_config = self._structure
        return config


def _seed_of(row: Row, seed: int | None) -> int:
    """Return a row's own seed, by the call's, its prompt and its copy number."""
    if seed is None:
        return secrets.randbits(32)
    text = f"{seed}:{row.copy}:{','.join(map(str, row.prompt_ids))}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little")


# --- grammars ---------------------------------------------------------------------------------

_PIECE = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*")|\[(?P<set>(?:[^\]\\]|\\.)*)\]|\{(?P<least>\d+), -1\}'
    r"|(?P<name>[A-Za-z_]\w*)"
)
"""The pieces of a grammar as xgrammar writes it, as far as they matter here."""
_REGEX = re.compile(r'^(\w+) ::= Regex\(("(?:[^"\\]|\\.)*"), json_string=true\)$', re.MULTILINE)
_OF_JSON = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
"""What can't stand in a JSON string as it is: control characters, the quote, the backslash."""
_ESCAPED = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7, "b": 8, "0": 0, "e": 27}
_CHARACTER = re.compile(
    r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|(.)", re.DOTALL
)


@functools.lru_cache(maxsize=32)
def grammar_text(grammar: Grammar) -> str:
    """Return a grammar as OpenVINO GenAI takes it: an EBNF, which xgrammar makes of any kind.

    Given a JSON schema itself, GenAI allows free white space, which an undecided model writes for
    ever. Its own xgrammar is older than the package, so some things are said in its words.

    Raises:
        MissingExtraError: xgrammar is not installed.
        OptionError: The grammar can't be compiled.
    """
    need_xgrammar()
    import xgrammar

    try:
        if grammar.kind == "ebnf":
            xgrammar.Grammar.from_ebnf(grammar.text)
            return grammar.text
        if grammar.kind == "json_schema":
            schema = json.dumps(safe_schema(json.loads(grammar.text), set()))
            made = xgrammar.Grammar.from_json_schema(schema, any_whitespace=False)
        elif grammar.kind == "regex":
            made = xgrammar.Grammar.from_regex(grammar.text)
        else:
            tag = json.dumps(safe_tag(json.loads(grammar.text), set()))
            made = xgrammar.Grammar.from_structural_tag(tag)
        return _REGEX.sub(_rules_of, _open_ends(str(made)))
    except (RuntimeError, ValueError, TypeError, RecursionError) as error:
        raise OptionError(
            f"The {grammar.kind.replace('_', ' ')} can't be compiled: {reason_of(error)}"
        ) from error


def _open_ends(text: str) -> str:
    """Write a repetition without end as ``{2,}``, where the package writes ``{2, -1}``."""
    return _PIECE.sub(lambda at: f"{{{at['least']},}}" if at["least"] else at[0], text)


def _rules_of(found: re.Match[str]) -> str:
    """Return plain rules for a pattern within a JSON string, for which GenAI has no word.

    Characters that JSON would have to escape are left out.
    """
    import xgrammar

    name, pattern = found[1], "".join(map(chr, _codes(found[2][1:-1])))

    def plain(piece: re.Match[str]) -> str:
        if piece["name"]:
            return f"{name}_of_{piece['name']}"
        if piece["set"] is not None:
            return _json_set(piece["set"], pattern)
        codes = _codes((piece["text"] or "")[1:-1])
        if any(low <= code <= high for code in codes for low, high in _OF_JSON):
            raise _not_in_json(pattern)
        return piece[0]

    rules = _PIECE.sub(plain, _open_ends(str(xgrammar.Grammar.from_regex(pattern))))
    return f"{name} ::= {name}_of_root\n{rules}"


def _codes(text: str) -> Iterator[int]:
    """Yield the characters that a piece of a grammar stands for."""
    for at in _CHARACTER.finditer(text):
        code = at[1] or at[2] or at[3]
        if code:
            yield int(code, 16)
        elif at[4]:
            yield _ESCAPED.get(at[4], ord(at[4]))
        else:
            yield ord(at[5])


def _json_set(inside: str, pattern: str) -> str:
    """Return a set of characters without those that JSON has to escape."""
    if inside.startswith("^"):
        return f'[{inside}\\"\\\\\\0-\\x1f]'
    parts = [at[0] for at in _CHARACTER.finditer(inside)]
    ranges, at = list[tuple[int, int]](), 0
    while at < len(parts):
        (low,) = _codes(parts[at])
        high = low
        if at + 2 < len(parts) and parts[at + 1] == "-":
            (high,) = _codes(parts[at + 2])
            at += 2
        ranges.append((low, high))
        at += 1
    for low, high in _OF_JSON:
        ranges = [
            part
            for first, last in ranges
            for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if part[0] <= part[1]
        ]
    if not ranges:
        raise _not_in_json(pattern)
    return "[" + "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges) + "]"


def _not_in_json(pattern: str) -> ValueError:
    return ValueError(
        f"The pattern {pattern!r} asks for a quotation mark, a backslash or a control character, "
        "which can't stand in a JSON string as it is."
    )
