"""How fast the backends answered the same rows on this machine, kept for later sessions.

`hfnb.compare` and `hfnb.recommend` write it; loading reads it, to say what would be faster.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import platformdirs

from hfnb.hardware import processor_name

_MOST = 200
"""Models that are kept, the latest ones."""


class Measured(NamedTuple):
    """How OpenVINO compared with PyTorch."""

    factor: float
    """Rows a second with OpenVINO, over those with PyTorch."""
    when: str
    """The day it was measured."""


def remember(model: str, rows_per_s: Mapping[str, float]) -> None:
    """Keep the speeds of a model's backends, measured with the same rows.

    Args:
        model: What `hfnb.load` takes.
        rows_per_s: Rows answered in a second, by backend.

    A file that can't be written is no reason to fail: nothing is kept then.
    """
    every = _read()
    every.pop(_key(model), None)
    every[_key(model)] = {**rows_per_s, "when": datetime.date.today().isoformat()}
    latest = dict(list(every.items())[-_MOST:])
    with contextlib.suppress(OSError):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=file.parent, prefix=file.name)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            json.dump(latest, out, indent=1)
        Path(part).replace(file)


def openvino_factor(model: str) -> Measured | None:
    """Return how OpenVINO compared with PyTorch; ``None`` where both were not measured here."""
    found = _read().get(_key(model), {})
    torch, openvino = found.get("pytorch"), found.get("openvino")
    if not (isinstance(torch, (int, float)) and isinstance(openvino, (int, float)) and torch > 0):
        return None
    return Measured(openvino / torch, str(found.get("when", "an earlier day")))


def _file() -> Path:
    return Path(platformdirs.user_cache_dir("hfnb")) / "speeds.json"


def _key(model: str) -> str:
    """Return what tells a model on this processor: homes are shared between machines."""
    return f"{model} on {processor_name()}"


def _read() -> dict[str, dict[str, Any]]:
    try:
        every = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(every, dict):
        return {}
    return {name: found for name, found in every.items() if isinstance(found, dict)}
