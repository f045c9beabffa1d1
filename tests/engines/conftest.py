"""Engines over the tiny models, loaded once a session: they keep nothing between calls."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import torch

from hfnb.engines.torch_engine import TorchEngine
from tests.engines.reference import engine_of


@pytest.fixture(scope="session")
def engine(tiny_model: Callable[[str], Path]) -> Callable[[str], TorchEngine]:
    """`engine("llama")` is the PyTorch engine over the tiny model of that name."""
    return cache(lambda name: engine_of(tiny_model(name)))


@pytest.fixture
def fresh_engine(tiny_model: Callable[[str], Path]) -> Callable[[str], TorchEngine]:
    """As `engine`, for tests that change the model."""
    return lambda name: engine_of(tiny_model(name))


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """A tiny model's matrices are too small to share between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
