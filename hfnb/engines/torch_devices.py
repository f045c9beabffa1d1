"""What PyTorch sees of accelerators. It runs as a program of its own, and prints JSON.

To ask for an accelerator's name and memory initialises its driver, and a process that has done so
can't be forked any more: the notebook's own process is not the place for it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import Any

import torch

from hfnb import hardware


def found() -> dict[str, Any]:
    """Return PyTorch's version, its accelerators, and why it has none where it has none."""
    why, devices = "", list[dict[str, Any]]()
    try:
        devices = list(_accelerators())
    except Exception as error:  # drivers fail in ways of their own
        why = f"{type(error).__name__}: {error}"
    if not devices and not why:
        why = _why_none()
    return {"version": torch.__version__, "devices": devices, "why": why}


def _accelerators() -> Iterator[dict[str, Any]]:
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    if accelerator is None:
        return
    kind = accelerator.type
    of_kind = getattr(torch, kind)
    for index in range(torch.accelerator.device_count()):
        free, total = _memory(of_kind, index)
        named = getattr(of_kind, "get_device_name", lambda _: kind.upper())
        yield {
            "name": f"{kind}:{index}",
            "full_name": str(named(index)),
            "memory_free": free,
            "memory_total": total,
            "bfloat16": hardware.multiplies_bfloat16(torch.device(kind, index)),
            "capabilities": ["ROCm" if torch.version.hip else kind.upper()],
        }


def _memory(of_kind: Any, index: int) -> tuple[int | None, int | None]:
    """Return an accelerator's free memory and all of it; MPS shares the machine's."""
    if hasattr(of_kind, "mem_get_info"):
        free, total = of_kind.mem_get_info(index)
        return int(free), int(total)
    if hasattr(of_kind, "recommended_max_memory"):
        total = int(of_kind.recommended_max_memory())
        return total - int(of_kind.driver_allocated_memory()), total
    return None, None


def _why_none() -> str:
    built = torch.accelerator.current_accelerator()
    if built is None:
        return f"PyTorch {torch.__version__} is built for the CPU alone"
    if built.type != "cuda":
        return f"PyTorch {torch.__version__} is built for {built.type!r}, and finds none"
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except Exception as error:
        return f"PyTorch {torch.__version__} can't use CUDA: {str(error).splitlines()[0]}"
    return f"PyTorch {torch.__version__} finds no CUDA device"


if __name__ == "__main__":
    json.dump(found(), sys.stdout)
