"""OpenVINO's devices and properties: what this machine has, and what a user may set."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from typing import Any

from hfnb.engines.openvino_telemetry import opt_out
from hfnb.errors import DeviceError, MissingExtraError, OptionError, closest, listing

_OF_TORCH = {"auto": "AUTO", "cpu": "CPU", "-1": "CPU", "xpu": "GPU", "cuda": "CUDA"}
_OF_GENAI = frozenset({"CACHE_DIR", "ATTENTION_BACKEND"})
"""Properties that belong to the plugin-independent part, and that no device lists."""


@functools.cache
def core() -> Any:
    """Return OpenVINO's entry point.

    Raises:
        MissingExtraError: OpenVINO is not installed.
    """
    if any(importlib.util.find_spec(each) is None for each in ("openvino", "openvino_genai")):
        raise MissingExtraError(
            "backend='openvino' needs OpenVINO. Install it with: pip install \"hfnb[openvino]\""
        )
    import openvino

    opt_out()
    return openvino.Core()


def find_device(device: str | int | None) -> str:
    """Return the OpenVINO device for a name that a user gave; ``None`` is the CPU.

    Raises:
        DeviceError: This machine does not have it. The message names what it has.
        MissingExtraError: OpenVINO is not installed.
    """
    available = list(core().available_devices)
    if device is None:
        return "CPU"
    name = _OF_TORCH.get(str(device).lower(), str(device).upper())
    kind = name.partition(":")[0].partition(".")[0]
    if name == "AUTO" or (kind in ("AUTO", "MULTI", "HETERO") and _all_there(name, available)):
        return name
    there = {each.partition(".")[0] for each in available}
    if name in available or (name == kind and kind in there):
        return name
    why = _WHY_NOT.get(kind, "")
    raise DeviceError(
        f"device={device!r} is not there: OpenVINO sees {listing(available)}.{why} Use one of "
        f"these, or 'AUTO'."
    )


_WHY_NOT = {
    "GPU": " For an Intel GPU, install its compute runtime (OpenCL), and let this user reach "
    "/dev/dri/renderD*.",
    "NPU": " For an Intel NPU, install its driver (intel_vpu).",
    "CUDA": " OpenVINO does not run on NVIDIA's GPUs: use backend='pytorch' there.",
}


def _all_there(name: str, available: list[str]) -> bool:
    parts = name.partition(":")[2].split(",")
    return all(each.split("(")[0] in available for each in parts)


def check_config(config: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return properties for a device, or raise `OptionError` with the closest name."""
    if not config:
        return {}
    plugin = "CPU" if device == "AUTO" else device.partition(":")[0]
    known = {*map(str, core().get_property(plugin, "SUPPORTED_PROPERTIES")), *_OF_GENAI}
    for name in config:
        if name not in known:
            raise OptionError(
                f"ov_config has {name!r}, which {device} does not know.{closest(name, known)}"
            )
    return dict(config)


def precisions(config: Mapping[str, Any], device: str) -> dict[str, str]:
    """Return the precisions in effect: of the computation, and of keys and values."""
    found: dict[str, str] = {}
    plugin = "CPU" if device == "AUTO" else device.partition(":")[0]
    for name in ("INFERENCE_PRECISION_HINT", "KV_CACHE_PRECISION"):
        try:
            value = config.get(name) or core().get_property(plugin, name)
        except RuntimeError:  # a device that has no such property
            continue
        found[name] = _SHORT.get(str(value), str(value).removeprefix("<Type: '").rstrip("'>"))
    return found


_SHORT = {"<Type: 'float32'>": "f32", "<Type: 'bfloat16'>": "bf16", "<Type: 'uint8_t'>": "u8"}
