"""Encoder-decoders, and decoders that GenAI can't run, with optimum-intel: PyTorch's answers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import hfnb
from hfnb.engines import openvino_device
from hfnb.engines.base import Work
from hfnb.errors import ModelFilesError
from tests.engines.reference import PROMPTS, answers, reference, streamed, texts
from tests.needs import require
from tests.openvino.engines import engine, exported, load, torch_engine

require("openvino")

pytestmark = [
    pytest.mark.slow,  # an encoder-decoder takes twenty seconds to export
    # optimum-intel makes arrays of tensors in a way that numpy will change.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]
TOKENS = 10


@pytest.mark.parametrize("name", ["t5", "bart", "m2m100", "tiny-t5"])
def test_encoder_decoders_answer_as_pytorch_does(name: str) -> None:
    theirs, options = torch_engine(name), languages(name)
    found = answers(theirs, PROMPTS, max_new_tokens=TOKENS, **options)
    expected = [each.text for each in found]
    for batch_size in (1, 4, "auto"):
        work = Work()
        ours = engine(name)
        given: dict[str, Any] = {"max_new_tokens": TOKENS, "work": work, **options}
        assert texts(ours, PROMPTS, batch_size=batch_size, **given) == expected
        assert work.path.startswith("optimum-intel generate (it is an encoder-decoder")
        assert work.new_tokens == sum(each.new_tokens or 0 for each in found)
    info = engine(name).info
    assert (info.engine, info.backend, info.device) == ("optimum-intel", "openvino", "CPU")
    assert info.dtype == "f32"
    assert "weights fp32" in info.note
    assert info.parameters > 0.7 * theirs.info.parameters
    assert len({engine(each).fingerprint for each in (name, "t5", "bart")}) >= 2


def languages(name: str) -> dict[str, str]:
    return {"src_lang": "en", "tgt_lang": "fr"} if name == "m2m100" else {}


def test_batches_are_sorted_so_that_little_is_padded() -> None:
    work = Work()
    prompts = ["a", "one two " * 20] * 8
    texts(engine("t5"), prompts, batch_size=8, max_new_tokens=4, work=work)
    assert work.padding_tokens == 0
    assert work.batches == 2


def test_streams_of_encoder_decoders_join_to_the_text() -> None:
    deltas, done = streamed(engine("t5"), PROMPTS[:4], max_new_tokens=TOKENS)
    expected = [reference(torch_engine("t5"), each, max_new_tokens=TOKENS) for each in PROMPTS[:4]]
    assert ["".join(each) for each in deltas] == [each.text for each in done] == expected


def test_a_tokenizer_that_nothing_can_read_is_named(tmp_path: Path) -> None:
    """transformers is asked too, which reads tokenizers in older forms; here it can't either."""
    folder = tmp_path / "llama"
    shutil.copytree(exported("llama"), folder)
    (folder / "hfnb_export.json").unlink()
    tokenizer = (folder / "tokenizer.json").read_text()
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ModelFilesError, match=r"tokenizer\.json"):
        load(folder)
    (folder / "tokenizer.json").write_text(tokenizer)
    assert load(folder).info.engine == "OpenVINO GenAI"


def test_a_decoder_that_genai_refuses_goes_through_optimum_intel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import openvino_genai

    from hfnb.engines import openvino_engine

    def refuse(*args: Any, **options: Any) -> None:
        raise RuntimeError("Exception from src/x.cpp:1:\nno paged attention here.\n")

    with monkeypatch.context() as patch:
        patch.setattr(openvino_engine.openvino_genai, "ContinuousBatchingPipeline", refuse)
        assert openvino_genai.ContinuousBatchingPipeline is refuse
        made = load(exported("llama"))
    assert made.info.engine == "optimum-intel"
    assert "no paged attention here" in made.info.note
    assert "Exception from" not in made.info.note
    expected = [reference(torch_engine("llama"), each, max_new_tokens=6) for each in PROMPTS[:4]]
    assert texts(made, PROMPTS[:4], max_new_tokens=6) == expected


def test_an_npu_takes_decoders_through_optimum_intel(monkeypatch: pytest.MonkeyPatch) -> None:
    from hfnb.engines import openvino_static

    told: dict[str, Any] = {}

    def noting(*args: Any, **options: Any) -> Any:
        told.update(options)
        return hfnb.EchoEngine()

    monkeypatch.setattr(openvino_static, "load", noting)
    real = openvino_device.core()

    class Machine:
        available_devices = ("CPU", "NPU")

        def get_property(self, device: str, name: str) -> Any:
            return real.get_property("CPU", name)

    monkeypatch.setattr(openvino_device, "core", Machine)
    load(exported("llama"), reproducible=False, device="NPU")
    assert told["why"] == "an NPU has no paged attention"
