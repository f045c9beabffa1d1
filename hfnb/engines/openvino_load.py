"""Load a model with OpenVINO: check the device, export once, choose the engine."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnb import hub
from hfnb.engines.base import Engine
from hfnb.engines.openvino_device import check_config, find_device, precisions
from hfnb.spec import ModelSpec

_EXACT = {"INFERENCE_PRECISION_HINT": "f32", "KV_CACHE_PRECISION": "f32"}


def load(spec: ModelSpec, files: hub.ModelFiles, began: float) -> Engine:
    """Load the model that was found for a specification.

    Raises:
        DeviceError: This machine does not have the device.
        OptionError: ``ov_config`` has a name that the device does not know.
        ModelError: The model can't be exported or loaded.
        MissingExtraError: OpenVINO is not installed.
    """
    device = find_device(spec.device)
    given = dict(spec.ov_config)
    config = check_config({**given, **(_EXACT if spec.reproducible else {})}, device)
    from hfnb.engines.openvino_export import exported

    found = exported(
        files, weight_format=spec.weight_format, trust_remote_code=spec.trust_remote_code
    )
    static = functools.partial(_static, spec, files, found.folder, device, config)
    if files.task != "text-generation":
        return static(began)
    from hfnb.engines.openvino_engine import OpenVINOEngine
    from hfnb.engines.openvino_model import OpenVINOModel

    run = precisions(config, device)
    notes = [f"weights {found.weight_format}", *found.notes]
    if "KV_CACHE_PRECISION" in run:
        notes.insert(1, f"KV cache {run['KV_CACHE_PRECISION']}")
    return OpenVINOEngine(
        OpenVINOModel(files.name, found.folder),
        device,
        config,
        shown={"dtype": run.get("INFERENCE_PRECISION_HINT", "auto"), "note": ", ".join(notes)},
        fallback=static,
        began=began,
    )


def _static(
    spec: ModelSpec,
    files: hub.ModelFiles,
    folder: Path,
    device: str,
    config: Mapping[str, Any],
    began: float | None = None,
) -> Engine:
    from hfnb.engines.openvino_static import load as load_static

    return load_static(
        files.name,
        folder,
        files.task,
        device,
        config,
        languages=spec.languages,
        trust_remote_code=spec.trust_remote_code,
        began=began,
    )
