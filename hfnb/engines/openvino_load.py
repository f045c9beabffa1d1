"""Load a model with OpenVINO: check the device, export once, choose the engine."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnb import hub
from hfnb.engines.base import Engine
from hfnb.engines.openvino_device import check_config, find_device, precisions, with_exact
from hfnb.errors import ModelFilesError
from hfnb.spec import ModelSpec


def load(spec: ModelSpec, files: hub.ModelFiles, began: float) -> Engine:
    """Load the model that was found for a specification.

    Raises:
        DeviceError: This machine does not have the device.
        OptionError: ``ov_config`` has a name or a value that the device does not know.
        ModelError: The model can't be exported or loaded.
        MissingExtraError: OpenVINO is not installed.
    """
    device = find_device(spec.device)
    config = check_config(dict(spec.ov_config), device)
    if spec.reproducible:
        config = with_exact(config, device)
    from hfnb.engines.openvino_export import Exported, exported

    found: Exported = exported(
        files, weight_format=spec.weight_format, trust_remote_code=spec.trust_remote_code
    )
    run = precisions(config, device)
    shown = {
        "dtype": run.get("INFERENCE_PRECISION_HINT", "auto"),
        "note": ", ".join([f"weights {found.weight_format}", *_cache_note(run), *found.notes]),
    }
    static = functools.partial(_static, spec, files, found.folder, device, config, shown)
    if files.task != "text-generation":
        return static(f"it is for {files.task}", began)
    if device.startswith("NPU"):
        return static("an NPU has no paged attention", began)
    from hfnb.engines.openvino_engine import OpenVINOEngine
    from hfnb.engines.openvino_model import OpenVINOModel

    try:
        return OpenVINOEngine(
            OpenVINOModel(files.name, found.folder),
            device,
            config,
            tokenizer=found.tokenizer,
            shown=shown,
            fallback=static,
            began=began,
        )
    except ModelFilesError as problem:  # no paged attention, or a tokenizer of another kind
        try:
            return static(f"OpenVINO GenAI can't run it: {_first_line(problem)}", began)
        except ModelFilesError:
            raise problem from problem.__cause__


def _cache_note(run: Mapping[str, str]) -> list[str]:
    both = run.get("KV_CACHE_PRECISION")
    keys, values = (run.get(f"{each}_CACHE_PRECISION", both) for each in ("KEY", "VALUE"))
    if keys is None:
        return []
    return [f"KV cache {keys}" if keys == values else f"cache of keys {keys}, of values {values}"]


def _first_line(problem: Exception) -> str:
    return str(problem).partition("\n")[0].rstrip(".")


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
