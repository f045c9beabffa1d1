"""What a model's folder holds, as a short string that changes when the model does.

A snapshot in the HF cache is known by its commit. Any other folder is known by the content of the
files that decide what the model answers. Reading gigabytes at each load would be slow, so the hash
of a file is remembered beside its size, times and inode, and the file is read again when one of
them changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hfnb.engines import openvino_cache
from hfnb.weights import weight_files

_COMMIT = re.compile("[0-9a-f]{40}")
_WITH_WEIGHTS = ("*.json", "*.txt", "*.jinja", "*.model", "*.spm", "*.tiktoken", "*.codes")
"""What else decides an answer: the config, the tokenizer, and the chat template."""
_EXPORTED = "openvino*_model.*"
_LARGE = 1_000_000_000
"""Bytes of a file that takes seconds to read."""
_TICK_S = 2.0
"""A file written this short before its hash was taken may change again with the same times."""


def commit_of(folder: Path) -> tuple[str, str] | None:
    """Return the Hub id and the commit of a snapshot in the HF cache; ``None`` of another folder.

    Example:
        >>> commit_of(Path("/hf/hub/models--openai--gpt2/snapshots") / ("0" * 40))[0]
        'openai/gpt2'
        >>> commit_of(Path("/home/me/gpt2")) is None
        True
    """
    repository = folder.parent.parent.name
    if folder.parent.name != "snapshots" or not _COMMIT.fullmatch(folder.name):
        return None
    kind, _, name = repository.partition("--")
    return (name.replace("--", "/"), folder.name) if kind == "models" and name else None


def identity_of(
    folder: Path,
    *,
    with_code: bool = False,
    with_weights: bool = True,
    reading: Callable[[Path], None] = lambda _file: None,
) -> str:
    """Return a string that is the same for the same model, and another for another one.

    Args:
        folder: Where the model lies.
        with_code: Whether the folder's Python files count too.
        with_weights: Whether its weights count; a tokenizer does not depend on them.
        reading: Called with each file that is about to be read and takes seconds to read.
    """
    commit = commit_of(folder)
    if commit is not None:
        return "@".join(commit)
    patterns = (*_WITH_WEIGHTS, "additional_chat_templates/*", *(["*.py"] if with_code else []))
    files = {file for pattern in patterns for file in folder.glob(pattern) if file.is_file()}
    if with_weights:
        files |= {*weight_files(folder), *folder.glob(_EXPORTED)}
    hashes = _hashes(folder.resolve(), sorted(files), reading)
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()


def _hashes(folder: Path, files: list[Path], reading: Callable[[Path], None]) -> dict[str, str]:
    """Return the files' hashes by their names, from memory where they can't have changed."""
    place = openvino_cache.root() / "sources"
    memory = place / f"{hashlib.sha256(os.fsencode(folder)).hexdigest()[:24]}.json"
    known = _remembered(memory)
    found: dict[str, list[Any]] = {}
    for file in files:
        name, began = file.name, time.time()
        stamp = _stamp(file)
        before = known.get(name)
        if before is not None and before[:-2] == stamp and max(stamp[1:3]) < before[-2]:
            found[name] = before
            continue
        if stamp[0] > _LARGE:
            reading(file)
        settled = int((began - _TICK_S) * 1e9)
        found[name] = [*stamp, settled, _hash(file)]
    if found != known:
        with contextlib.suppress(OSError):  # it only saves time
            openvino_cache.write_json(memory, found)
    return {name: str(each[-1]) for name, each in found.items()}


def _remembered(memory: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {
        name: each
        for name, each in (known.items() if isinstance(known, dict) else ())
        if isinstance(each, list) and len(each) == len(("size", "m", "c", "inode", "time", "hash"))
    }


def _stamp(file: Path) -> list[int]:
    """Return what changes when a file is written or replaced, even if its mtime is set back."""
    status = file.stat()
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]


def _hash(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
