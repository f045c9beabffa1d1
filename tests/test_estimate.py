"""`hfnb.estimate`: what is told, and that it is what a model then takes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import hfnb
from bench.estimate import BACKENDS, FORMATS, PACKAGED, SHAPES, compare, export
from bench.models import random_llama
from hfnb import machine
from hfnb.errors import DeviceError, ModelNotFoundError, OptionError
from hfnb.machine import Device, Devices
from tests.needs import require

NAME = "hfnb/numbers-fr"


def test_what_a_model_takes_is_told_by_its_parts() -> None:
    told = hfnb.estimate(NAME, device="cpu", batch_size=4, prompt_tokens=10, max_new_tokens=6)
    config = json.loads((Path(hfnb.__file__).parent / "demo/numbers-fr/config.json").read_text())
    heads, layers = config["num_key_value_heads"], config["num_hidden_layers"]
    width = config["hidden_size"] // config["num_attention_heads"]
    size = 2 if told.dtype == "bfloat16" else 4
    assert told.kv_bytes == 4 * (10 + 6) * 2 * layers * heads * width * size
    assert told.weights_bytes == size * told.parameters
    running = told.setup_bytes + told.weights_bytes + told.kv_bytes + told.compute_bytes
    assert told.total_bytes == told.libraries_bytes + max(told.loading_bytes, running)
    assert (told.rows, told.device, told.export_bytes, told.disk_bytes) == (4, "cpu", 0, 0)


def test_nothing_is_loaded_for_an_estimate() -> None:
    code = (
        "import hfnb, sys\n"
        f"told = hfnb.estimate({NAME!r})\n"
        "print(told.verdict, {'torch', 'transformers', 'openvino'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["fits", "set()"]


def test_another_dtype_is_read_beside_what_is_made_of_it(tiny_model: Callable[[str], Path]) -> None:
    plain = hfnb.estimate(tiny_model("gpt2"), device="cpu", dtype="float32")
    half = hfnb.estimate(tiny_model("gpt2"), device="cpu", dtype="bfloat16")
    assert half.kv_bytes * 2 == plain.kv_bytes
    assert half.loading_bytes > plain.loading_bytes


def free(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    used = psutil.Process().memory_info().rss
    monkeypatch.setenv("MEM_LIMIT", str(used + count))


def test_the_verdict_and_the_largest_batch_follow_what_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    options: dict[str, Any] = {"device": "cpu", "prompt_tokens": 1000, "max_new_tokens": 1000}
    needed = hfnb.estimate(NAME, batch_size=16, **options)
    assert needed.verdict == "fits"
    free(monkeypatch, int(needed.total_bytes * 1.05))
    told = hfnb.estimate(NAME, batch_size=16, **options)
    assert (told.verdict, told.memory_limit) == ("tight", "MEM_LIMIT")
    assert told.largest_batch >= 15
    free(monkeypatch, needed.total_bytes // 2)
    told = hfnb.estimate(NAME, batch_size=16, **options)
    assert told.verdict == "does not fit"
    assert told.largest_batch < 16
    auto = hfnb.estimate(NAME, **options)
    assert auto.rows == max(1, auto.largest_batch)
    free(monkeypatch, 1000)
    told = hfnb.estimate(NAME, **options)
    assert (told.largest_batch, told.rows, told.verdict) == (0, 1, "does not fit")


def test_an_export_counts_until_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, export_into: Callable[[Path], None]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    before = hfnb.estimate(NAME, backend="openvino", weight_format="int8")
    assert before.export_bytes > 0
    assert before.disk_bytes > 0
    export_into(tmp_path)
    folder = hfnb.export(NAME, weight_format="int8", progress=None)
    after = hfnb.estimate(NAME, backend="openvino", weight_format="int8")
    assert (after.export_bytes, after.disk_bytes) == (0, 0)
    own = hfnb.estimate(folder, backend="openvino")
    assert own.dtype.endswith("weights int8")
    assert own.verdict == "fits"


def test_an_accelerator_has_a_memory_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = Device("pytorch", "cpu", "a CPU", 10**10, 10**10)
    gpu = Device("pytorch", "cuda:0", "a GPU", 10**9, 10**9, bfloat16=True)
    monkeypatch.setattr(machine, "devices", lambda: Devices([cpu, gpu]))
    monkeypatch.setattr("hfnb.estimating.devices", lambda: Devices([cpu, gpu]))
    for device in (None, "auto", "cuda", "cuda:0", 0):
        told = hfnb.estimate(NAME, device=device)
        assert (told.device, told.dtype, told.free_bytes) == ("cuda:0", "bfloat16", 10**9)
        assert told.libraries_bytes == 0
    assert hfnb.estimate(NAME, device="cpu").free_bytes == 10**10
    with pytest.raises(DeviceError, match=r"device='cuda:1' is not there.*cpu, cuda:0"):
        hfnb.estimate(NAME, device="cuda:1")


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"model": "hfnb/numbers-fx"}, ModelNotFoundError),
        ({"model": "./no/such"}, ModelNotFoundError),
        ({"model": "org/not-here"}, ModelNotFoundError),
        ({"batch_size": 0}, OptionError),
        ({"prompt_tokens": 0}, OptionError),
        ({"max_new_tokens": "many"}, OptionError),
        ({"backend": "opnvino"}, OptionError),
        ({"backend": "openvino", "weight_format": "int3"}, OptionError),
        ({"task": "translation"}, OptionError),
    ],
)
def test_mistakes_are_found_as_load_finds_them(options: dict[str, Any], kind: type) -> None:
    with pytest.raises(kind):
        hfnb.estimate(**{"model": NAME, **options})


def test_an_estimate_is_shown_as_text_and_as_html() -> None:
    told = hfnb.estimate(NAME, device="cpu")
    assert repr(told).startswith("fits ")
    assert "keys and values" in repr(told)
    assert '<table class="hfnb-estimate"' in told._repr_html_()


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("model", [*PACKAGED, "100m", "500m"])
def test_what_is_told_is_within_a_quarter_of_what_is_taken(
    model: str,
    backend: str,
    shape: tuple[int, int, int],
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if backend == "openvino":
        require("openvino")
    kept = tmp_path_factory.getbasetemp() / "bench"
    monkeypatch.setenv("HFNB_BENCH_CACHE", str(kept))
    name = model if model in PACKAGED else str(random_llama(model))
    if backend == "openvino":
        hfnb.export(name, progress=None)
    assert abs(compare(name, backend, *shape).off) < 0.25


@pytest.mark.slow
@pytest.mark.parametrize("weight_format", FORMATS)
def test_what_is_told_of_an_export_is_within_a_quarter_of_what_it_takes(
    weight_format: str, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    require("openvino")
    monkeypatch.setenv("HFNB_BENCH_CACHE", str(tmp_path_factory.getbasetemp() / "bench"))
    made = export(str(random_llama("100m")), weight_format)
    assert made.memory_told == pytest.approx(made.memory_took, rel=0.25)
    assert made.disk_told == pytest.approx(made.disk_took, rel=0.25)
