"""Refuse a model whose weights there is no memory for, before it is loaded."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from hfnb.engines import loaded
from hfnb.errors import ModelError
from hfnb.hardware import Memory
from hfnb.show import size

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

    Args:
        name: What the user called it.
        weight_bytes: Bytes of its weights in memory; what is computed with comes on top.
        memory: What is free where it is to be loaded.

    Raises:
        ModelError: With the figures, and what to do.
    """
    if weight_bytes <= memory.free or _anyway.get():
        return
    limit = f" (by {memory.limit})" if memory.limit else ""
    here = [(each.info.model, each.info.weight_bytes) for each in loaded.engines()]
    if here:
        shown = " and ".join(f"{model} ({size(count)})" for model, count in here[:3])
        mend = f"In memory is {shown}: hfnb.unload({here[0][0]!r}) gives that back."
    else:
        mend = (
            "Close other notebooks, choose a smaller model, or a smaller format: "
            "backend='openvino' with weight_format='int8' or 'int4'."
        )
    raise ModelError(
        f"{name!r} needs {size(weight_bytes)} of memory for its weights, and "
        f"{size(memory.free)} are free{limit}. {mend}"
    )
