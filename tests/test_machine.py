"""`hfnb.devices`: what this machine has, and why not, where it has not."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

import hfnb
from hfnb import machine
from hfnb.machine import Device, Devices, Missing
from tests.needs import require


@pytest.fixture
def asked_anew() -> Iterator[None]:
    machine._asked.cache_clear()
    yield
    machine._asked.cache_clear()


def test_the_processor_is_there_with_its_memory_and_what_it_computes_fast() -> None:
    cpu = hfnb.devices()[0]
    assert (cpu.backend, cpu.name) == ("pytorch", "cpu")
    assert "cores" in cpu.full_name
    assert cpu.memory_free is not None
    assert cpu.memory_total is not None
    assert 0 < cpu.memory_free <= cpu.memory_total <= psutil.virtual_memory().total
    assert cpu.bfloat16 is machine.hardware.cpu_multiplies_bfloat16()


def test_openvinos_devices_are_there_by_their_full_names() -> None:
    require("openvino")
    cpu = next(each for each in hfnb.devices() if each.backend == "openvino" and each.name == "CPU")
    assert len(cpu.full_name) > 3
    assert "FP32" in cpu.capabilities
    assert cpu.memory_free


def test_looking_at_the_machine_loads_no_backend_and_asks_each_once() -> None:
    code = (
        "import hfnb, subprocess, sys\n"
        "hfnb.devices()\n"
        "subprocess.run = None\n"
        "print(len(hfnb.devices()), {'torch', 'openvino'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == "set()"
    assert int(done.stdout.split()[0]) >= 1


@pytest.mark.usefixtures("asked_anew")
def test_a_backend_that_is_not_installed_says_what_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(machine._NEEDS, "openvino", ("no_such_package_here",))
    found = hfnb.devices()
    assert {each.backend for each in found} == {"pytorch"}
    (missing,) = [each for each in found.missing if each.what == "openvino"]
    assert missing.why == "no_such_package_here is not installed"
    assert missing.mend == 'pip install "hfnb[openvino]"'
    assert found.best("openvino") is None


@pytest.mark.usefixtures("asked_anew")
@pytest.mark.parametrize("backend", ["pytorch", "openvino"])
def test_a_backend_that_fails_hides_no_other(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    require("openvino")
    monkeypatch.setitem(machine._PROGRAMS, backend, "hfnb.engines.no_such_program")
    found = hfnb.devices()
    assert {each.backend for each in found} == {"pytorch", "openvino"} - {backend}
    (missing,) = [each for each in found.missing if each.what == backend]
    assert "No module named hfnb.engines.no_such_program" in missing.why
    assert "-m hfnb.engines.no_such_program" in missing.mend


def test_a_limit_of_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    used = psutil.Process().memory_info().rss
    monkeypatch.setenv("MEM_LIMIT", str(used + 200_000_000))
    cpu = hfnb.devices()[0]
    assert cpu.memory_limit == "MEM_LIMIT"
    assert cpu.memory_free is not None
    assert cpu.memory_free <= 200_000_000
    assert "MEM_LIMIT" in repr(hfnb.devices())


def test_the_best_device_is_an_accelerator_where_there_is_one() -> None:
    cpu = Device("pytorch", "cpu", "a CPU", 1, 2)
    gpu = Device("pytorch", "cuda:0", "a GPU", 1, 2)
    other = Device("openvino", "CPU", "a CPU", 1, 2)
    assert Devices([cpu, gpu, other]).best() is gpu
    assert Devices([cpu, other]).best() is cpu
    assert Devices([cpu, other]).best("openvino") is other


def test_devices_are_shown_as_text_and_as_html_with_names_escaped() -> None:
    named = Device("pytorch", "cpu", "<i>CPU</i>", 2_000_000_000, 8_000_000_000, "MEM_LIMIT", True)
    shown = Devices([named], [Missing("openvino", "it is not installed", "pip install x")])
    assert "2 GB free of 8 GB (MEM_LIMIT)" in repr(shown)
    assert "no openvino: it is not installed · pip install x" in repr(shown)
    assert "&lt;i&gt;CPU" in shown._repr_html_()
    assert "<i>" not in shown._repr_html_()
