"""What OpenVINO sees of devices. It runs as a program of its own, and prints JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

from hfnb.engines.openvino_device import core


def found() -> dict[str, Any]:
    """Return OpenVINO's version and its devices."""
    return {"version": version("openvino"), "devices": list(_devices()), "why": ""}


def _devices() -> Iterator[dict[str, Any]]:
    for name in core().available_devices:
        known: dict[str, Any] = {}
        for each in ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES", "GPU_DEVICE_TOTAL_MEM_SIZE"):
            with contextlib.suppress(RuntimeError):  # a property that this device does not have
                known[each] = core().get_property(name, each)
        able = [str(each) for each in known.get("OPTIMIZATION_CAPABILITIES", ())]
        total = known.get("GPU_DEVICE_TOTAL_MEM_SIZE")
        yield {
            "name": name,
            "full_name": str(known.get("FULL_DEVICE_NAME", name)),
            "memory_free": None,
            "memory_total": None if total is None else int(total),
            "bfloat16": "BF16" in able,
            "capabilities": [each for each in able if each not in ("BIN", "EXPORT_IMPORT")],
        }


if __name__ == "__main__":
    json.dump(found(), sys.stdout)
