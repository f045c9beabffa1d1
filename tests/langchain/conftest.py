"""One tiny model as a LangChain LLM; tests that change it make their own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from hfnb import HuggingFacePipeline


@pytest.fixture(scope="session")
def llm(tiny_model: Callable[[str], Path]) -> HuggingFacePipeline:
    """The tiny llama, with twelve new tokens an answer."""
    return HuggingFacePipeline.from_model_id(
        str(tiny_model("llama")),
        "text-generation",
        device=-1,
        model_kwargs={"dtype": "float32"},
        pipeline_kwargs={"max_new_tokens": 12},
    )


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """A tiny model's matrices are too small to share between threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
