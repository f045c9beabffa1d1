"""What the parts in a folder were made with, and whether a call asks for the same."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hfnb.errors import OptionError
from hfnb.frame.job import Job

FORMAT = 1
_SHOWN = 60
"""Characters of a value that a message shows."""


def what_decides(job: Job, manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a part's outputs depend on beside its rows, by names that a person knows."""
    model = {name: manifest["model"][name] for name in ("name", "fingerprint", "backend", "dtype")}
    prompt = {name: value for name, value in manifest["prompt"].items() if name != "columns"}
    # The steps behind a chain's model; an object's address is another one each time.
    after = repr(getattr(job.after, "__self__", job.after))
    return {
        "model": model.pop("name"),
        **model,
        "prompt": prompt.pop("template"),
        **prompt,
        **manifest["options"],
        "chain": re.sub(r" at 0x[0-9a-fA-F]+", "", after),
        "into": job.into,
        **({} if manifest["schema"] is None else {"schema": manifest["schema"]}),
    }


def read_manifest(out: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Return what the parts in a folder were made with; ``None`` where there are none.

    Raises:
        OptionError: The folder's manifest can't be read.
    """
    path = Path(out) / "_hfnb" / "run.json"
    if not path.exists():
        return None
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        known = manifest["format"] == FORMAT and isinstance(manifest["what"], dict)
    except (ValueError, KeyError, TypeError):
        known = False
    if not known:
        raise OptionError(
            f"{str(path)!r} was written by another version of hfnb, or is damaged. Choose another "
            "folder (out=...)."
        )
    return manifest


def same_source(manifest: Mapping[str, Any], identity: Sequence[Any]) -> bool:
    """Whether a source's files are those that the parts were made from, by size and time."""
    return bool(identity) and manifest["source"]["identity"] == list(identity)


def check_same(folder: Path, there: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that parts are what a call would make.

    Raises:
        OptionError: What differs.
    """
    differs = [
        f"{name} was {_short(name, there)} and is {_short(name, now)}"
        for name in dict.fromkeys([*there, *now])
        if there.get(name) != now.get(name)
    ]
    if differs:
        raise OptionError(
            f"The folder {str(folder)!r} holds parts of another run: {'; '.join(differs)}. Choose "
            "another folder (out=...), delete this one to begin again, or call with what was."
        )


def _short(name: str, values: Mapping[str, Any]) -> str:
    text = repr(values[name]) if name in values else "not set"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
