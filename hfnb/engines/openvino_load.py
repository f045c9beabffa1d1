"""Load a model with OpenVINO: check the device, export once, choose the engine."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnb import hardware, hub, steps
from hfnb.engines.base import Engine
from hfnb.engines.fits import check_fits
from hfnb.engines.openvino_device import precisions, with_cache, with_exact
from hfnb.engines.telling import Tell, choices, silent
from hfnb.errors import ModelFilesError
from hfnb.spec import ModelSpec

_CONSTANT = re.compile(
    r'<data element_type="(f64|f32|f16|bf16|f8\w+|u8|i8|u4|i4|nf4)" shape="([^"]*)" offset="(\d+)"'
)


def load(
    spec: ModelSpec,
    files: hub.ModelFiles,
    device: str,
    config: dict[str, Any],
    began: float,
    tell: Tell | None = None,
) -> Engine:
    """Load the model that was found for a specification.

    Args:
        spec: What the user asked for.
        files: What was found.
        device: The OpenVINO device, which is there.
        config: Properties that it knows.
        began: When loading began, by ``time.perf_counter``.
        tell: Takes lines of text; see `hfnb.engines.registry.load_engine`.

    Raises:
        OptionError: ``ov_config`` says something else than ``reproducible``.
        ModelError: The model can't be exported or loaded.
        MissingExtraError: OpenVINO is not installed.
    """
    if spec.reproducible:
        config = with_exact(config, device)
    from hfnb.engines.openvino_export import exported, show

    found = exported(
        files,
        weight_format=spec.weight_format,
        trust_remote_code=spec.trust_remote_code,
        progress=silent if tell is silent else show,
    )
    if not device.startswith(("GPU", "AUTO")):  # what a GPU has free, OpenVINO does not tell
        check_fits(files.name, weight_bytes_of(found.folder), hardware.tightest_memory())
    if tell is not None:
        run = precisions(config, device).get("INFERENCE_PRECISION_HINT", "auto")
        dtype = f"{run}, weights {found.weight_format}"
        parameters = parameters_of(found.folder)
        tell(choices(files.name, files.task, "openvino", dtype, device, parameters))
    shown = functools.partial(_shown, found.weight_format, found.notes, device)
    static = functools.partial(_static, spec, files, found.folder, device, config, shown(config))
    if files.task != "text-generation":
        steps.tell(f"compiling for {device}")
        return static("it is an encoder-decoder", began)
    if device.startswith("NPU"):
        return static("an NPU has no paged attention", began)
    steps.tell(f"compiling for {device}")
    from hfnb.engines.openvino_engine import OpenVINOEngine
    from hfnb.engines.openvino_model import OpenVINOModel

    config = with_cache(config, device)
    try:
        return OpenVINOEngine(
            OpenVINOModel(files.name, found.folder),
            device,
            config,
            tokenizer=found.tokenizer,
            shown=shown(config),
            fallback=static,
            began=began,
        )
    except ModelFilesError as problem:  # no paged attention, or a tokenizer of another kind
        try:
            return static(f"OpenVINO GenAI can't run it: {problem}", began)
        except ModelFilesError:
            raise problem from problem.__cause__


def _shown(
    weight_format: str, notes: tuple[str, ...], device: str, config: Mapping[str, Any]
) -> dict[str, str]:
    """Return what `EngineInfo` says: the precisions in effect, and what else a user should know."""
    run, cache = precisions(config, device), list[str]()
    both = run.get("KV_CACHE_PRECISION")
    keys, values = (run.get(f"{each}_CACHE_PRECISION", both) for each in ("KEY", "VALUE"))
    if keys is not None:
        cache = [f"KV cache {keys}" if keys == values else f"KV cache {keys}, values {values}"]
    return {
        "dtype": run.get("INFERENCE_PRECISION_HINT", "auto"),
        "note": ", ".join([f"weights {weight_format}", *cache, *notes]),
    }


def _static(
    spec: ModelSpec,
    files: hub.ModelFiles,
    folder: Path,
    device: str,
    config: Mapping[str, Any],
    shown: Mapping[str, str],
    why: str,
    began: float | None = None,
) -> Engine:
    from hfnb.engines.openvino_static import load as load_static

    return load_static(
        files.name,
        folder,
        files.task,
        device,
        config,
        shown=shown,
        why=why,
        languages=spec.languages,
        trust_remote_code=spec.trust_remote_code,
        began=began,
    )


def weight_bytes_of(folder: Path) -> int:
    """Return the bytes of an exported model's weights, which OpenVINO maps into memory."""
    return sum(each.stat().st_size for each in _models_of(folder, ".bin"))


def _models_of(folder: Path, ending: str) -> list[Path]:
    """Return the files of the models that are run; in newer exports one decoder does all."""
    other = ("openvino_tokenizer_model", "openvino_decoder_with_past_model")
    return [each for each in folder.glob(f"openvino*_model{ending}") if each.stem not in other]


def parameters_of(folder: Path) -> int:
    """Return the number of a model's parameters, by the constants of its IR.

    Weights that models share count once; scales and zero points of compressed ones don't.
    """
    count = 0
    for file in _models_of(folder, ".xml"):
        seen = set()
        for _, shape, offset in _CONSTANT.findall(file.read_text(encoding="utf-8")):
            dims = [int(each) for each in shape.split(",") if each.strip()]
            if dims and dims[-1] > 1 and offset not in seen:
                seen.add(offset)
                count += math.prod(dims)
    return count
