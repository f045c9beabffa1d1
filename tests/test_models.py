"""`hfnb.models`: what can be picked on this machine. `test_hub_faults.py` asks the Hub."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import hfnb
from hfnb.errors import OptionError

Tiny = Callable[[str], Path]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, and no exports."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def test_the_packaged_models_are_there_with_what_their_files_tell() -> None:
    numbers, t5 = hfnb.models(source="packaged")
    assert (numbers.name, numbers.task) == ("hfnb/numbers-fr", "text-generation")
    assert numbers.parameters is not None
    assert numbers.parameters > 1_000_000
    assert (numbers.dtype, numbers.context_length) == ("float32", 1024)
    assert numbers.has_chat_template
    assert numbers.backends == ("pytorch", "openvino")
    assert numbers.size is not None
    assert numbers.size >= 4 * numbers.parameters
    assert t5.tasks == ("text2text-generation", "translation", "summarization")
    assert t5.context_length is None


def test_what_is_listed_is_what_load_says_of_it(place: Path, tiny_model: Tiny) -> None:
    shutil.copytree(tiny_model("gpt2"), place / "mine")
    (entry,) = hfnb.models(source="folders")
    assert entry.name == "./mine"
    info = hfnb.load(entry.name, dtype="float32").engine.info
    assert entry.parameters == info.parameters
    assert entry.context_length == info.context_length
    assert entry.task == info.task
    assert entry.has_chat_template == info.has_chat_template


def test_folders_that_hold_nothing_to_run_are_left_out(place: Path, tiny_model: Tiny) -> None:
    for name in ("fine", "classifier", "pickled", "broken", "truncated"):
        shutil.copytree(tiny_model("gpt2"), place / name)
    config = json.loads((place / "classifier/config.json").read_text())
    config["architectures"] = ["GPT2ForSequenceClassification"]
    (place / "classifier/config.json").write_text(json.dumps(config))
    (place / "pickled/model.safetensors").rename(place / "pickled/pytorch_model.bin")
    (place / "broken/config.json").write_text("{")
    (place / "truncated/model.safetensors").write_bytes(b"12345")
    (place / "empty").mkdir()
    (place / "a file").write_text("x")
    assert hfnb.models(source="folders").names == ["./fine"]


def test_a_folder_can_be_asked_for_by_its_path(place: Path, tiny_model: Tiny) -> None:
    assert hfnb.models(tiny_model("gpt2"), source="folders").names == [str(tiny_model("gpt2"))]
    assert len(hfnb.models(tiny_model("gpt2").parent, source="folders")) >= 1


def test_a_query_a_task_and_a_source_narrow_the_list(place: Path) -> None:
    assert hfnb.models("NUMBERS").names == ["hfnb/numbers-fr"]
    assert hfnb.models(task="summarization").names == ["hfnb/tiny-t5"]
    assert hfnb.models("no such thing").names == []
    assert hfnb.models(source=["folders", "cache"]).names == []
    assert repr(hfnb.models("no such thing")).startswith("no model\n")


def test_an_unknown_source_or_task_gets_the_closest_name() -> None:
    with pytest.raises(OptionError, match=r"Unknown source 'hubb'\. Did you mean 'hub'"):
        hfnb.models(source="hubb")
    with pytest.raises(OptionError, match="Did you mean 'translation'"):
        hfnb.models(task="translations")


def test_what_was_not_asked_is_said(place: Path) -> None:
    assert hfnb.models().notes == (
        "the Hub was not asked: give part of a name, such as hfnb.models('qwen')",
    )
    (offline,) = hfnb.models("numbers").notes
    assert offline == "the Hub is not among them: HF_HUB_OFFLINE is set"


def test_exports_are_listed_for_openvino_alone(
    place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    export_into: Callable[[Path], None],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    export_into(tmp_path)
    folder = hfnb.export("hfnb/numbers-fr", weight_format="int8", progress=None)
    (entry,) = hfnb.models(source="exports")
    assert (entry.name, entry.backends, entry.dtype) == ("hfnb/numbers-fr", ("openvino",), "int8")
    assert entry.folder == folder
    (next(folder.glob("openvino_model.bin"))).write_bytes(b"damaged")
    assert hfnb.models(source="exports").names == []


def test_listing_loads_no_backend(place: Path) -> None:
    code = "import hfnb, sys; hfnb.models(); print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_models_are_shown_as_text_and_as_html_with_names_escaped(
    place: Path, tiny_model: Tiny
) -> None:
    shutil.copytree(tiny_model("gpt2"), place / "<b>bold")
    shown = hfnb.models(source="folders")
    assert "downloads" not in repr(shown)  # a column that says nothing is left out
    assert "text-generation" in repr(shown)
    assert "&lt;b&gt;bold" in shown._repr_html_()
    assert "<b>" not in shown._repr_html_()
