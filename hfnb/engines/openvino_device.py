"""OpenVINO's devices and properties: what this machine has, and what a user may set."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator, Mapping
from typing import Any

from hfnb.engines.openvino_telemetry import opt_out
from hfnb.errors import DeviceError, MissingExtraError, OptionError, closest, listing

EXACT = {
    "INFERENCE_PRECISION_HINT": "f32",
    "KV_CACHE_PRECISION": "f32",
    "DYNAMIC_QUANTIZATION_GROUP_SIZE": "0",
}
"""Computing in float32, keys, values and activations too."""
_OF_TORCH = {"auto": "AUTO", "cpu": "CPU", "-1": "CPU", "xpu": "GPU", "cuda": "CUDA", "0": "GPU"}
_PRECISIONS = (
    "INFERENCE_PRECISION_HINT",
    "KV_CACHE_PRECISION",
    "KEY_CACHE_PRECISION",
    "VALUE_CACHE_PRECISION",
)
_OF_CORE = "CACHE_DIR"
"""The property that belongs to no device, and that none lists."""
_WHY_NOT = {
    "GPU": " For an Intel GPU, install its compute runtime (OpenCL), and let this user reach "
    "/dev/dri/renderD*.",
    "NPU": " For an Intel NPU, install its driver (intel_vpu).",
    "CUDA": " OpenVINO does not run on NVIDIA's GPUs: use backend='pytorch' there.",
    "MULTI": " hfnb runs a model on one device: MULTI and HETERO are not for it.",
    "HETERO": " hfnb runs a model on one device: MULTI and HETERO are not for it.",
}


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
    name = _OF_TORCH.get(str(device).lower(), str(device).upper()).rstrip(":")
    if name.isdecimal():
        name = f"GPU.{name}"  # accelerators have numbers with PyTorch
    kind, _, parts = name.partition(":")
    if kind == "AUTO" and all(_is_there(each, available) for each in parts.split(",") if each):
        return name
    if _is_there(name, available):
        return name
    wanted = kind.partition(".")[0]
    if kind == "AUTO":
        missing = (each for each in parts.split(",") if not _is_there(each, available))
        wanted = next(missing, "").partition(".")[0]
    raise DeviceError(
        f"device={device!r} is not there: OpenVINO sees {listing(available)}."
        f"{_WHY_NOT.get(wanted, '')} Use one of these, or 'AUTO'."
    )


def _is_there(name: str, available: list[str]) -> bool:
    """Whether a device is available, by its name or that of its kind."""
    return name in {*available, *(each.partition(".")[0] for each in available)}


def check_config(config: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return properties for a device, or say what is wrong with one of them.

    Raises:
        OptionError: The device does not know a name (with the closest one), or takes no such value.
    """
    known = set(_known(device))
    for name, value in config.items():
        if name not in {*known, _OF_CORE}:
            raise OptionError(
                f"ov_config has {name!r}, which {device} does not know."
                f"{closest(name, {*known, _OF_CORE})}"
            )
        _try(name, value, device)
    return dict(config)


def with_exact(config: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return properties with which a device computes in float32.

    Raises:
        OptionError: One of the user's own says something else.
    """
    exact = {name: value for name, value in EXACT.items() if name in set(_known(device))}
    for name, value in config.items():
        if name.endswith("_CACHE_PRECISION"):
            wanted: str | None = EXACT["KV_CACHE_PRECISION"]
        else:
            wanted = exact.get(name)
        if wanted is not None and str(value).lower() not in (wanted, "float32"):
            raise OptionError(
                f"reproducible=True computes in float32, and ov_config has {name!r}: {value!r}. "
                "Leave one of them out."
            )
    return {**config, **exact}


def with_cache(config: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Return properties that name what OpenVINO GenAI keeps keys and values in on a CPU.

    Unless it is told, that has 16 bits, whatever the CPU's own default is: it is told so here, and
    what `precisions` reads back is what is in effect.
    """
    exact = str(config.get("EXECUTION_MODE_HINT", "")).upper().endswith("ACCURACY")
    if exact or [each for each in _plugins(device) if each != "AUTO"] != ["CPU"]:
        return dict(config)
    computed = precisions(config, device).get("INFERENCE_PRECISION_HINT")
    return {"KV_CACHE_PRECISION": "bf16" if computed == "bf16" else "f16", **config}


def _known(device: str) -> Iterator[str]:
    for plugin in _plugins(device):
        yield from map(str, core().get_property(plugin, "SUPPORTED_PROPERTIES"))


def _plugins(device: str) -> list[str]:
    """Return the devices whose properties count: AUTO hands them on to those it may choose."""
    kind, _, parts = device.partition(":")
    if kind != "AUTO":
        return [device]
    return ["AUTO", *(parts.split(",") if parts else core().available_devices)]


def _try(name: str, value: Any, device: str) -> None:
    """Set a property where it changes nothing, to see whether the value is taken."""
    import openvino

    if name == _OF_CORE:
        return
    problem = ""
    for plugin in _plugins(device):
        try:
            own = openvino.Core()
            own.set_property(plugin, {name: value})
            own.get_property(plugin, "SUPPORTED_PROPERTIES")  # only now is the value read
            return
        except (RuntimeError, TypeError) as error:
            problem = reason_of(error)
    raise OptionError(
        f"ov_config has {name!r}: {value!r}, which {device} does not take: {problem}."
    )


def reason_of(error: Exception) -> str:
    """Return what an error of OpenVINO says, without the places in its sources."""
    lines = (each.strip() for each in str(error).splitlines())
    said = [each for each in lines if each and not each.startswith("Exception from ")]
    return " ".join(said).rstrip(".") or str(error).strip() or type(error).__name__


def precisions(config: Mapping[str, Any], device: str) -> dict[str, str]:
    """Return the precisions in effect, as OpenVINO has them: of computation, keys and values.

    None where AUTO has several devices to choose from: it is not known which it takes.
    """
    import openvino

    plugins = [each for each in _plugins(device) if each != "AUTO"]
    if len(plugins) != 1:
        return {}
    (plugin,) = plugins
    own, found = openvino.Core(), dict[str, str]()
    for name, value in config.items():
        try:
            own.set_property(plugin, {name: value})
        except RuntimeError:  # AUTO's own, which this device does not have
            continue
    for name in _PRECISIONS:
        try:
            found[name] = own.get_property(plugin, name).to_string()
        except (RuntimeError, AttributeError):  # a device that has no such property
            continue
    return found
