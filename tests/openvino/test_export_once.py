"""A model is exported once, and again when something that decides the result has changed."""

import os
import shutil
import threading
from pathlib import Path

import pytest

from hfnb.engines import folder_identity, openvino_cache, openvino_export
from hfnb.errors import ModelError, ModelFilesError
from tests.needs import require
from tests.openvino.conftest import FakeChild, export_of, write_weights

require("openvino")


def test_a_second_load_exports_nothing_and_says_nothing(child: FakeChild, model: Path) -> None:
    first = export_of(model)
    said: list[str] = []
    second = export_of(model, progress=said.append)
    assert (first.was_there, second.was_there) == (False, True)
    assert second.folder == first.folder
    assert second.tokenizer == second.folder
    assert len(child.jobs) == 1
    assert said == []


def test_the_steps_of_an_export_are_told(child: FakeChild, model: Path) -> None:
    said: list[str] = []
    done = export_of(model, progress=said.append)
    assert said[0] == f"Exporting {model} to OpenVINO (fp32), once."
    assert said[1] == "  working ..."
    assert str(done.folder) in said[-1]


def test_a_note_is_kept_with_the_export(child: FakeChild, model: Path) -> None:
    assert export_of(model, "int4").notes == ("int4: a note.",)
    assert export_of(model, "int4").notes == ("int4: a note.",)


def test_a_touched_file_is_not_another_model(child: FakeChild, model: Path) -> None:
    export_of(model)
    os.utime(model / "model.safetensors", (1, 1))
    assert export_of(model).was_there


@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "chat_template.jinja", "generation_config.json"]
)
def test_an_edited_file_is_another_model(child: FakeChild, model: Path, name: str) -> None:
    export_of(model)
    file = model / name
    file.write_text((file.read_text() if file.exists() else "{}") + " ")
    assert not export_of(model).was_there


def test_a_readme_decides_nothing(child: FakeChild, model: Path) -> None:
    export_of(model)
    (model / "README.md").write_text("# New")
    assert export_of(model).was_there


@pytest.mark.parametrize("replaced", [True, False])
def test_weights_of_the_same_size_and_time_are_seen_to_be_others(
    child: FakeChild, model: Path, replaced: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_identity, "_TICK_S", 0.0)  # or no hash would be remembered yet
    export_of(model)
    file = model / "model.safetensors"
    before = file.stat()
    target = model / "new" if replaced else file
    write_weights(target, b"\2" * 64)
    target.replace(file)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.stat().st_size == before.st_size
    assert not export_of(model).was_there


def test_weights_are_read_once_while_nothing_changes(
    child: FakeChild, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_identity, "_TICK_S", 0.0)
    export_of(model)
    monkeypatch.setattr(folder_identity, "_hash", lambda file: pytest.fail(f"{file} was read"))
    assert export_of(model).was_there


