"""Values as bytes, by Ray's cloudpickle: also functions and classes of a notebook."""

from __future__ import annotations

from typing import Any


def dumps(value: Any) -> bytes:
    """Return a value as bytes."""
    from ray import cloudpickle

    return bytes(cloudpickle.dumps(value))  # type: ignore[no-untyped-call]


def loads(written: bytes) -> Any:
    """Return the value that was written."""
    from ray import cloudpickle

    return cloudpickle.loads(written)
