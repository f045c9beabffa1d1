"""Which engines hold a model in memory: those that were loaded, and neither closed nor let go.

And how one is pickled: as what it was loaded by.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable

from hfnb.engines.base import Engine
from hfnb.errors import ModelError
from hfnb.spec import ModelSpec

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


def reload(
    name: str, spec: ModelSpec | None
) -> tuple[Callable[[ModelSpec], Engine], tuple[ModelSpec]]:
    """Return what pickles an engine: how it was loaded, not its weights.

    Args:
        name: The model's name.
        spec: What it was loaded by; ``None`` for one that was in memory already.

    Raises:
        ModelError: It was wrapped, so that nothing tells how to load it.
    """
    if spec is None:
        raise ModelError(
            f"{name!r} was wrapped, not loaded by its name, so that it can't be pickled. Load it "
            "with hfnb.load, or from_model_id."
        )
    from hfnb.engines.registry import load_engine

    return load_engine, (spec,)