def test_a_file_that_was_just_written_is_read_again(
    child: FakeChild, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second write within the clock's tick would leave size, times and inode as they are."""
    export_of(model)
    read: list[str] = []
    real = folder_identity._hash
    monkeypatch.setattr(folder_identity, "_hash", lambda file: read.append(file.name) or real(file))
    export_of(model)
    assert "model.safetensors" in read


def test_a_copy_of_a_model_is_the_same_model(child: FakeChild, model: Path, tmp_path: Path) -> None:
    export_of(model)
    shutil.copytree(model, tmp_path / "elsewhere" / "model")
    assert export_of(tmp_path / "elsewhere" / "model").was_there


def test_a_snapshot_of_the_hub_is_known_by_its_commit(
    child: FakeChild, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshots = tmp_path / "hub" / "models--me--mine" / "snapshots"
    one, two = snapshots / ("1" * 40), snapshots / ("2" * 40)
    shutil.copytree(model, one)
    shutil.copytree(model, two)
    monkeypatch.setattr(folder_identity, "_hash", lambda file: pytest.fail(f"{file} was read"))
    assert export_of(one).folder.name.startswith("me-mine--fp32--")
    assert export_of(one).was_there
    assert not export_of(two).was_there


def test_another_format_or_another_version_is_another_export(
    child: FakeChild, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_of(model)
    assert not export_of(model, "int8").was_there
    now = openvino_export.versions()
    monkeypatch.setattr(openvino_export, "versions", lambda: {**now, "nncf": "99"})
    assert export_of(model).was_there  # nncf has no part in it
    assert not export_of(model, "int8").was_there
    monkeypatch.setattr(openvino_export, "versions", lambda: {**now, "optimum-intel": "99"})
    assert not export_of(model).was_there


def test_the_name_of_the_checkpoints_precision_is_the_default(
    child: FakeChild, model: Path
) -> None:
    write_weights(model / "model.safetensors", b"\1" * 64, "BF16")
    assert export_of(model).weight_format == "bf16"
    assert export_of(model, "bfloat16").was_there


@pytest.mark.parametrize("name", ["openvino_model.bin", "openvino_tokenizer.xml", "config.json"])
@pytest.mark.parametrize("missing", [True, False])
def test_a_damaged_export_is_noticed_and_made_again(
    child: FakeChild, model: Path, name: str, missing: bool
) -> None:
    file = export_of(model).folder / name
    content = file.read_bytes()
    file.unlink()
    if not missing:
        file.write_bytes(content[:-1])
    said: list[str] = []
    assert not export_of(model, progress=said.append).was_there
    assert "is damaged: " + name in said[0]
    assert file.read_bytes() == content
    assert export_of(model).was_there


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"files": {}}'])
def test_an_export_without_its_manifest_is_none(
    child: FakeChild, model: Path, content: str | None
) -> None:
    manifest = export_of(model).folder / openvino_cache.MANIFEST
    manifest.unlink()
    if content is not None:
        manifest.write_text(content)
    assert not export_of(model).was_there
    assert export_of(model).was_there


@pytest.mark.parametrize("error", [ModelError("no"), KeyboardInterrupt()])
def test_a_failed_or_interrupted_export_leaves_nothing(
    child: FakeChild, model: Path, cache: Path, error: BaseException
) -> None:
    def fail(_part: Path) -> None:
        raise error

    child.before = fail
    with pytest.raises(type(error)):
        export_of(model)
    assert list((cache / "exports").iterdir()) == []
    child.before = lambda _part: None
    assert not export_of(model).was_there


def test_what_a_dead_export_left_is_swept_and_a_living_one_is_not(
    child: FakeChild, model: Path, cache: Path
) -> None:
    dead = openvino_cache.part_of(cache / "exports" / "dead")
    alive = openvino_cache.part_of(cache / "exports" / "alive")
    export_of(model)
    assert not dead.exists()
    assert not alive.exists()
    alive = openvino_cache.part_of(cache / "exports" / "alive")
    with openvino_cache.locked(cache / "exports" / "alive"):
        other = threading.Thread(target=export_of, args=(model, "int8"))
        other.start()
        other.join()
        assert len(child.jobs) == 2
        assert alive.exists()


def test_threads_that_ask_at_once_export_once_and_the_waiting_one_says_so(
    child: FakeChild, model: Path
) -> None:
    waits = threading.Event()
    said: list[str] = []
    done: list[bool] = []

    def second() -> None:
        def listen(line: str) -> None:
            said.append(line)
            waits.set()

        done.append(export_of(model, progress=listen).was_there)

    other = threading.Thread(target=second)

    def start_the_other(_part: Path) -> None:
        other.start()
        assert waits.wait(20)

    child.before = start_the_other
    assert not export_of(model).was_there
    other.join(20)
    assert done == [True]
    assert len(child.jobs) == 1
    assert said == [f"Waiting: another process or thread exports {model} to OpenVINO."]


def test_a_model_that_changes_while_it_is_exported_is_not_kept(
    child: FakeChild, model: Path
) -> None:
    child.before = lambda _part: write_weights(model / "model.safetensors", b"\3" * 64)
    with pytest.raises(ModelFilesError, match="changed while they were exported"):
        export_of(model)
    child.before = lambda _part: None
    assert not export_of(model).was_there


def test_a_cache_that_cannot_be_written_is_an_error_that_says_what_to_do(
    child: FakeChild, model: Path, cache: Path
) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text("a file where the cache's folder should be")
    with pytest.raises(ModelError, match=r"could not be exported into .*XDG_CACHE_HOME"):
        export_of(model)
