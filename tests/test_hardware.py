"""Devices by their names, and the memory that is free by the tightest limit."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from hfnb import hardware
from hfnb.errors import DeviceError
from hfnb.hardware import check_device, find_device, memory_free

accelerated = torch.accelerator.is_available()


@pytest.mark.parametrize(
    ("device", "name"),
    [
        (None, "auto"),
        ("auto", "auto"),
        ("cpu", "cpu"),
        ("CPU", "cpu"),
        (-1, "cpu"),
        ("-1", "cpu"),
        (0, "0"),
        ("0", "0"),
        (3, "3"),
        ("cuda", "cuda"),
        ("cuda:1", "cuda:1"),
        ("mps", "mps"),
        ("xpu:0", "xpu:0"),
        (torch.device("cuda", 1), "cuda:1"),
        (torch.device("cpu"), "cpu"),
    ],
)
def test_devices_have_names(device: Any, name: str) -> None:
    assert check_device(device) == name
    assert check_device(name) == name


@pytest.mark.parametrize(
    "device",
    [
        *("", " ", "gpu0", "cuda:", "cuda:x", "cuda:-1", "cuda:1:2", "cuda:²", "auto:0", ":0"),
        *("-2", "1.5", "cpu,cuda", -2, 1.0, True, False),
    ],
)
def test_what_is_no_device_is_refused(device: Any) -> None:
    with pytest.raises(DeviceError, match=r"[dD]evice"):
        check_device(device)


def test_a_typo_gets_the_closest_device() -> None:
    with pytest.raises(DeviceError, match=r"Did you mean 'cuda'\?.*'auto', 'cpu'"):
        check_device("cuda0")
    assert issubclass(DeviceError, ValueError)


def test_the_processor_is_always_there() -> None:
    for device in ("cpu", -1, "CPU"):
        assert find_device(device) == torch.device("cpu")


@pytest.mark.skipif(accelerated, reason="this machine has an accelerator")
@pytest.mark.parametrize("device", [0, 1, "0", "cuda", "cuda:0", "mps", "xpu"])
def test_an_accelerator_that_is_not_there_is_a_clear_error(device: Any) -> None:
    with pytest.raises(DeviceError, match="sees none of the accelerators") as caught:
        find_device(device)
    assert f"device={device!r}" in str(caught.value)
    assert "device='cpu'" in str(caught.value)


@pytest.mark.skipif(accelerated, reason="this machine has an accelerator")
def test_auto_is_the_processor_where_there_is_nothing_better() -> None:
    assert find_device("auto") == find_device(None) == torch.device("cpu")


def test_accelerators_are_counted_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        torch.accelerator,
        "current_accelerator",
        lambda check_available=False: torch.device("cuda"),
    )
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: 2)
    assert find_device("auto") == torch.device("cuda", 0)
    assert find_device(1) == find_device("cuda:1") == torch.device("cuda", 1)
    assert find_device("cpu") == torch.device("cpu")
    for missing in (2, "cuda:2", "mps"):
        with pytest.raises(DeviceError, match="sees 2 of type 'cuda'"):
            find_device(missing)


def test_the_limit_of_a_hub_session_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    used = psutil.Process().memory_info().rss
    monkeypatch.setenv("MEM_LIMIT", str(used + 100_000_000))
    assert 0 < memory_free() <= 100_000_000
    monkeypatch.setenv("MEM_LIMIT", "1000")
    assert memory_free() == 0


@pytest.mark.parametrize("limit", ["", "0", "lots", "-5", "4G", "²"])
def test_a_limit_that_is_no_number_of_bytes_is_passed_over(
    limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MEM_LIMIT", limit)
    total = psutil.virtual_memory().total
    assert 0 < memory_free() <= total


def write_cgroup(root: Path, version: int, limit: str, used: int, cached: int) -> None:
    folder = root if version == 2 else root / "memory"
    folder.mkdir(exist_ok=True)
    names = {
        2: ("memory.max", "memory.current", "inactive_file"),
        1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    }[version]
    (folder / names[0]).write_text(f"{limit}\n")
    (folder / names[1]).write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file_x 3\n{names[2]} {cached}\n")


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_limit_counts_without_the_files_it_has_read(
    version: int, tmp_path: Path
) -> None:
    """The kernel counts files that were read as memory in use, though it gives them up at need."""
    write_cgroup(tmp_path, version, "2000000", 1_500_000, 1_200_000)
    assert hardware._cgroup_memory(tmp_path) == (2_000_000, 300_000)
    folder = tmp_path if version == 2 else tmp_path / "memory"
    (folder / "memory.stat").unlink()
    assert hardware._cgroup_memory(tmp_path) == (2_000_000, 1_500_000)


def test_no_limit_is_none(tmp_path: Path) -> None:
    assert hardware._cgroup_memory(tmp_path) is None
    write_cgroup(tmp_path, 2, "max", 5, 0)
    assert hardware._cgroup_memory(tmp_path) is None
    write_cgroup(tmp_path, 1, "9223372036854771712", 5, 0)
    assert hardware._cgroup_memory(tmp_path) is None


@pytest.mark.parametrize("version", [1, 2])
def test_a_containers_share_of_the_processor_counts_as_cores(version: int, tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:cpu,cpuacct:/job/step\n0::/job/step\n")
    top = tmp_path / "cpu" if version == 1 else tmp_path
    for folder, quota in (("", -1), ("job", 250_000), ("job/step", 400_000)):
        (top / folder).mkdir(parents=True, exist_ok=True)
        if version == 1:
            (top / folder / "cpu.cfs_quota_us").write_text(f"{quota}\n")
            (top / folder / "cpu.cfs_period_us").write_text("100000\n")
        else:
            (top / folder / "cpu.max").write_text(f"{'max' if quota < 0 else quota} 100000\n")
    assert sorted(hardware._cgroup_cores(tmp_path, own)) == [2.5, 4.0]


@pytest.mark.parametrize(
    ("told", "cores"), [("1.0", 1), ("0.5", 1), ("2.5", 2), ("", 4), ("0", 4), ("all", 4)]
)
def test_a_session_has_the_cores_that_its_hub_gives_it(
    told: str, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Binder's machines have many, and a session one: Ray would start a process for each."""
    monkeypatch.setattr(psutil, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(4), raising=False)
    monkeypatch.setattr(hardware, "_cgroup_cores", lambda: ())
    monkeypatch.setenv("CPU_LIMIT", told)
    assert hardware.usable_cores() == cores


def test_bfloat16_is_chosen_by_the_processors_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    for flags, multiplies in (({"avx2"}, False), ({"avx512_bf16"}, True), ({"amx_bf16"}, True)):
        monkeypatch.setattr(hardware, "cpu_flags", lambda flags=flags: frozenset(flags))
        assert hardware.multiplies_bfloat16(cpu) is multiplies
