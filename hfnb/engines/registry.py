"""Make the engine that a model specification asks for, importing no other."""

from __future__ import annotations

import time

from hfnb import hardware, hub
from hfnb.engines.base import Engine
from hfnb.spec import ModelSpec


def load_engine(spec: ModelSpec) -> Engine:
    """Load a model into an engine.

    What can be wrong with the names and the files is found before torch is imported.
    """
    began = time.perf_counter()
    hardware.check_device(spec.device)
    files = hub.find(spec)
    from hfnb.engines.torch_engine import TorchEngine
    from hfnb.engines.torch_model import load

    return TorchEngine(load(spec, files, began))
