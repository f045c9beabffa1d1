"""Random writers: texts that a grammar lets through, by a vocabulary of characters."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import xgrammar

from hfnb.engines.grammar_text import grammar_text
from hfnb.spec import Grammar

_WORDS = ["true", "null", '": ', '", "', "foo", "bar", '{"', '"}', "12", "00", "1e", "\\u", "\\n"]
_CHARACTERS = [chr(code) for code in range(32, 127)] + ["\n", "é", "你", "🎈", "\x01"]
VOCABULARY = [each.encode() for each in _CHARACTERS + _WORDS]
VOCABULARY += [bytes([each]) for each in range(128, 256)]  # and pieces of characters
_END = len(VOCABULARY)
_LIKELY = [i for i, each in enumerate(VOCABULARY) if each in (b'"', b"}", b"]", b'"}', b'": ')]


def compiled(grammar: Grammar) -> Any:
    """Compile a grammar as PyTorch's engine does."""
    info = xgrammar.TokenizerInfo(
        [*VOCABULARY, b""], xgrammar.VocabType.RAW, stop_token_ids=[_END], vocab_size=_END + 1
    )
    compiler = xgrammar.GrammarCompiler(info, max_threads=1, cache_enabled=False)
    return compiler.compile_grammar(grammar_text(grammar))


def texts(grammar: Any, count: int, seed: int, most: int = 200) -> Iterator[str]:
    """Yield what a random writer has finished, of so many tries."""
    rng = random.Random(seed)
    mask = torch.zeros((1, (_END + 32) // 32), dtype=torch.int32)
    for _ in range(count):
        matcher, written = xgrammar.GrammarMatcher(grammar), b""
        for _ in range(most):
            matcher.fill_next_token_bitmask(mask)
            bits = np.unpackbits(mask.numpy().view(np.uint8), bitorder="little")
            allowed = np.flatnonzero(bits[: _END + 1]).tolist()
            likely = [i for i in _LIKELY if bits[i]]
            token = rng.choice(likely if likely and rng.random() < 0.5 else allowed)
            if bits[_END] and rng.random() < 0.3:
                token = _END
            if not matcher.accept_token(token):
                break
            if token == _END:
                yield written.decode("utf-8", "replace")
                break
            written += VOCABULARY[token]
