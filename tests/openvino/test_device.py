"""Devices and properties of OpenVINO: what is not there is refused before anything is exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hfnb import HuggingFacePipeline
from hfnb.engines import openvino_device, openvino_export
from hfnb.errors import DeviceError, OptionError
from tests.engines.reference import PROMPTS, texts
from tests.needs import require
from tests.openvino.engines import engine, exported, load, source

require("openvino")


@pytest.fixture
def no_export(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any, **options: Any) -> None:
        pytest.fail("exported before the arguments were checked")

    monkeypatch.setattr(openvino_export, "export_to", never)


class Machine:
    """Stands for OpenVINO's core on a machine with other devices."""

    def __init__(self, *devices: str) -> None:
        self.available_devices = list(devices)

    def get_property(self, device: str, name: str) -> dict[str, str]:
        assert name == "SUPPORTED_PROPERTIES"
        common = {"PERFORMANCE_HINT": "RW", "INFERENCE_PRECISION_HINT": "RW"}
        own = {"CPU": {"NUM_STREAMS": "RW"}, "AUTO": {"SCHEDULE_POLICY": "RW"}}
        return {**common, **own.get(device, {"GPU_QUEUE_PRIORITY": "RW"})}


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize(
    ("device", "missing"),
    [
        ("GPU", "OpenCL"),
        ("gpu.1", "OpenCL"),
        (0, "OpenCL"),
        ("xpu", "OpenCL"),
        ("NPU", "intel_vpu"),
        ("cuda", "backend='pytorch'"),
        ("cuda:0", "backend='pytorch'"),
        ("AUTO:GPU,CPU", "OpenCL"),
        ("MULTI:CPU", "one device"),
        ("gpuu", "AUTO"),
    ],
)
def test_a_device_that_is_not_there_is_refused_before_any_export(
    device: str | int, missing: str
) -> None:
    with pytest.raises(DeviceError, match="is not there: OpenVINO sees") as caught:
        load(source("llama"), reproducible=False, device=device)
    assert missing in str(caught.value)


@pytest.mark.parametrize("name", [None, "cpu", "CPU", -1])
def test_the_cpu_has_several_names(name: str | int | None) -> None:
    assert openvino_device.find_device(name) == "CPU"


def test_what_is_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_device, "core", lambda: Machine("CPU", "GPU.0", "GPU.1", "NPU"))
    found = openvino_device.find_device
    assert [found(each) for each in ("GPU", "gpu.1", "npu", 0, 1, "xpu")] == [
        *("GPU", "GPU.1", "NPU", "GPU", "GPU.1", "GPU")
    ]
    assert found("AUTO:GPU.1,CPU") == "AUTO:GPU.1,CPU"
    with pytest.raises(DeviceError, match=r"GPU\.2"):
        found("GPU.2")
    with pytest.raises(DeviceError, match="pytorch"):
        found("cuda")
    # Which one AUTO takes is not known, so nothing is said of its precision.
    assert openvino_device.precisions({}, "AUTO") == {}


def test_auto_takes_the_cpu_where_there_is_no_other() -> None:
    made = load(exported("llama"), device="auto", ov_config=(("PERFORMANCE_HINT", "LATENCY"),))
    assert (made.info.device, made.info.dtype) == ("AUTO", "f32")
    assert texts(made, PROMPTS[:3], max_new_tokens=6) == texts(
        engine("llama"), PROMPTS[:3], max_new_tokens=6
    )


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize("device", ["CPU", "AUTO", "AUTO:CPU"])
@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"PERFORMANCE_HINTS": "LATENCY"}, "Did you mean 'PERFORMANCE_HINT'?"),
        ({"CACHE_DIRS": ""}, "Did you mean 'CACHE_DIR'?"),
        ({"PERFORMANCE_HINT": "LATENCYY"}, "LATENCY/THROUGHPUT"),
        ({"INFERENCE_PRECISION_HINT": "f33"}, "bf16, f16, f32"),
        ({"NUM_STREAMS": "many"}, "many"),
        ({"KV_CACHE_PRECISION": "u9"}, "KV_CACHE_PRECISION"),
        ({"FULL_DEVICE_NAME": "mine"}, "FULL_DEVICE_NAME"),
    ],
)
def test_a_wrong_property_is_refused_before_any_export(
    config: dict[str, str], said: str, device: str
) -> None:
    with pytest.raises(OptionError) as caught:
        load(source("llama"), reproducible=False, device=device, ov_config=tuple(config.items()))
    assert said in str(caught.value)
    assert str(caught.value).startswith("ov_config has ")
    assert "Exception from" not in str(caught.value)


@pytest.mark.usefixtures("no_export")
@pytest.mark.parametrize("name", ["INFERENCE_PRECISION_HINT", "KEY_CACHE_PRECISION"])
def test_reproducible_and_another_precision_contradict_each_other(name: str) -> None:
    with pytest.raises(OptionError, match=rf"reproducible=True.*{name}.*Leave one"):
        load(source("llama"), ov_config=((name, "bf16"),))


def test_reproducible_sets_what_the_device_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = openvino_device.with_exact({"NUM_STREAMS": "1"}, "CPU")
    assert exact == {"NUM_STREAMS": "1", **openvino_device.EXACT}
    monkeypatch.setattr(openvino_device, "core", lambda: Machine("CPU", "NPU"))
    assert openvino_device.with_exact({}, "NPU") == {"INFERENCE_PRECISION_HINT": "f32"}


def test_the_properties_of_langchains_page_are_taken(tmp_path: Path) -> None:
    config = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1", "CACHE_DIR": str(tmp_path / "c")}
    llm = HuggingFacePipeline.from_model_id(
        model_id=str(exported("llama")),
        task="text-generation",
        backend="openvino",
        model_kwargs={"device": "CPU", "ov_config": config, "reproducible": True},
        pipeline_kwargs={"max_new_tokens": 6},
    )
    assert llm.invoke("a") == texts(engine("llama"), ["a"], max_new_tokens=6)[0]
    assert list((tmp_path / "c").iterdir())
