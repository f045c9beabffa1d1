"""Load a model and its tokenizer with PyTorch."""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer
from transformers.utils import logging

from hfnb import hardware, hub, steps
from hfnb.engines import torch_attention
from hfnb.engines.fits import check_fits
from hfnb.engines.quantised import on_a_cpu
from hfnb.engines.telling import Tell, advise_openvino, choices, silent
from hfnb.engines.torch_model import TorchModel, input_device, memory_of, wrap
from hfnb.engines.torch_quantised import quantisation
from hfnb.errors import MissingExtraError, ModelFilesError, OptionError
from hfnb.show import size
from hfnb.sizes import Weights, quantised_bytes, weights_of
from hfnb.spec import ModelSpec

_SMALL = 500_000_000


def load(spec: ModelSpec, files: hub.ModelFiles, began: float, tell: Tell = silent) -> TorchModel:
    """Load the model that was found for a specification.

    Args:
        spec: What the user asked for.
        files: What was found.
        began: When the caller began, by ``time.perf_counter``: importing torch counts too.
        tell: Takes lines of text that say what was chosen.

    Raises:
        ModelFilesError: transformers can't make a model of the files.
        DeviceError: This machine does not have the device.
        OptionError: ``weight_format`` is given, and a CPU would compute.
    """
    device = hardware.find_device("auto" if spec.device_map is not None else spec.one_device)
    if spec.weight_format is not None and device.type == "cpu":
        raise on_a_cpu(spec)
    dtype = _dtype(spec, files, device)
    weights = weights_of(files.folder, files.config)
    _tell_choices(spec, files, device, dtype, weights, tell)
    place: dict[str, Any] = {}
    if spec.device_map is not None:
        place["device_map"] = spec.device_map
    elif weights is not None:
        check_fits(spec.model, _bytes_of(spec, files, weights, dtype), memory_of(device))
    if spec.weight_format is not None:
        place = {"device_map": {"": device}, **place}
        place["quantization_config"] = quantisation(spec.weight_format, dtype)
    common = {"trust_remote_code": spec.trust_remote_code}
    family = AutoModelForCausalLM if files.task == "text-generation" else AutoModelForSeq2SeqLM
    try:
        tokenizer = _tokenizer(files.folder, **common)
        with _told(files.folder):
            loaded: Any = family.from_pretrained(
                files.folder,
                dtype=dtype,
                use_safetensors=None if spec.allow_pickle else True,
                output_loading_info=True,
                **common,
                **place,
                **dict(spec.load_options),
            )
    except ImportError as error:  # for quantised weights, for instance
        raise MissingExtraError(f"{spec.model!r} could not be loaded: {error}") from error
    except Exception as error:  # many libraries read these files, each with its own exceptions
        raise ModelFilesError(
            f"{spec.model!r} could not be loaded: {type(error).__name__}: {error}"
        ) from error
    model, info = loaded
    if missing := sorted(info["missing_keys"]):
        raise ModelFilesError(
            f"{spec.model!r} lacks {len(missing)} of its weights, such as {missing[0]!r}: "
            "transformers would make them up at random. Get the model again."
        )
    if not place:
        model.to(device)
    elif input_device(model).type == "meta":
        raise OptionError(
            f"device_map={spec.device_map!r} has put all of {spec.model!r} on disk, and no device "
            "is left to compute it. Give max_memory more, or leave device_map out."
        )
    model.eval()
    if device.type == "cpu" and files.task == "text-generation":
        torch_attention.use(model)
    return wrap(
        model,
        tokenizer,
        files.name,
        files.task,
        languages=spec.languages,
        load_s=time.perf_counter() - began,
    )


def _tell_choices(
    spec: ModelSpec,
    files: hub.ModelFiles,
    device: torch.device,
    dtype: Any,
    weights: Weights | None,
    tell: Tell,
) -> None:
    """Say what was chosen, and what would be faster, before the part that takes long."""
    parameters = weights.parameters if weights else None
    shown = _name_of(dtype, weights)
    if spec.weight_format is not None:
        shown += f", weights {spec.weight_format}"
    place = str(device) if spec.device_map is None else f"device_map={spec.device_map!r}"
    tell(choices(files.name, files.task, "pytorch", shown, place, parameters))
    advise_openvino(tell, files.name, files.task, place, parameters)


def _name_of(dtype: Any, weights: Weights | None) -> str:
    """Return a torch dtype's name; that of the checkpoint for ``"auto"``."""
    name = str(dtype).removeprefix("torch.")
    return weights.dtype if name == "auto" and weights is not None else name


def _bytes_of(spec: ModelSpec, files: hub.ModelFiles, weights: Weights, dtype: Any) -> int:
    """Return the bytes that the weights take in memory."""
    name = str(dtype).removeprefix("torch.")
    if spec.weight_format is None:
        return weights.bytes_as(name)
    return quantised_bytes(weights, files.config, spec.weight_format, name)


def _tokenizer(folder: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        # Marian's recommends a package for its method "normalize", which transformers never calls.
        warnings.filterwarnings("ignore", message="Recommended: pip install sacremoses")
        return AutoTokenizer.from_pretrained(folder, **options)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    """Tell who listens that weights are read; else transformers shows a bar, if it is worth it."""
    count = sum(each.stat().st_size for each in folder.glob("*.safetensors"))
    steps.tell(f"reading the weights ({size(count)})")
    alone = steps.listener() is None
    if (count > _SMALL and alone) or not logging.is_progress_bar_enabled():
        yield
        return
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def _dtype(spec: ModelSpec, files: hub.ModelFiles, device: torch.device) -> Any:
    """Choose bfloat16 where the device multiplies it, else what the checkpoint has."""
    if spec.dtype != "auto":
        return getattr(torch, spec.dtype)
    if "quantization_config" in files.config:
        return "auto"
    stored = files.config.get("dtype") or files.config.get("torch_dtype")
    if hardware.multiplies_bfloat16(device):
        return torch.bfloat16
    if stored == "float16" and device.type == "cpu":
        return torch.float32  # a CPU that must emulate half precision is slower by far
    return "auto"
