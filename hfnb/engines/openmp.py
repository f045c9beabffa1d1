"""The threads that PyTorch computes with on a CPU: a thread that waits gives back its own."""

from __future__ import annotations

import ctypes
import os
import sys
import time
from pathlib import Path
from typing import Any

from hfnb.hardware import usable_cores

_LOOKS, _BETWEEN_S = 3, 0.002
"""How often the machine is looked at before it counts as busy: threads of a pool wait actively for
a moment after their last work."""
_SOFT = 1
"""``omp_pause_soft``: what the pool has is kept, but for its threads."""


def give_back_threads() -> None:
    """Give back the OpenMP threads of the calling thread, until it computes again itself.

    Each thread that computes has a pool of OpenMP. Where the pools have more threads than there are
    cores, GNU's OpenMP lets them sleep soon after each operator; else they wait actively for the
    next one (``GOMP_SPINCOUNT`` in libgomp's manual). A model of 1 M parameters has thousands of
    short operators, and a run in a thread of its own takes a quarter less time once the thread
    that loaded the model has given its pool back.

    Where others keep the cores busy, threads that sleep are the better ones: then nothing is done.
    Nor is it without PyTorch, or where its OpenMP is not GNU's.
    """
    pool = _library()
    if pool is not None and not _is_busy():
        pool.omp_pause_resource_all(_SOFT)


def _library() -> Any | None:
    """Return PyTorch's own libgomp, if it is in memory."""
    torch = sys.modules.get("torch")
    origin = getattr(torch, "__file__", None)
    if origin is None or not hasattr(os, "RTLD_NOLOAD"):
        return None
    for path in sorted(Path(origin).parent.glob("lib/libgomp*.so*")):
        try:
            library = ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD)
        except OSError:  # it is there, and something else was loaded
            continue
        if hasattr(library, "omp_pause_resource_all"):
            return library
    return None


def _is_busy() -> bool:
    """Whether half of the cores or more have something else to do."""
    most = max(1.0, usable_cores() / 2)
    for look in range(_LOOKS):
        if look:
            time.sleep(_BETWEEN_S)
        if _others() < most:
            return False
    return True


def _others(loads: Path = Path("/proc/loadavg")) -> int:
    """Return how many threads on this machine run, or could, beside the calling one."""
    try:
        return int(loads.read_text(encoding="ascii").split()[3].partition("/")[0]) - 1
    except (OSError, ValueError, IndexError):
        return 0
