"""What loading says before it begins: the choices made, and once where OpenVINO would be faster."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import hfnb
from hfnb import speeds
from hfnb.engines import telling
from hfnb.errors import OptionError
from tests.needs import require

NAME = "hfnb/numbers-fr"
ONE = pd.DataFrame({"i": [72]})
PROMPT = "What is the number {i} in french?"


@pytest.fixture(autouse=True)
def _nothing_said_or_measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(telling, "_advised", False)
    monkeypatch.setattr(speeds, "_file", lambda: tmp_path / "speeds.json")


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_the_choices_are_said_before_loading_and_are_those_of_the_figures(
    capsys: pytest.CaptureFixture[str],
) -> None:
    llm = hfnb.load(NAME, device="cpu", progress=True)
    (line,) = said(capsys)
    stats = hfnb.run(ONE, PROMPT, llm, progress=False, journal=False).stats
    chosen = (stats.task, stats.backend, stats.dtype, stats.device)
    assert line == f"Loading {NAME}: {' · '.join(chosen)} · 1.12 M parameters"


def test_the_choices_of_openvino_are_said_too(capsys: pytest.CaptureFixture[str]) -> None:
    require("openvino")
    hfnb.load(NAME, backend="openvino", progress=False)
    assert said(capsys) == []
    llm = hfnb.load(NAME, backend="openvino", progress=True)
    line = said(capsys)[-1]
    assert line.startswith(f"Loading {NAME}: text-generation · openvino · ")
    assert f"{llm.engine.info.dtype}, weights fp32 · CPU" in line


def test_the_choices_are_made_before_the_weights_are_read(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any, **__: Any) -> None:
        raise ValueError("stopped")

    monkeypatch.setattr("hfnb.engines.torch_load.AutoModelForCausalLM.from_pretrained", stop)
    with pytest.raises(hfnb.HfnbError, match="stopped"):
        hfnb.load(NAME, progress=True)
    assert said(capsys)[0].startswith(f"Loading {NAME}: ")


def test_a_log_and_those_who_want_quiet_get_no_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    hfnb.load(NAME)  # standard error is no terminal here
    monkeypatch.setattr("hfnb.loading.is_watched", lambda: True)
    hfnb.load(NAME, progress=False)
    hfnb.run(ONE, PROMPT, NAME, progress=False, journal=False)
    hfnb.HuggingFacePipeline.from_model_id(NAME, "text-generation")
    assert said(capsys) == []
    hfnb.load(NAME)
    assert len(said(capsys)) == 1
    with pytest.raises(OptionError, match="progress is True, False or 'auto'"):
        hfnb.load(NAME, progress="no")  # type: ignore[arg-type]


def test_openvino_is_advised_once_a_session_with_the_factor_that_was_measured(
    capsys: pytest.CaptureFixture[str],
) -> None:
    speeds.remember(NAME, {"pytorch": 10.0, "openvino": 34.0})
    hfnb.load(NAME, device="cpu", progress=False)
    hfnb.load(NAME, device="cpu", progress=True)
    assert "OpenVINO was 3.4 times as fast with this model here, measured on" in said(capsys)[1]
    hfnb.load(NAME, device="cpu", progress=True)
    assert len(said(capsys)) == 1


def test_nothing_is_advised_where_openvino_was_not_faster_or_the_model_is_tiny(
    tiny_model: Callable[[str], Path],
) -> None:
    assert telling.openvino_advice(NAME, "text-generation", 1_000_000) == ""
    assert telling.openvino_advice(NAME, "text-generation", None) == ""
    assert telling.openvino_advice(NAME, "translation", 10**9) == ""
    assert "OpenVINO is mostly faster" in telling.openvino_advice(NAME, "text-generation", 10**9)
    speeds.remember(NAME, {"pytorch": 10.0, "openvino": 11.0})
    assert telling.openvino_advice(NAME, "text-generation", 10**9) == ""


def test_an_accelerator_gets_no_advice() -> None:
    lines: list[str] = []
    telling.advise_openvino(lines.append, NAME, "text-generation", "cuda:0", 10**9)
    assert lines == []
    telling.advise_openvino(lines.append, NAME, "text-generation", "cpu", 10**9)
    assert len(lines) == 1


def test_without_openvino_the_advice_says_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    line = telling.openvino_advice(NAME, "text-generation", 10**9)
    assert line.endswith('(pip install "hfnb[openvino]").')


def test_speeds_are_kept_by_model_and_a_damaged_file_is_as_none() -> None:
    assert speeds.openvino_factor(NAME) is None
    speeds.remember(NAME, {"pytorch": 2.0})
    assert speeds.openvino_factor(NAME) is None
    speeds.remember(NAME, {"pytorch": 2.0, "openvino": 5.0})
    speeds.remember("another", {"pytorch": 2.0, "openvino": 1.0})
    found = speeds.openvino_factor(NAME)
    assert found is not None
    assert found.factor == 2.5
    for content in ("", "[1]", json.dumps({"x": 1}), json.dumps({speeds._key(NAME): {}})):
        speeds._file().write_text(content)
        assert speeds.openvino_factor(NAME) is None


def test_only_the_latest_models_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speeds, "_MOST", 2)
    for name in "abca":
        speeds.remember(name, {"pytorch": 1.0, "openvino": 2.0})
    assert [speeds.openvino_factor(each) is None for each in "abc"] == [False, True, False]
