"""Keep a thread's own stack for signals.

What OpenVINO GenAI loads sets a stack for the signal handlers of the thread it runs in
(``sigaltstack``), and leaves it set when that memory is gone: the next interrupt, whose handler
Python runs there, would then end the process by a segmentation fault.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys
from collections.abc import Iterator

_ENOUGH = 64
"""Bytes of a ``stack_t``, of which Linux has 24."""


@contextlib.contextmanager
def own_signal_stack() -> Iterator[None]:
    """Give the thread back the signal stack that it has now, whatever is set inside the block."""
    if sys.platform != "linux":
        yield
        return
    libc, before = ctypes.CDLL(None), ctypes.create_string_buffer(_ENOUGH)
    known = libc.sigaltstack(None, before) == 0
    try:
        yield
    finally:
        if known:
            libc.sigaltstack(before, None)
