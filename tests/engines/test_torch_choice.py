"""Labels' probabilities: those of the model itself, whatever the batches and the labels."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from hfnb.engines.base import Chat, Completion, Message, Request, Work
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import OptionError, PromptTooLongError
from hfnb.spec import GenerationSpec, Grammar
from tests.engines.reference import PROMPTS, engine_of, with_settings

Engines = Callable[[str], TorchEngine]
SHORT = ("a", "b")
LONG = ("one hundred", "two", "one thousand and three")


def asked(
    engine: Any, labels: Sequence[str], prompts: Sequence[Any] = PROMPTS, **options: Any
) -> tuple[list[Completion], Work]:
    batch_size = options.pop("batch_size", "auto")
    grammar = Grammar("choice", json.dumps(list(labels)))
    spec = dataclasses.replace(GenerationSpec.of(**options), grammar=grammar)
    requests = [Request(row, prompt) for row, prompt in enumerate(prompts)]
    work = Work()
    done = list(engine.generate(requests, spec, work=work, batch_size=batch_size))
    return sorted(done, key=lambda each: each.row), work


def shares(done: Sequence[Completion]) -> list[dict[str, float]]:
    assert [each.error for each in done] == [None] * len(done)
    return [json.loads(each.text or "")["probabilities"] for each in done]


def by_hand(engine: TorchEngine, prompt: str, labels: Sequence[str]) -> dict[str, float]:
    """Read the prompt with each label behind it alone, and add up its tokens' logarithms."""
    loaded = engine.loaded
    (ids,) = loaded.encode([prompt])
    found = {}
    for label in labels:
        without, with_space = map(tuple, loaded.tokenise([label, f" {label}"]))
        ways = {without} if with_space[-len(without) :] == without else {without, with_space}
        logs = []
        for way in ways:
            with torch.inference_mode():
                if loaded.is_decoder:
                    logits = loaded.model(input_ids=torch.tensor([[*ids, *way]])).logits[0]
                    logits = logits[len(ids) - 1 : -1]
                else:
                    start = loaded.start_ids({})
                    logits = loaded.model(
                        input_ids=torch.tensor([ids]),
                        decoder_input_ids=torch.tensor([[*start, *way[:-1]]]),
                    ).logits[0]
            steps = logits.log_softmax(dim=-1)
            logs.append(sum(float(steps[at, token]) for at, token in enumerate(way)))
        found[label] = math.log(sum(map(math.exp, logs)))
    whole = math.log(sum(map(math.exp, found.values())))
    return {label: math.exp(each - whole) for label, each in found.items()}


@pytest.mark.parametrize("labels", [SHORT, LONG], ids=["one token", "several"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "t5"])
def test_probabilities_are_those_of_the_labels_read_one_by_one(
    name: str, labels: tuple[str, ...], engine: Engines
) -> None:
    model = engine(name)
    done, _ = asked(model, labels)
    for prompt, found in zip(PROMPTS, shares(done), strict=True):
        assert found == pytest.approx(by_hand(model, prompt, labels), abs=1e-4)
        assert sum(found.values()) == pytest.approx(1)


def test_labels_of_one_token_take_one_forward_pass_a_batch(engine: Engines) -> None:
    llama = engine("llama")
    done, work = asked(llama, SHORT)
    assert len(done) == len(PROMPTS)
    assert work.batches == work.forwards
    assert work.path == "label probabilities, one forward pass"
    _, work = asked(llama, LONG)
    assert work.forwards == 2 * work.batches
    assert {each.new_tokens for each in done} == {0}


def test_batches_change_nothing(engine: Engines) -> None:
    alone, _ = asked(engine("llama"), LONG, batch_size=1)
    together, work = asked(engine("llama"), LONG, batch_size=7)
    assert work.batch_rows == 7
    for one, other in zip(shares(alone), shares(together), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_many_labels_are_read_a_few_rows_at_a_time(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, few = asked(engine("llama"), LONG)
    monkeypatch.setattr("hfnb.engines.torch_choice._MOST_LOGITS", 4000)
    apart, many = asked(engine("llama"), LONG)
    assert many.forwards > few.forwards
    for one, other in zip(shares(whole), shares(apart), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_chats_are_answered_too(engine: Engines) -> None:
    prompt = Chat((Message("user", "one or two?"),))
    qwen = engine("qwen3")
    chat, plain = shares(asked(qwen, SHORT, [prompt, qwen.render(prompt)])[0])
    assert chat == pytest.approx(plain)


def test_a_prompt_without_room_for_the_labels_is_its_own_rows_error(
    tmp_path: Path, tiny_model: Callable[[str], Path]
) -> None:
    folder = with_settings(
        tiny_model("llama"), tmp_path / "short", "config.json", max_position_embeddings=16
    )
    done, _ = asked(engine_of(folder), LONG, ["a", "a b c d e f g h i j k l m n o p q r s t u v"])
    assert done[0].error is None
    assert isinstance(done[1].error, PromptTooLongError)


@pytest.mark.parametrize("option", [{"num_beams": 2}, {"repetition_penalty": 1.5}], ids=str)
def test_options_that_choose_otherwise_are_refused(option: dict[str, Any], engine: Engines) -> None:
    with pytest.raises(OptionError, match="the model's own"):
        asked(engine("llama"), SHORT, **option)


def test_a_label_that_the_vocabulary_lacks_is_refused(engine: Engines) -> None:
    with pytest.raises(OptionError, match="lacks characters of the label"):
        asked(engine("marian"), ("one", "\u6f22\u5b57"))
