"""Make the engine that a model specification asks for, importing no other."""

from __future__ import annotations

import dataclasses
import sys
import time

from hfnb import hardware, hub
from hfnb.engines import loaded
from hfnb.engines.base import Engine
from hfnb.engines.copies import Copies
from hfnb.spec import ModelSpec
from hfnb.steps import tell


def load_engine(spec: ModelSpec) -> Engine:
    """Load a model into an engine.

    What can be wrong with the names and the files is found before torch is imported.
    """
    began = time.perf_counter()
    make = _with_openvino if spec.backend == "openvino" else _with_torch
    if isinstance(spec.device, tuple):
        each = [dataclasses.replace(spec, device=device) for device in spec.device]
        engine: Engine = Copies([make(one, began) for one in each], spec)
    else:
        engine = make(spec, began)
    loaded.remember(engine)
    return engine


def _with_torch(spec: ModelSpec, began: float) -> Engine:
    hardware.check_device(spec.one_device)
    files = hub.find(spec)
    if "transformers" not in sys.modules:
        tell("importing PyTorch and transformers")
    from hfnb.engines.torch_engine import TorchEngine
    from hfnb.engines.torch_model import load

    engine = TorchEngine(load(spec, files, began))
    engine.spec, engine.folder = spec, files.folder
    return engine


def _with_openvino(spec: ModelSpec, began: float) -> Engine:
    from hfnb.engines.openvino_device import check_config, find_device
    from hfnb.engines.openvino_formats import check_weight_format
    from hfnb.engines.openvino_load import load
    from hfnb.engines.openvino_signals import own_signal_stack

    check_weight_format(spec.weight_format)
    with own_signal_stack():
        device = find_device(spec.one_device)
        config = check_config(dict(spec.ov_config), device)
        return load(spec, hub.find(spec), device, config, began)
