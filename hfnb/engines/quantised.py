"""Weights in 8 or 4 bits with PyTorch: what is refused, before torch is imported."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

from hfnb.errors import MissingExtraError, OptionError
from hfnb.hardware import check_device
from hfnb.spec import ModelSpec

_PACKAGE = "bitsandbytes"


def check_quantised(spec: ModelSpec) -> None:
    """Refuse a ``weight_format`` that PyTorch can't have here, before a file of the model is read.

    Raises:
        OptionError: The device is a CPU, or the quantisation is given twice.
        MissingExtraError: bitsandbytes is not installed.
    """
    if spec.weight_format is None:
        return
    if spec.device_map == "cpu" or check_device(spec.one_device) == "cpu":
        raise on_a_cpu(spec)
    if "quantization_config" in dict(spec.load_options):
        raise OptionError(
            f"Both weight_format={spec.weight_format!r} and quantization_config are given. Keep "
            "weight_format for bitsandbytes' usual settings, or quantization_config for others."
        )
    if importlib.util.find_spec(_PACKAGE) is None:
        raise MissingExtraError(
            f"weight_format={spec.weight_format!r} with PyTorch needs {_PACKAGE}. Install it with: "
            'pip install "hfnb[quant]"'
        )


def check_checkpoint(spec: ModelSpec, config: Mapping[str, Any]) -> None:
    """Refuse to quantise weights that are quantised already.

    Raises:
        OptionError: They are, with what to do.
    """
    if spec.weight_format is not None and config.get("quantization_config"):
        raise OptionError(
            f"The weights of {spec.model!r} are quantised already: leave weight_format out to load "
            "them as they are, or take the model that it was made of."
        )


def on_a_cpu(spec: ModelSpec) -> OptionError:
    """Return what is said where a CPU would compute."""
    return OptionError(
        f"weight_format={spec.weight_format!r} with PyTorch is for CUDA, and this would run on the "
        f"CPU. There, backend='openvino' with weight_format={spec.weight_format!r} is what is fast."
    )
