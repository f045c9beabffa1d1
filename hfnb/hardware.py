"""The devices and the memory of this machine, and what its processor multiplies fast.

Nothing here initialises an accelerator on import, and torch is imported only by the functions
that must ask it.
"""

from __future__ import annotations

import functools
import os
import platform
import re
from pathlib import Path
from typing import TYPE_CHECKING

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


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether the device has instructions that multiply bfloat16 matrices."""
    if device.type == "cpu":
        return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})
    if device.type == "cuda":
        import torch

        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "xpu"


def _cgroup_memory(root: Path = Path("/sys/fs/cgroup")) -> tuple[int, int] | None:
    """Return the bytes that a container may use and uses now, or ``None`` where it has no limit.

    Files that were read stay in memory until it is needed for something else. The kernel counts
    them as used, which after a look at a large model would leave nothing free: they are taken off.
    """
    versions = (
        (root, "memory.max", "memory.current", "inactive_file"),
        (
            root / "memory",
            "memory.limit_in_bytes",
            "memory.usage_in_bytes",
            "total_inactive_file",
        ),
    )
    for folder, limit, usage, reclaimable in versions:
        try:
            most = (folder / limit).read_text().strip()
            used = int((folder / usage).read_text())
        except (OSError, ValueError):
            continue
        if most.isdecimal() and int(most) < psutil.virtual_memory().total:
            return int(most), max(0, used - _memory_stat(folder, reclaimable))
    return None


def _memory_stat(folder: Path, name: str) -> int:
    """Return one of the numbers that a cgroup keeps of its memory; 0 where it does not."""
    try:
        lines = (folder / "memory.stat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(each.split()[1]) for each in lines if each.startswith(f"{name} ")), 0)


def memory_free() -> int:
    """Return the bytes that this process may still take, by the tightest of all limits.

    The limits are the machine's free memory, the container's (cgroup), and ``MEM_LIMIT``, which
    JupyterHub and Binder set to the bytes that a session may use.
    """
    free = int(psutil.virtual_memory().available)
    if (container := _cgroup_memory()) is not None:
        free = min(free, container[0] - container[1])
    limit = os.environ.get("MEM_LIMIT", "")
    if limit.isdecimal() and int(limit) > 0:
        free = min(free, int(limit) - psutil.Process().memory_info().rss)
    return max(free, 0)
