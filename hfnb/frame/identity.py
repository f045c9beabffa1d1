"""What an answer depends on: the model, how it generates, and the prompt.

Two calls that agree in all of this get the same answer, so it is the journal's key.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from hfnb.engines.base import Engine, Prompt
from hfnb.spec import DEFAULT_MAX_NEW_TOKENS, GenerationSpec

DIGEST = 16
"""Bytes of a hash: two different prompts out of 10**12 have the same with a chance of 10**-15."""
_VERSION = 1
_PROBE = "The quick brown fox, 0123456789: «ça» Straße 你好 🎈\n\t{x}"
"""A text whose tokens show the tokenizer, and what the task puts around texts."""


def repeats(generation: GenerationSpec) -> bool:
    """Whether the same prompt gets the same answer: greedy or seeded, and without a time limit."""
    return generation.repeats and generation.get("max_time") is None


def context_of(
    engine: Engine, fingerprint: str, generation: GenerationSpec
) -> dict[str, Any] | None:
    """Return what answers depend on beside their prompts; ``None`` where that can't be told.

    Args:
        engine: The model.
        fingerprint: What tells it from any other; see `hfnb.engines.base.Engine`.
        generation: How it generates.
    """
    if not repeats(generation) or not fingerprint:
        return None
    info = engine.info
    return {
        "version": _VERSION,
        "model": info.model,
        "fingerprint": fingerprint,
        "task": info.task,
        "backend": info.backend,
        "device": info.device.partition(":")[0],
        "dtype": info.dtype,
        "note": info.note,
        "chat_template": _hash(info.chat_template.encode()).hex(),
        "tokenizer": _hash(json.dumps(engine.token_ids(_PROBE)).encode()).hex(),
        "options": {name: plain(value) for name, value in generation.as_dict().items()},
        "in_force": {
            "max_new_tokens": DEFAULT_MAX_NEW_TOKENS,
            **{name: plain(v) for name, v in engine.options_in_force(generation).items()},
        },
        "keep_tokens": list(generation.keep_tokens),
    }


def context_key(context: dict[str, Any]) -> bytes:
    """Return the hash of a context. What a person calls the model does not count."""
    counted = {name: value for name, value in context.items() if name != "model"}
    return _hash(json.dumps(counted, sort_keys=True).encode())


def prompt_key(prompt: Prompt) -> bytes | None:
    """Return the hash of a prompt; ``None`` for messages with parts that can't be written down."""
    if isinstance(prompt, str):
        return _hash(b"text:" + prompt.encode("utf-8", "surrogatepass"))
    messages = [(each.role, each.content, dict(each.fields)) for each in prompt.messages]
    parts = [messages, [dict(each) for each in prompt.tools], dict(prompt.options), prompt.prefill]
    try:
        return _hash(b"chat:" + json.dumps(parts, sort_keys=True).encode())
    except (TypeError, ValueError):
        return None


def _hash(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=DIGEST).digest()


def plain(value: Any) -> Any:
    """Return a value that JSON has; what it has not, by its text."""
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): plain(each) for name, each in value.items()}
    return value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
