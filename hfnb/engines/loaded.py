"""Which engines hold a model in memory: those that were loaded, and neither closed nor let go."""

from __future__ import annotations

import threading
import weakref

from hfnb.engines.base import Engine

_engines: weakref.WeakSet[Engine] = weakref.WeakSet()
_lock = threading.Lock()


def remember(engine: Engine) -> None:
    """Note that an engine has loaded a model. It is forgotten when nothing uses it any more."""
    with _lock:
        _engines.add(engine)


def forget(engine: Engine) -> None:
    """Note that an engine has given its model's memory back."""
    with _lock:
        _engines.discard(engine)


def engines() -> list[Engine]:
    """Return the engines that hold a model, the largest first."""
    with _lock:
        found = list(_engines)
    return sorted(found, key=lambda each: (-each.info.weight_bytes, each.info.model))
