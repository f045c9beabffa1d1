"""Make the engine that a model specification asks for, importing no other."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import Any

from hfnb import hardware, hub, steps
from hfnb.engines import loaded
from hfnb.engines.base import Engine
from hfnb.engines.copies import Copies
from hfnb.engines.quantised import check_checkpoint, check_quantised
from hfnb.engines.telling import Tell, silent
from hfnb.spec import ModelSpec


def load_engine(spec: ModelSpec, tell: Tell | None = None) -> Engine:
    """Load a model into an engine.

    What can be wrong with the names and the files is found before torch is imported.

    Args:
        spec: What to load, and where it runs.
        tell: Takes lines of text: what was chosen, and the steps of an export. ``None`` shows these
            steps alone.
    """
    began = time.perf_counter()
    make = _with_openvino if spec.backend == "openvino" else _with_torch
    if isinstance(spec.device, tuple):
        each = [dataclasses.replace(spec, device=device) for device in spec.device]
        engine: Engine = Copies([make(one, began, tell) for one in each], spec)
    else:
        engine = make(spec, began, tell)
    loaded.remember(engine)
    return engine


def _with_torch(spec: ModelSpec, began: float, tell: Tell | None) -> Engine:
    hardware.check_device(spec.one_device)
    check_quantised(spec)
    files = hub.find(spec)
    check_checkpoint(spec, files.config)
    if "transformers" not in sys.modules:
        steps.tell("importing PyTorch and transformers")
    from hfnb.engines.torch_engine import TorchEngine
    from hfnb.engines.torch_load import load

    engine = TorchEngine(load(spec, files, began, tell or silent))
    engine.spec, engine.folder = spec, files.folder
    return engine


def _with_openvino(spec: ModelSpec, began: float, tell: Tell | None) -> Engine:
    from hfnb.engines.openvino_device import check_config, find_device
    from hfnb.engines.openvino_formats import check_weight_format
    from hfnb.engines.openvino_load import load
    from hfnb.engines.openvino_signals import own_signal_stack

    check_weight_format(spec.weight_format)
    with own_signal_stack():
        device = find_device(spec.one_device)
        config = check_config(dict(spec.ov_config), device)
        engine: Any = load(spec, hub.find(spec), device, config, began, tell)
        engine.spec = spec
        return engine  # type: ignore[no-any-return]
