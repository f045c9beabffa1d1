"""`hfnb.export` and `hfnb.exports`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import hfnb
from hfnb.engines import openvino_cache, openvino_convert, openvino_folder
from hfnb.errors import ModelError, ModelFilesError, OptionError
from tests.needs import require
from tests.openvino.conftest import FakeChild, export_of

require("openvino")


def files_in(folder: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in folder.iterdir()}


def test_export_writes_a_folder_of_the_users_and_nothing_beside_it(
    child: FakeChild, model: Path, tmp_path: Path, cache: Path
) -> None:
    target = tmp_path / "new" / "ov"
    assert hfnb.export(model, target, progress=None) == target
    assert openvino_folder.is_exported(target)
    assert [each.name for each in target.parent.iterdir()] == ["ov"]
    assert not (cache / "exports").exists()
    loaded = export_of(target)
    assert (loaded.folder, loaded.was_there, loaded.weight_format) == (target, True, "fp32")
    assert len(child.jobs) == 1


def test_export_without_a_folder_fills_the_cache_that_load_uses(
    child: FakeChild, model: Path
) -> None:
    folder = hfnb.export(model, weight_format="int8", progress=None)
    assert export_of(model, "int8").folder == folder
    assert len(child.jobs) == 1


def test_export_takes_what_the_cache_has(child: FakeChild, model: Path, tmp_path: Path) -> None:
    kept = hfnb.export(model, progress=None)
    target = hfnb.export(model, tmp_path / "ov", progress=None)
    assert files_in(target) == files_in(kept)
    assert len(child.jobs) == 1


def test_export_tells_its_steps_on_standard_error(
    child: FakeChild, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hfnb.export(model)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("Exporting ")


def test_a_folder_with_something_else_in_it_is_never_overwritten(
    child: FakeChild, model: Path, tmp_path: Path
) -> None:
    target = tmp_path / "thesis"
    target.mkdir()
    (target / "thesis.tex").write_text("years of work")
    for overwrite in (False, True):
        with pytest.raises(OptionError, match=r"never overwritten|not empty"):
            hfnb.export(model, target, overwrite=overwrite)
    with pytest.raises(OptionError, match="is a file"):
        hfnb.export(model, target / "thesis.tex", overwrite=True)
    with pytest.raises(OptionError, match="not empty"):
        hfnb.export(model, model, overwrite=True)
    assert files_in(target) == {"thesis.tex": b"years of work"}
    assert child.jobs == []


def test_an_export_is_replaced_only_where_that_is_asked_for(
    child: FakeChild, model: Path, tmp_path: Path
) -> None:
    target = tmp_path / "ov"
    target.mkdir()
    hfnb.export(model, target, progress=None)  # an empty folder is free
    before = files_in(target)
    with pytest.raises(OptionError, match="overwrite=True"):
        hfnb.export(model, target, weight_format="int8")
    assert files_in(target) == before
    hfnb.export(model, target, weight_format="int8", overwrite=True, progress=None)
    assert openvino_cache.read_manifest(target).weight_format == "int8"  # type: ignore[union-attr]
    assert {each.name for each in tmp_path.iterdir()} == {"cache", "model", "ov"}


def test_a_failing_export_leaves_the_users_folder_as_it_was(
    child: FakeChild, model: Path, tmp_path: Path
) -> None:
    target = tmp_path / "ov"
    hfnb.export(model, target, progress=None)
    before = files_in(target)

    def fail(_part: Path) -> None:
        raise ModelError("no")

    child.before = fail
    with pytest.raises(ModelError, match="no"):
        hfnb.export(model, target, weight_format="int8", overwrite=True, progress=None)
    with pytest.raises(ModelError, match="no"):
        hfnb.export(model, tmp_path / "other", progress=None)
    assert files_in(target) == before
    assert {each.name for each in tmp_path.iterdir()} == {"cache", "model", "ov"}


def test_a_wrong_format_is_found_before_anything_else(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="Did you mean 'int8'"):
        hfnb.export("no/such-model", tmp_path / "ov", weight_format="in8")


def test_exports_lists_what_is_kept_and_how_large_it_is(child: FakeChild, model: Path) -> None:
    assert len(hfnb.exports()) == 0
    assert "no exported models" in repr(hfnb.exports())
    for name in ("fp32", "int8", "int4"):
        hfnb.export(model, weight_format=name, progress=None)
    kept = hfnb.exports()
    assert [each.weight_format for each in kept] == ["int4", "int8", "fp32"]
    assert all(each.model == str(model) and each.whole for each in kept)
    on_disk = sum(file.stat().st_size for each in kept for file in each.path.iterdir())
    assert kept.size == on_disk > 0
    assert "3 exported models" in repr(kept)
    assert [each.weight_format for each in hfnb.exports(model, "int8")] == ["int8"]
    assert len(hfnb.exports("another")) == 0
    assert [each.weight_format for each in kept[:2]] == ["int4", "int8"]


def test_exports_are_removed_one_by_one_or_together(child: FakeChild, model: Path) -> None:
    for name in ("fp32", "int8", "int4"):
        hfnb.export(model, weight_format=name, progress=None)
    one = hfnb.exports(weight_format="int8")[0]
    assert one.remove() == one.size
    assert not one.path.exists()
    assert one.remove() == 0
    rest = hfnb.exports()
    assert rest.remove() == rest.size
    assert len(hfnb.exports()) == 0
    assert not export_of(model).was_there


def test_a_damaged_export_is_listed_and_can_be_removed(child: FakeChild, model: Path) -> None:
    folder = hfnb.export(model, progress=None)
    (folder / openvino_cache.MANIFEST).unlink()
    [damaged] = hfnb.exports()
    assert not damaged.whole
    assert "damaged" in repr(hfnb.exports())
    damaged.remove()
    assert len(hfnb.exports()) == 0


# --- folders that are exported already --------------------------------------------------------


def exported_folder(model: Path, target: Path, *names: str) -> Path:
    """Write a folder as optimum-intel leaves it."""
    shutil.copytree(model, target, ignore=shutil.ignore_patterns("*.safetensors"))
    for name in names:
        data = '<data element_type="u8" shape="2" offset="0" size="9" />'
        (target / f"{name}.xml").write_text(f"<net>{data}</net>")
        (target / f"{name}.bin").write_bytes(b"123456789")
    return target


def test_exported_folders_are_recognised(model: Path, tmp_path: Path) -> None:
    is_exported, task = openvino_folder.is_exported, openvino_folder.exported_task
    decoder = exported_folder(model, tmp_path / "a", "openvino_model")
    assert task(decoder) == "text-generation"
    (decoder / "openvino_model.bin").unlink()
    assert not is_exported(decoder)
    pair = ("openvino_encoder_model", "openvino_decoder_model")
    seq2seq = exported_folder(model, tmp_path / "b", *pair)
    assert task(seq2seq) is None  # its config says gpt2
    config = {"model_type": "t5", "is_encoder_decoder": True}
    (seq2seq / "config.json").write_text(json.dumps(config))
    assert task(seq2seq) == "text2text-generation"
    encoder = exported_folder(model, tmp_path / "c", "openvino_model")
    bert = {"model_type": "bert", "architectures": ["BertModel"]}
    (encoder / "config.json").write_text(json.dumps(bert))
    assert not is_exported(encoder)
    (encoder / "config.json").unlink()
    assert task(encoder) == "text-generation"
    assert not is_exported(model)
    assert not is_exported(tmp_path / "nothing")


def test_a_missing_tokenizer_is_converted_beside_the_users_folder(
    child: FakeChild, model: Path, tmp_path: Path
) -> None:
    folder = exported_folder(model, tmp_path / "ov", "openvino_model")
    before = files_in(folder)
    for _ in range(2):
        done = export_of(folder, "int8")
        assert done.folder == folder
        assert done.weight_format == "int8"
        assert done.tokenizer is not None
        assert openvino_folder.has_tokenizer(done.tokenizer)
    assert files_in(folder) == before
    assert [job["do"] for job in child.jobs] == ["tokenizer"]
    (folder / "tokenizer.json").write_text('{"new": 1}')
    export_of(folder)
    assert len(child.jobs) == 2


def test_an_exported_folder_cannot_change_its_format(
    child: FakeChild, model: Path, tmp_path: Path
) -> None:
    target = hfnb.export(model, tmp_path / "ov", weight_format="int8", progress=None)
    with pytest.raises(OptionError, match="exported already, with weight_format='int8'"):
        export_of(target, "int4")
    with pytest.raises(OptionError, match="exported already"):
        hfnb.export(target, tmp_path / "again")


def test_a_folder_with_both_is_taken_as_it_is_or_exported_from_its_weights(
    child: FakeChild, model: Path, tmp_path: Path
) -> None:
    both = exported_folder(model, tmp_path / "both", "openvino_model")
    shutil.copyfile(model / "model.safetensors", both / "model.safetensors")
    assert export_of(both, "int8").folder == both
    assert export_of(both).folder == both
    other = export_of(both, "fp16")
    assert other.folder != both
    assert other.weight_format == "fp16"


def test_a_damaged_folder_of_the_users_is_an_error_that_says_what_is_missing(
    child: FakeChild, model: Path, tmp_path: Path
) -> None:
    target = hfnb.export(model, tmp_path / "ov", progress=None)
    (target / "config.json").write_text((target / "config.json").read_text() + " ")
    assert export_of(target).folder == target  # a user may edit it
    (target / "openvino_model.bin").write_bytes(b"cut")
    with pytest.raises(ModelFilesError, match=r"openvino_model.bin has 3 of 700 bytes"):
        export_of(target)


def test_the_files_beside_the_weights_are_kept_as_they_are(
    tiny_model: Callable[[str], Path],
) -> None:
    names = {each.name for each in openvino_convert.own_files(tiny_model("qwen3"), with_code=False)}
    assert {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"} <= names
    assert "config.json" not in names
