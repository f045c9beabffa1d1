"""OpenVINO engines over the tiny models, exported and loaded once a session, in float32."""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

import hfnb
from hfnb.engines.registry import load_engine
from hfnb.engines.torch_engine import TorchEngine
from hfnb.spec import ModelSpec
from tests.conftest import SESSION
from tests.engines.reference import engine_of
from tests.tiny_models import build_tiny_model

if TYPE_CHECKING:
    from hfnb.engines.openvino_engine import OpenVINOEngine

_MEMORY = 2_000_000_000
_PLACES = {
    "numbers-fr": Path(hfnb.__file__).parent / "demo" / "numbers-fr",
    "tiny-t5": Path(hfnb.__file__).parent / "demo" / "tiny-t5",
    "tool_caller": Path(__file__).parents[1] / "langchain" / "tool_caller",
}


@cache
def source(name: str) -> Path:
    """Return the PyTorch folder of a packaged or tiny model."""
    if name in _PLACES:
        return _PLACES[name]
    folder = SESSION / "openvino-sources" / name
    build_tiny_model(name, folder)
    return folder


def exported(name: str, weight_format: str | None = None) -> Path:
    """Return the exported folder of a model; all tests share it."""
    folder = SESSION / "openvino-exports" / f"{name}-{weight_format}"
    if folder.is_dir():
        return folder
    return hfnb.export(source(name), folder, weight_format=weight_format, progress=None)


def load(folder: Path, *, reproducible: bool = True, **options: Any) -> Any:
    """Load an exported folder into an engine of its own, with little memory for keys and values.

    All engines stay until the end. With the share of the machine's memory that each takes else,
    their stores, which lie side by side, are larger than the machine, and Linux refuses to fork.
    """
    spec = ModelSpec(str(folder), backend="openvino", reproducible=reproducible, **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEM_LIMIT", str(psutil.Process().memory_info().rss + _MEMORY))
        return load_engine(spec)


@cache
def engine(name: str) -> Any:
    """Return the engine of a model, in float32; all tests share it."""
    return load(exported(name))


def fresh(name: str) -> OpenVINOEngine:
    """Return an engine of its own, for tests that change it."""
    made: OpenVINOEngine = load(exported(name))
    return made


@cache
def torch_engine(name: str) -> TorchEngine:
    """Return what the engine is compared with: PyTorch in float32."""
    importlib.import_module("torch").set_num_threads(1)
    return engine_of(source(name))


class Pipeline:
    """Stands before an engine's pipeline, counts its steps, and does more on request."""

    def __init__(self, real: Any) -> None:
        self.real = real
        self.steps = 0
        self.rows: list[int] = []
        """The rows of each step."""

    def step(self) -> None:
        self.steps += 1
        self.rows.append(self.real.get_metrics().requests)
        self.before()
        self.real.step()
        self.after()

    def before(self) -> None:
        """Replaced by tests."""

    def after(self) -> None:
        """Replaced by tests."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


def watched(engine: OpenVINOEngine) -> Pipeline:
    """Put a `Pipeline` before an engine's own."""
    pipeline = Pipeline(engine._batch._pipeline)
    engine._batch._pipeline = pipeline
    return pipeline
