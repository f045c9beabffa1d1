"""Names of weight formats, checkpoints by their headers, and exports that would not fit."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from hfnb import hardware
from hfnb.engines import folder_identity, openvino_export
from hfnb.engines import openvino_formats as formats
from hfnb.engines.openvino_convert import describe_groups
from hfnb.engines.openvino_formats import Checkpoint, check_weight_format
from hfnb.errors import ModelError, OptionError
from tests.needs import require
from tests.openvino.conftest import FakeChild, export_of, write_weights

require("openvino")


def test_a_weight_format_has_one_name() -> None:
    assert [check_weight_format(each) for each in formats.WEIGHT_FORMATS] == [
        *formats.WEIGHT_FORMATS
    ]
    assert check_weight_format("float16") == "fp16"
    assert check_weight_format(None) is None


@pytest.mark.parametrize(("wrong", "near"), [("int-8", "int8"), ("bf61", "bf16"), ("INT4", "int4")])
def test_an_unknown_format_is_an_error_with_the_closest_one(wrong: str, near: str) -> None:
    with pytest.raises(OptionError, match=f"Did you mean '{near}'"):
        check_weight_format(wrong)


def test_a_format_that_is_no_text_is_an_error() -> None:
    with pytest.raises(OptionError, match="Unknown weight_format 8"):
        check_weight_format(8)  # type: ignore[arg-type]


@pytest.mark.parametrize(("dtype", "name"), [("F32", "fp32"), ("F16", "fp16"), ("BF16", "bf16")])
def test_a_checkpoints_headers_tell_its_size_and_precision(
    model: Path, dtype: str, name: str
) -> None:
    write_weights(model / "model.safetensors", b"\1" * 64, dtype)
    found = formats.read_checkpoint("it", model, {})
    assert found.precision == name
    assert found.parameters == (16 if dtype == "F32" else 32)
    assert found.size == (model / "model.safetensors").stat().st_size


def test_the_shards_of_an_index_are_counted_and_other_files_are_not(model: Path) -> None:
    (model / "model.safetensors").rename(model / "a.safetensors")
    write_weights(model / "b.safetensors", b"\1" * 32)
    write_weights(model / "consolidated.safetensors", b"\1" * 96)
    index = {"weight_map": {"w": "a.safetensors", "v": "b.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(index))
    assert formats.read_checkpoint("it", model, {}).parameters == 24


def test_a_pickles_precision_is_what_its_config_says(model: Path) -> None:
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"0" * 64)
    assert formats.read_checkpoint("it", model, {}) == Checkpoint(16, 64, "fp32")
    config = {"torch_dtype": "bfloat16"}
    assert formats.read_checkpoint("it", model, config) == Checkpoint(32, 64, "bf16")


def test_weights_that_are_quantised_already_are_refused(child: FakeChild, model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "gptq"}
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError, match=r"quantised already \(gptq\).*backend='pytorch'"):
        export_of(model)
    assert child.jobs == []


def test_the_smaller_the_format_the_less_room_it_takes_in_the_end() -> None:
    rooms = [formats.room_for(Checkpoint(10**9, 2 * 10**9, "bf16"), each) for each in ("int8",)]
    assert rooms[0].memory > 2 * 10**9
    assert rooms[0].disk > 10**9


@pytest.mark.parametrize("weight_format", [None, "int8"])
def test_an_export_too_large_for_the_memory_is_refused_with_figures(
    child: FakeChild, model: Path, weight_format: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "memory_free", lambda: 300_000_000)
    with pytest.raises(ModelError, match=r"takes about [\d.]+ GB of memory, and 0.3 GB are free"):
        export_of(model, weight_format)
    assert child.jobs == []


def test_an_export_too_large_for_the_disk_is_refused_with_figures(
    child: FakeChild, model: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(free=10_000_000)
    monkeypatch.setattr(formats.shutil, "disk_usage", lambda _path: usage)
    with pytest.raises(ModelError, match=r"about 0.1 GB of disk in .*, and 0.0 GB are free"):
        export_of(model)
    assert child.jobs == []
    assert list((cache / "exports").glob("*")) == []


def test_what_is_too_large_is_refused_before_its_files_are_read(
    child: FakeChild, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A local checkpoint of 30 GB was read for two minutes, and then refused."""

    def read(*_args: object, **_options: object) -> str:
        raise AssertionError("the files were read")

    monkeypatch.setattr(openvino_export, "identity_of", read)
    monkeypatch.setattr(hardware, "memory_free", lambda: 300_000_000)
    with pytest.raises(ModelError, match=r"takes about [\d.]+ GB of memory"):
        export_of(model)


def test_an_export_that_is_kept_is_loaded_however_little_memory_is_left(
    child: FakeChild, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_of(model)
    monkeypatch.setattr(hardware, "memory_free", lambda: 300_000_000)
    assert export_of(model).was_there


def test_reading_large_files_is_told_once(
    child: FakeChild, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_identity, "_LARGE", 100)
    monkeypatch.setattr(folder_identity, "_TICK_S", -1.0)
    for told in (1, 0):
        lines: list[str] = []
        export_of(model, progress=lines.append)
        assert sum("Reading model.safetensors" in line for line in lines) == told


def test_layers_too_narrow_for_a_group_are_told() -> None:
    assert describe_groups({("int4", 128): 9, ("int8", 4096): 1}) == []
    [said] = describe_groups({("int4", 128): 9, ("int4", 32): 2, ("int8", 48): 1})
    assert said == (
        "int4: groups of 32 weights in 2 layers, whose width is no multiple of 128; int8 with one "
        "scale a column in 1 layers, whose width is no multiple of 32."
    )
