"""What fails stays in its row: injected faults in the forward pass, and what restarts leave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch

from hfnb.engines import call, torch_cache, torch_decoder
from hfnb.engines.base import Work
from hfnb.engines.torch_cache import RowCache
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import EngineError
from tests.engines.reference import PROMPTS, answers, reference, streamed, texts

Engines = Callable[[str], TorchEngine]


@contextmanager
def faults(engine: TorchEngine, fails: Callable[[torch.Tensor], bool]) -> Iterator[None]:
    """Let the model's forward fail for some inputs."""
    model = engine.loaded.model
    forward = model.forward

    def failing(*args: Any, **kwargs: Any) -> Any:
        if fails(kwargs["input_ids"]):
            raise RuntimeError("no luck (injected)")
        return forward(*args, **kwargs)

    model.forward = failing
    try:
        yield
    finally:
        model.forward = forward


def once(condition: Callable[[torch.Tensor], bool]) -> Callable[[torch.Tensor], bool]:
    """Make a fault that happens a single time."""
    left = [1]

    def fails(ids: torch.Tensor) -> bool:
        if left and condition(ids):
            left.pop()
            return True
        return False

    return fails


@pytest.mark.parametrize("batch_size", [1, 4, 20])
@pytest.mark.parametrize("culprit", [0, 2, 7, 19])
def test_a_prompt_that_fails_is_the_only_row_that_does(
    culprit: int, batch_size: int, engine: Engines
) -> None:
    llama = engine("llama")
    marks = llama.loaded.encode(["§"])[0][1:]  # no other prompt has these bytes
    prompts = [f"{p} §" if row == culprit else p for row, p in enumerate(PROMPTS)]
    with faults(llama, lambda ids: bool((ids == marks[-1]).any())):
        done = answers(llama, prompts, batch_size=batch_size, max_new_tokens=6)
    assert [row for row, each in enumerate(done) if each.error] == [culprit]
    error = done[culprit].error
    assert isinstance(error, EngineError)
    assert "RuntimeError" in str(error)
    assert "no luck" in str(error)
    assert isinstance(error.__cause__, RuntimeError)
    assert done[culprit].text is None
    for row, each in enumerate(done):
        if row != culprit:
            assert each.text == reference(llama, prompts[row], max_new_tokens=6)


def test_a_step_that_fails_once_is_computed_again_and_counted(engine: Engines) -> None:
    llama, work = engine("llama"), Work()
    expected = texts(llama, PROMPTS, max_new_tokens=8)
    with faults(llama, once(lambda ids: ids.shape == (6, 1))):
        done = answers(llama, PROMPTS, batch_size=6, max_new_tokens=8, work=work)
    assert [each.text for each in done] == expected
    assert work.recomputed_rows == 6


def test_a_row_that_is_computed_again_has_its_text_once_with_a_stop_string(
    engine: Engines,
) -> None:
    llama = engine("llama")
    stop = "never in an answer of this model"
    expected = texts(llama, PROMPTS[:6], max_new_tokens=8)
    steps = [0]

    def third_step(ids: torch.Tensor) -> bool:
        steps[0] += ids.shape[1] == 1
        return steps[0] == 3

    with faults(llama, once(third_step)):
        assert texts(llama, PROMPTS[:6], stop=stop, max_new_tokens=8) == expected


def test_a_row_that_is_computed_again_streams_its_text_once(engine: Engines) -> None:
    llama = engine("llama")
    expected = texts(llama, PROMPTS[:6], max_new_tokens=8)
    steps = [0]

    def third_step(ids: torch.Tensor) -> bool:
        steps[0] += ids.shape[1] == 1
        return steps[0] == 3

    with faults(llama, once(third_step)):
        deltas, done = streamed(llama, PROMPTS[:6], max_new_tokens=8)
    assert [each.text for each in done] == expected
    assert ["".join(each) for each in deltas] == expected


def test_a_row_that_is_computed_again_draws_the_same_numbers(engine: Engines) -> None:
    llama = engine("llama")
    options = {"temperature": 1.5, "seed": 4, "max_new_tokens": 8}
    expected = texts(llama, PROMPTS[:6], **options)
    steps = [0]

    def third_step(ids: torch.Tensor) -> bool:
        steps[0] += ids.shape[1] == 1
        return steps[0] == 3

    with faults(llama, once(third_step)):
        assert texts(llama, PROMPTS[:6], **options) == expected


def test_no_room_for_more_keys_and_values_spoils_no_row(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory may run out while the second layer's buffers grow and the first one's have grown."""
    llama = engine("llama")
    left, growing = [1], [0]
    zeros, resize = torch_cache._zeros, RowCache._resize

    def refusing(*args: Any) -> torch.Tensor:
        if growing[0]:
            growing[0] += 1
            if growing[0] == 4 and left:
                left.pop()
                raise RuntimeError("out of memory (injected)")
        return zeros(*args)

    def watched(self: RowCache, columns: int) -> None:
        growing[0] = 1
        try:
            resize(self, columns)
        finally:
            growing[0] = 0

    monkeypatch.setattr(RowCache, "_resize", watched)
    monkeypatch.setattr(torch_cache, "_zeros", refusing)
    monkeypatch.setattr(torch_decoder, "_CLAIM", 0.0)  # there is room for the first rows alone
    # Windows of three: the long prompts come when the short ones are being decoded already.
    monkeypatch.setattr(call, "LOOKAHEAD", 3)
    prompts = ["one two one two", "Où?", "a", *("one two " * 50, "two one " * 50), "x y z"]
    done = answers(llama, prompts, batch_size=4, max_length=40 + 170)
    monkeypatch.undo()
    assert not left
    assert [each.text for each in done] == [
        reference(llama, prompt, max_length=40 + 170) for prompt in prompts
    ]


def test_a_row_that_computes_nan_spoils_no_row_that_takes_its_place(
    fresh_engine: Engines,
) -> None:
    """Half precision overflows on some texts; their keys and values stay in the buffers."""
    gpt2 = fresh_engine("gpt2")
    # The likeliest of NaN is the first token, here the EOS: the row ends at once. A short prompt
    # takes its place beside the long one, so that its padding lies where the NaN were.
    prompts = ["one two " * 40, "§" + "one two " * 38, "a"]
    expected = texts(gpt2, prompts, batch_size=1, max_new_tokens=12)
    mark = gpt2.loaded.encode(["§"])[0][-1]
    with torch.no_grad():
        gpt2.loaded.model.get_input_embeddings().weight[mark] = torch.nan
    done = answers(gpt2, prompts, batch_size=2, max_new_tokens=12)
    assert [done[0].text, done[2].text] == [expected[0], expected[2]]


def test_errors_that_are_no_rows_fault_are_raised(engine: Engines) -> None:
    llama = engine("llama")

    def interrupted(ids: torch.Tensor) -> bool:
        raise KeyboardInterrupt

    with faults(llama, interrupted), pytest.raises(KeyboardInterrupt):
        answers(llama, PROMPTS, max_new_tokens=4)
    assert texts(llama, ["a"], max_new_tokens=3) == [reference(llama, "a", max_new_tokens=3)]
