"""When memory has run out: how it is known, what is freed, and what is said of a row."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import traceback

from hfnb.engines.row import Row
from hfnb.errors import EngineError

_SIGNS = (
    "out of memory",
    "can't allocate memory",
    "not enough memory",
    "cannot allocate memory",
    "bad_alloc",
    "cl_out_of_resources",
    "cl_out_of_host_memory",
    "cl_mem_object_allocation_failure",
    "cudnn_status_alloc_failed",
    "cublas_status_alloc_failed",
)
"""What torch, OpenVINO and their libraries say, in small letters, when memory has run out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, on the host or on a device."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error).lower()
    return isinstance(error, RuntimeError) and any(sign in said for sign in _SIGNS)


def let_go(error: BaseException) -> None:
    """Free what the frames of an error's traceback hold: the tensors of the pass that failed."""
    each: BaseException | None = error
    while each is not None:
        traceback.clear_frames(each.__traceback__)
        each = each.__cause__ or each.__context__


def give_back() -> None:
    """Give the system what this process has freed: C libraries keep it in pieces, for later."""
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # only that of GNU can be told to
        ctypes.CDLL(None).malloc_trim(0)


def no_memory_for(row: Row, error: BaseException) -> EngineError:
    """Return the error of a row that does not fit even alone."""
    lines = str(error).strip().splitlines() or [""]
    problem = EngineError(
        f"There is not enough memory for this row, even alone: it has {len(row.prompt_ids):,} "
        f"prompt tokens, and up to {row.most_new:,} new ones. Shorten the prompt, use a smaller "
        "max_new_tokens, free memory (other models, other notebooks), or load the model in a "
        f"smaller format. ({type(error).__name__}: {lines[0][:200]})"
    )
    problem.__cause__ = error
    return problem
