"""A cache of its own for each test, a stand-in for the exporting process, and a real export."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from hfnb import hub
from hfnb.engines import openvino_cache, openvino_child, openvino_export
from hfnb.engines.openvino_export import Exported
from hfnb.engines.openvino_folder import is_exported
from hfnb.hub import ModelFiles
from hfnb.spec import ModelSpec


class FakeChild:
    """Writes what an export writes, at once; counts its calls, and fails on request."""

    def __init__(self) -> None:
        self.jobs: list[dict[str, Any]] = []
        self.before: Callable[[Path], None] = lambda _part: None
        """Called with the half-made folder."""

    def __call__(self, job: Mapping[str, Any], progress: Callable[[str], None]) -> dict[str, Any]:
        self.jobs.append(dict(job))
        progress("working")
        part = Path(job["part"])
        if job["do"] == "export":
            (part / "openvino_model.xml").write_text(f"<net {job['weight_format']}/>")
            self.before(part)
            (part / "openvino_model.bin").write_bytes(b"weights" * 100)
            shutil.copyfile(Path(job["source"]) / "config.json", part / "config.json")
        (part / "openvino_tokenizer.xml").write_text("<net/>")
        (part / "openvino_detokenizer.xml").write_text("<net/>")
        return {"notes": ["int4: a note."] if job.get("weight_format") == "int4" else []}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache; processes that the test starts have it too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(openvino_cache, "root", lambda: tmp_path / "cache" / "hfnb" / "openvino")
    return tmp_path / "cache" / "hfnb" / "openvino"


@pytest.fixture
def child(monkeypatch: pytest.MonkeyPatch) -> FakeChild:
    fake = FakeChild()
    monkeypatch.setattr(openvino_child, "run", fake)
    return fake


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A folder that looks like a model: a config, a tokenizer, and a few weights."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(
        json.dumps({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})
    )
    (folder / "tokenizer.json").write_text("{}")
    write_weights(folder / "model.safetensors", b"\1" * 64)
    return folder


def write_weights(file: Path, content: bytes, dtype: str = "F32") -> None:
    width = {"F32": 4, "F16": 2, "BF16": 2}[dtype]
    described = {
        "dtype": dtype,
        "shape": [len(content) // width],
        "data_offsets": [0, len(content)],
    }
    header = json.dumps({"w": described}).encode()
    file.write_bytes(len(header).to_bytes(8, "little") + header + content)


def export_of(model: str | Path, weight_format: str | None = None, **options: Any) -> Exported:
    """Export as the engine does, in silence."""
    folder = Path(model)
    if is_exported(folder):
        files = ModelFiles(str(model), folder, "text-generation", {"model_type": "gpt2"})
    else:
        files = hub.find(ModelSpec(str(model)))
    options.setdefault("progress", lambda _line: None)
    return openvino_export.exported(files, weight_format=weight_format, **options)


@pytest.fixture(scope="session")
def _gpt2_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gpt2-export")


@pytest.fixture
def gpt2_export(tiny_model: Callable[[str], Path], cache: Path, _gpt2_cache: Path) -> Exported:
    """The tiny gpt2, really exported, once a session; in each test's own cache."""
    kept = _gpt2_cache / "openvino"
    if not kept.is_dir():
        export_of(tiny_model("gpt2"))
        shutil.copytree(cache, kept)
    else:
        shutil.copytree(kept, cache)
    done = export_of(tiny_model("gpt2"))
    assert done.was_there
    return done
