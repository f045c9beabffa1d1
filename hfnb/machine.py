"""`hfnb.devices`: what this machine has to run models on, and why not, where it has not."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, overload

import psutil

from hfnb import hardware
from hfnb.show import html_table, size, text_table

_PROGRAMS = {"pytorch": "hfnb.engines.torch_devices", "openvino": "hfnb.engines.openvino_devices"}
_NEEDS = {"pytorch": ("torch",), "openvino": ("openvino", "openvino_genai")}
_INSTALL = {"pytorch": "pip install torch", "openvino": 'pip install "hfnb[openvino]"'}
_PATIENCE_S = 60
_HEAD = ("backend", "device", "what", "memory", "computes fast")
_FLAGS = {
    "avx2": "AVX2",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512-VNNI",
    "avx512_bf16": "AVX512-BF16",
    "amx_bf16": "AMX-BF16",
    "amx_int8": "AMX-INT8",
    "asimd": "NEON",
    "bf16": "BF16",
    "i8mm": "I8MM",
}
"""Instruction sets that decide how fast a CPU multiplies, as Linux names them."""


@dataclasses.dataclass(frozen=True)
class Device:
    """Something that models run on."""

    backend: str
    """``"pytorch"`` or ``"openvino"``."""
    name: str
    """What `hfnb.load` takes as ``device``."""
    full_name: str
    memory_free: int | None
    """Bytes that may still be taken; ``None`` where nothing tells."""
    memory_total: int | None
    memory_limit: str = ""
    """What limits the memory, where that is not the device: a container, ``MEM_LIMIT``, ..."""
    bfloat16: bool = False
    """Whether it multiplies bfloat16, which ``dtype="auto"`` then takes."""
    capabilities: tuple[str, ...] = ()
    """Instruction sets of a CPU; what OpenVINO computes fast on the device."""


@dataclasses.dataclass(frozen=True)
class Missing:
    """Something that this machine can't run models on."""

    what: str
    why: str
    mend: str = ""
    """The line that installs what is missing, or what else to do."""


class Devices(Sequence[Device]):
    """The devices of this machine, shown as a table; `missing` says what it lacks, and why."""

    def __init__(self, every: Sequence[Device], missing: Sequence[Missing] = ()) -> None:
        self._every = tuple(every)
        self.missing = tuple(missing)

    @overload
    def __getitem__(self, index: int) -> Device: ...
    @overload
    def __getitem__(self, index: slice) -> Devices: ...
    def __getitem__(self, index: int | slice) -> Device | Devices:
        if isinstance(index, slice):
            return Devices(self._every[index], self.missing)
        return self._every[index]

    def __iter__(self) -> Iterator[Device]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)

    def best(self, backend: str = "pytorch") -> Device | None:
        """Return the device that ``device="auto"`` takes; ``None`` without the backend."""
        own = [each for each in self._every if each.backend == backend]
        if backend == "pytorch":  # an accelerator, where there is one
            own.sort(key=lambda each: each.name == "cpu")
        return next(iter(own), None)

    def __repr__(self) -> str:
        return text_table(_HEAD, map(_row, self._every), self._notes())

    def _repr_html_(self) -> str:
        return html_table(_HEAD, map(_row, self._every), self._notes(), name="hfnb-devices")

    def _notes(self) -> list[str]:
        return [
            f"no {each.what}: {each.why}" + (f" · {each.mend}" if each.mend else "")
            for each in self.missing
        ]


def devices() -> Devices:
    """Return what this machine has to run models on, and why not, where it has not.

    PyTorch and OpenVINO are asked in processes of their own, once a session, which takes a few
    seconds: no driver is initialised in this one, and one that fails hides none of the others.

    Returns:
        A sequence, shown as a table. Each device has ``backend``, ``name`` (what `hfnb.load`
        takes), ``full_name``, ``memory_free`` and ``memory_total`` in bytes, ``bfloat16`` and
        ``capabilities``. ``missing`` lists what is not there, why, and what mends it.

    Example:
        >>> import hfnb
        >>> hfnb.devices()[0].name
        'cpu'
    """
    with ThreadPoolExecutor(len(_PROGRAMS)) as pool:
        answers = dict(zip(_PROGRAMS, pool.map(_asked, _PROGRAMS), strict=True))
    every, missing = list[Device](), list[Missing]()
    for backend, answer in answers.items():
        if problem := answer.get("problem"):
            missing.append(Missing(backend, problem, answer["mend"]))
            continue
        if backend == "pytorch":
            every.append(_cpu())
        every += [_described(backend, each) for each in answer["devices"]]
        if answer["why"]:
            missing.append(Missing("accelerator for PyTorch", answer["why"], _mend_torch()))
    return Devices(every, missing)


