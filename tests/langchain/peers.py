"""One test for two libraries: hfnb, which must pass it, and langchain_huggingface, which must not.

A test takes the module that it imports `HuggingFacePipeline` from as the fixture `library`; nothing
else differs. What langchain_huggingface does instead stands in the mark: the exception, what it
says, and why. The mark is strict, so the day on which it passes there is noticed.
"""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import pytest

from tests.needs import require

PEER = "langchain_huggingface"
# A stream of langchain_huggingface waits a minute for a model that has failed. This many seconds
# tell as much.
PATIENCE = 3.0


def fails_in_the_peer(*kinds: type[BaseException], says: str, because: str) -> pytest.MarkDecorator:
    """Run a test with both libraries; the peer must fail with one of `kinds`, in words like `says`.

    An assertion's own words count too: `assert one == other, "they differ"`.
    """
    expected = pytest.RaisesExc(kinds, match=says)
    marks = (
        pytest.mark.xfail(strict=True, raises=expected, reason=because),
        pytest.mark.filterwarnings("ignore"),  # its warnings are not hfnb's
    )
    libraries = ["hfnb", pytest.param(PEER, marks=marks)]
    return pytest.mark.parametrize("library", libraries, indirect=True)


def import_library(name: str, patch: pytest.MonkeyPatch) -> ModuleType:
    """Import one of the two; make what the peer does at random repeat, and its waits short."""
    if name != PEER:
        return importlib.import_module(name)
    require(PEER)
    import torch
    import transformers

    torch.manual_seed(0)
    streamer = transformers.TextIteratorStreamer

    class Impatient(streamer):  # type: ignore[misc, valid-type]
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "timeout": PATIENCE})

    patch.setattr(transformers, "TextIteratorStreamer", Impatient)
    return importlib.import_module(name)


def model_of(llm: Any) -> Any:
    """Return the PyTorch model behind either library's class."""
    return llm.engine.loaded.model if llm.pipeline is None else llm.pipeline.model


def tokenizer_of(llm: Any) -> Any:
    """Return the tokenizer behind either library's class."""
    return llm.engine.loaded.tokenizer if llm.pipeline is None else llm.pipeline.tokenizer


class Watch:
    """What a model was asked to compute: the token ids of each forward pass, a list of rows."""

    def __init__(self) -> None:
        self.passes: list[list[list[int]]] = []

    @property
    def most_rows(self) -> int:
        """The most rows in one pass."""
        return max(len(rows) for rows in self.passes)

    @property
    def prompt(self) -> list[int]:
        """The ids of the only row of the first pass."""
        (row,) = self.passes[0]
        return row


@contextmanager
def watched(model: Any) -> Iterator[Watch]:
    """Note every forward pass of a model until the block ends."""
    forward, watch = model.forward, Watch()

    @functools.wraps(forward)
    def noted(*args: Any, **kwargs: Any) -> Any:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        watch.passes.append(ids.tolist())
        return forward(*args, **kwargs)

    model.forward = noted
    try:
        yield watch
    finally:
        model.forward = forward


@contextmanager
def failing(model: Any, error: Exception) -> Iterator[None]:
    """Let every forward pass of a model fail until the block ends."""
    forward = model.forward

    @functools.wraps(forward)
    def fail(*args: Any, **kwargs: Any) -> Any:
        raise error

    model.forward = fail
    try:
        yield
    finally:
        model.forward = forward


def wait_for_threads(before: set[threading.Thread], seconds: float = 20.0) -> None:
    """Wait until the threads that were started since are done, but for those that never end."""
    for thread in set(threading.enumerate()) - before:
        if thread.daemon:
            continue
        thread.join(seconds)
        assert not thread.is_alive(), f"{thread} did not end"
