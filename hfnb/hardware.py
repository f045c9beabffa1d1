"""The devices and the memory of this machine, and what its processor multiplies fast.

Nothing here initialises an accelerator on import, and torch is imported only by the functions
that must ask it.
"""

from __future__ import annotations

import functools
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import psutil

from hfnb.errors import DeviceError, closest

if TYPE_CHECKING:
    import torch

_NUMBER = re.compile("-?[0-9]+")
_DEVICE_TYPES = ("auto", "cpu", "cuda", "mps", "xpu")


def check_device(device: str | int | None) -> str:
    """Return a device's name without asking torch: ``"auto"``, ``"cpu"``, ``"cuda:1"``, ``"0"``.

    Raises:
        DeviceError: It is not the name of any device, here or elsewhere.
    """
    if device is None:
        return "auto"
    if isinstance(device, str) and _NUMBER.fullmatch(device):
        device = int(device)  # as it comes from a command line
    if isinstance(device, int) and not isinstance(device, bool):
        if device < -1:
            raise DeviceError(f"device={device}: use -1 for the CPU, or 0 and up for accelerators.")
        return "cpu" if device == -1 else str(device)
    name = str(device).lower()
    kind, _, number = name.partition(":")
    if name in _DEVICE_TYPES or (kind in _DEVICE_TYPES[1:] and re.fullmatch("[0-9]+", number)):
        return name
    raise DeviceError(
        f"Unknown device {device!r}.{closest(kind, _DEVICE_TYPES)} Use 'auto', 'cpu', 'cuda', "
        "'cuda:0', 'mps', 'xpu', -1 (CPU), or the number of an accelerator."
    )


def find_device(device: str | int | None) -> torch.device:
    """Return the torch device for a name that a user gave; ``None`` and ``"auto"`` take the best.

    Raises:
        DeviceError: This machine does not have it. The message names what it has.
    """
    name = check_device(device)
    import torch

    accelerator = torch.accelerator.current_accelerator(check_available=True)
    count = torch.accelerator.device_count() if accelerator is not None else 0
    if name == "auto":
        return torch.device(accelerator.type, 0) if accelerator is not None else torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind == "cpu":
        return torch.device("cpu")
    have = f"{count} of type {accelerator.type!r}" if accelerator is not None else "none"
    index = int(number or 0)
    if kind.isdigit():
        kind, index = (accelerator.type if accelerator is not None else ""), int(kind)
    if accelerator is None or kind != accelerator.type or index >= count:
        raise DeviceError(
            f"device={device!r} is not there: PyTorch sees {have} of the accelerators it can use "
            "(torch.accelerator). Use device='cpu' (or -1), or device='auto' for the best one."
        )
    return torch.device(kind, index)


@functools.cache
def cpu_flags() -> frozenset[str]:
    """Return the processor's instruction sets, as Linux names them; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def processor_name() -> str:
    """Return what the processor is called, as far as the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def cpu_multiplies_bfloat16() -> bool:
    """Whether the processor has instructions that multiply bfloat16 matrices."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions that multiply bfloat16 matrices."""
    if device.type == "cpu":
        return cpu_multiplies_bfloat16()
    if device.type == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "xpu"


class Memory(NamedTuple):
    """Bytes of memory, by one of the limits that this process is under."""

    free: int
    """What it may still take."""
    most: int
    """What the limit allows in all."""
    limit: str = ""
    """What sets it, as a person would call it; empty for the machine or the device itself."""


def memory_free() -> int:
    """Return the bytes that this process may still take, by the tightest of all limits."""
    return tightest_memory().free


def tightest_memory() -> Memory:
    """Return how much memory there is, by the limit that leaves the least.

    The limits are the machine's free memory, those of the process's control groups (a container's,
    a batch job's), of its own resources (``ulimit -v`` and ``-d``), and ``MEM_LIMIT``, which
    JupyterHub and Binder set to the bytes that a session may use. To look takes about 0.2 ms.
    """
    tightest = min(_memory_limits())
    return tightest._replace(free=max(tightest.free, 0))