@functools.cache
def _asked(backend: str) -> dict[str, Any]:
    """Ask a backend for its devices, in a process of its own."""
    absent = [each for each in _NEEDS[backend] if importlib.util.find_spec(each) is None]
    if absent:
        return {"problem": f"{absent[0]} is not installed", "mend": _INSTALL[backend]}
    package = str(Path(__file__).parents[1])
    path = os.pathsep.join(each for each in (package, os.environ.get("PYTHONPATH")) if each)
    try:
        done = subprocess.run(
            [sys.executable, "-m", _PROGRAMS[backend]],
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
    except subprocess.TimeoutExpired:
        problem = f"it did not answer in {_PATIENCE_S} s"
    except (OSError, ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        problem = f"it could not be asked ({last})"
    return {"problem": problem, "mend": f"{sys.executable} -m {_PROGRAMS[backend]} shows all of it"}


def _cpu() -> Device:
    memory = hardware.tightest_memory()
    flags = hardware.cpu_flags()
    return Device(
        backend="pytorch",
        name="cpu",
        full_name=f"{hardware.processor_name()}, {_cores()}",
        memory_free=memory.free,
        memory_total=memory.most,
        memory_limit=memory.limit,
        bfloat16=hardware.cpu_multiplies_bfloat16(),
        capabilities=tuple(shown for flag, shown in _FLAGS.items() if flag in flags),
    )


def _cores() -> str:
    """Say how many cores this process may use, and how many there are where these are more."""
    every, ours = psutil.cpu_count() or 1, hardware.usable_cores()
    return f"{ours} cores" if ours == every else f"{ours} of {every} cores"


def _described(backend: str, told: dict[str, Any]) -> Device:
    free, total, limit = told["memory_free"], told["memory_total"], ""
    if backend == "openvino" and told["name"] in ("CPU", "NPU"):  # they share the machine's memory
        free, total, limit = hardware.tightest_memory()
    return Device(
        backend,
        told["name"],
        told["full_name"],
        _free_now(told["name"], free),
        total,
        limit,
        told["bfloat16"],
        tuple(told.get("capabilities", ())),
    )


def _free_now(name: str, free: int | None) -> int | None:
    """Return an accelerator's free memory as it is now, where this process uses it already."""
    torch, (kind, _, index) = sys.modules.get("torch"), name.partition(":")
    if torch is None or kind != "cuda" or not torch.cuda.is_initialized():
        return free
    return int(torch.cuda.mem_get_info(int(index))[0])


def _mend_torch() -> str:
    """Say what would let PyTorch use an accelerator that this machine seems to have."""
    if Path("/dev/nvidia0").exists() or Path("/proc/driver/nvidia/version").exists():
        return "this machine has an NVIDIA GPU: install PyTorch's CUDA build (pytorch.org)"
    if Path("/dev/kfd").exists():
        return "this machine has an AMD GPU: install PyTorch's ROCm build (pytorch.org)"
    return "no driver of NVIDIA's or AMD's is here"


def _row(device: Device) -> list[str]:
    memory = "" if device.memory_total is None else size(device.memory_total)
    if device.memory_free is not None:
        memory = f"{size(device.memory_free)} free of {memory}"
    if device.memory_limit:
        memory += f" ({device.memory_limit})"
    able = ", ".join(device.capabilities)
    if device.bfloat16 and "BF16" not in able:
        able = ", ".join(filter(None, (able, "bfloat16")))
    return [device.backend, device.name, device.full_name, memory, able]
