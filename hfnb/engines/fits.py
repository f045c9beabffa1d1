"""Refuse a model whose weights there is no memory for, before it is loaded; warn of a tight one."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

from hfnb.engines import loaded
from hfnb.errors import ModelError, TightMemoryWarning
from hfnb.hardware import Memory
from hfnb.show import size

TIGHT = 0.85
"""The share of free memory beyond which a model fits only just."""
_anyway: ContextVar[bool] = ContextVar("hfnb_load_anyway", default=False)


@contextlib.contextmanager
def anyway() -> Iterator[None]:
    """Let models be loaded that seem not to fit: a person has seen the figures, and insists."""
    token = _anyway.set(True)
    try:
        yield
    finally:
        _anyway.reset(token)


def check_fits(name: str, weight_bytes: int, memory: Memory) -> None:
    """Refuse a model that does not fit, and name the models in memory that could be unloaded.

    One that fits only just, beside others, is a `TightMemoryWarning` that names them too.

    Args:
        name: What the user called it.
        weight_bytes: Bytes of its weights in memory; what is computed with comes on top.
        memory: What is free where it is to be loaded.

    Raises:
        ModelError: With the figures, and what to do.
    """
    if weight_bytes <= TIGHT * memory.free or _anyway.get():
        return
    limit = f" (by {memory.limit})" if memory.limit else ""
    here = [(each.info.model, each.info.weight_bytes) for each in loaded.engines()]
    unload = ""
    if here:
        shown = " and ".join(f"{model} ({size(count)})" for model, count in here[:3])
        unload = f"In memory is {shown}: hfnb.unload({here[0][0]!r}) gives that back."
    if weight_bytes <= memory.free:
        if here:
            warnings.warn(
                f"{name!r} will be tight: its weights take {size(weight_bytes)} of the "
                f"{size(memory.free)} that are free{limit}, and few rows fit beside them. {unload}",
                TightMemoryWarning,
                stacklevel=2,
            )
        return
    raise ModelError(
        f"{name!r} needs {size(weight_bytes)} of memory for its weights, and "
        f"{size(memory.free)} are free{limit}. "
        + (
            unload
            or "Close other notebooks, choose a smaller model, or a smaller format: "
            "backend='openvino' with weight_format='int8' or 'int4'."
        )
    )