def _memory_limits() -> Iterator[Memory]:
    machine = psutil.virtual_memory()
    yield Memory(int(machine.available), int(machine.total))
    if (container := _cgroup_memory()) is not None:
        limit, used = container
        yield Memory(limit - used, limit, "the container's limit")
    own = psutil.Process().memory_info()
    told = os.environ.get("MEM_LIMIT", "")
    if told.isdecimal() and int(told) > 0:
        yield Memory(int(told) - own.rss, int(told), "MEM_LIMIT")
    for name, field in (("RLIMIT_AS", "vms"), ("RLIMIT_DATA", "data")):
        most, taken = _resource_limit(name), getattr(own, field, None)
        if most is not None and taken is not None:
            yield Memory(most - taken, most, "ulimit")


def usable_cores() -> int:
    """Return how many cores this process may keep busy, at least one.

    The machine's, or fewer: those it is bound to, the processor time of its control group (a
    container's), and ``CPU_LIMIT``, which JupyterHub and Binder set.
    """
    every = psutil.cpu_count() or 1
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else every
    told = os.environ.get("CPU_LIMIT", "")
    limits = [float(told)] if re.fullmatch(r"\d+(\.\d+)?", told) and float(told) > 0 else []
    return max(1, int(min([every, bound, *limits, *_cgroup_cores()])))


def _cgroup_cores(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> Iterator[float]:
    """Yield the cores that the process's control groups and those around them allow."""
    paths = _cgroup_paths(own)
    for folder in _cgroup_folders(root, paths.get("", "/")):
        yield from _quota(folder, "cpu.max")
    for folder in _cgroup_folders(root / "cpu", paths.get("cpu", "/")):
        yield from _quota(folder, "cpu.cfs_quota_us", "cpu.cfs_period_us")


def _quota(folder: Path, *names: str) -> Iterator[float]:
    try:
        quota, period = " ".join((folder / name).read_text() for name in names).split()
        if int(quota) > 0:
            yield int(quota) / int(period)
    except (OSError, ValueError):  # none, or "max"
        return


def _cgroup_folders(top: Path, path: str) -> list[Path]:
    """Return where a group and those around it are kept, from the innermost on."""
    inside = Path(path.lstrip("/"))
    return list(dict.fromkeys([top / inside, *(top / each for each in inside.parents), top]))


def _resource_limit(name: str) -> int | None:
    """Return a limit that the shell or the batch system set, in bytes; ``None`` without one."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    if not hasattr(resource, name):
        return None
    soft = resource.getrlimit(getattr(resource, name))[0]
    return None if soft == resource.RLIM_INFINITY else int(soft)


def _cgroup_memory(
    root: Path = Path("/sys/fs/cgroup"), own: Path = Path("/proc/self/cgroup")
) -> tuple[int, int] | None:
    """Return the bytes that the process's control groups allow and use now; ``None``: no limit.

    Each group is under the limits of those around it; the tightest counts. Files that were read
    stay in memory until it is needed for something else. The kernel counts them as used, which
    after a look at a large model would leave nothing free: they are taken off.
    """
    versions = (
        ("", root, "memory.max", "memory.current", "inactive_file"),
        (
            "memory",
            root / "memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    )
    paths = _cgroup_paths(own)
    found: list[tuple[int, int]] = []
    total = psutil.virtual_memory().total
    for controller, top, limit, usage, reclaimable in versions:
        for folder in _cgroup_folders(top, paths.get(controller, "/")):
            try:
                most = (folder / limit).read_text().strip()
                if not most.isdecimal() or int(most) >= total:
                    continue
                used = int((folder / usage).read_text())
            except (OSError, ValueError):  # in a container, what lies around it can't be seen
                continue
            found.append((int(most), max(0, used - _memory_stat(folder, reclaimable))))
    return min(found, key=lambda each: each[0] - each[1], default=None)


def _cgroup_paths(own: Path) -> dict[str, str]:
    """Return the process's control group of each controller; version 2 has one, without a name."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return {}
    fields = (line.split(":", 2) for line in lines)
    return {name: path for _, names, path in fields for name in names.split(",")}


def _memory_stat(folder: Path, name: str) -> int:
    """Return one of the numbers that a cgroup keeps of its memory; 0 where it does not."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(each.split()[1]) for each in lines if each.startswith(f"{name} ")), 0)
