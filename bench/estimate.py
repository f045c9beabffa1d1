"""How near `hfnb.estimate` comes to the memory that a model then takes, in fresh processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

TITLE = "Memory: estimated and measured"
PACKAGED = ("hfnb/numbers-fr", "hfnb/tiny-t5")
RANDOM = ("100m", "500m")
BACKENDS = ("pytorch", "openvino")
SHAPES = ((1, 64, 16), (16, 256, 64))
"""Rows, tokens of each prompt, new tokens of each row."""

_CODE = """
import json, sys
import hfnb
from hfnb.measure import MemorySampler

model, backend, rows, prompt, new = json.loads(sys.argv[1])
told = hfnb.estimate(
    model, backend=backend, batch_size=rows, prompt_tokens=prompt, max_new_tokens=new
)
with MemorySampler() as memory:
    llm = hfnb.load(model, backend=backend, chat=False, batch_size=rows)
    words = [" ".join(f"w{7 * row + 3 * at + 3}" for at in range(prompt)) for row in range(rows)]
    if model.startswith("hfnb/"):  # its tokens are characters
        words = [text[:prompt] for text in words]
    llm.batch(words, max_new_tokens=new)
print(json.dumps([told.total_bytes, memory.peak_bytes - memory.start_bytes]))
"""


_EXPORT = """
import json, os, re, sys, threading
from pathlib import Path
import psutil
import hfnb

model, weight_format = json.loads(sys.argv[1])
told = hfnb.estimate(model, backend="openvino", weight_format=weight_format)
cache = Path(os.environ["XDG_CACHE_HOME"])
memory = disk = 0
ended = threading.Event()


def look():
    global memory, disk
    for child in psutil.Process().children(recursive=True):
        try:
            status = Path(f"/proc/{child.pid}/status").read_text()
        except OSError:  # it has just ended
            continue
        peak = re.search(r"VmHWM:\\s*(\\d+) kB", status)
        memory = max(memory, int(peak[1]) * 1024 if peak else 0)
    files = []
    for folder, _, names in os.walk(cache):
        files += [Path(folder, name) for name in names]
    size = 0
    for file in files:
        try:
            size += file.stat().st_size
        except OSError:  # it has just been moved to its place
            continue
    disk = max(disk, size)


def watch():
    while not ended.wait(0.02):
        look()


thread = threading.Thread(target=watch)
thread.start()
hfnb.export(model, weight_format=weight_format, progress=None)
ended.set()
thread.join()
look()
print(json.dumps([told.export_bytes, memory, told.disk_bytes, disk]))
"""
FORMATS = ("fp32", "int8", "int4")


class Exported(NamedTuple):
    """What was told of an export, and what it took, in bytes."""

    memory_told: int
    memory_took: int
    disk_told: int
    disk_took: int


def export(model: str, weight_format: str) -> Exported:
    """Forecast an export and make it, in a process of its own with an empty cache."""
    with tempfile.TemporaryDirectory() as cache:
        given = json.dumps([model, weight_format])
        return Exported(*_asked(_EXPORT, given, XDG_CACHE_HOME=cache))


def _asked(code: str, given: str, **environment: str) -> list[int]:
    done = subprocess.run(
        [sys.executable, "-c", code, given],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: list[int] = json.loads(done.stdout.splitlines()[-1])
    return found


class Compared(NamedTuple):
    """What was told of a model, and what it took, in bytes."""

    model: str
    backend: str
    rows: int
    prompt: int
    new: int
    told: int
    took: int

    @property
    def off(self) -> float:
        return self.told / self.took - 1


def compare(model: str, backend: str, rows: int, prompt: int, new: int) -> Compared:
    """Estimate a model, load it and run it, in a process of its own."""
    told, took = _asked(_CODE, json.dumps([model, backend, rows, prompt, new]))
    return Compared(model, backend, rows, prompt, new, told, took)


def folder_of(name: str) -> str:
    """Return what `hfnb.load` takes for one of the models compared."""
    from models import random_llama

    return str(random_llama(name)) if name in RANDOM else name


def run() -> str:
    import hfnb

    lines = [
        "In a fresh process each: what `hfnb.estimate` tells, and the peak of resident memory",
        "while the model is loaded and answers, libraries included.",
        "",
        "| model | backend | rows x (prompt + new tokens) | estimated | measured | off |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name in (*PACKAGED, *RANDOM):
        model = folder_of(name)
        for backend in BACKENDS:
            if backend == "openvino":
                hfnb.export(model, progress=None)
            for shape in SHAPES:
                found = compare(model, backend, *shape)
                rows, prompt, new = shape
                lines.append(
                    f"| {Path(name).name} | {backend} | {rows} x ({prompt} + {new}) "
                    f"| {found.told / 1e6:,.0f} MB | {found.took / 1e6:,.0f} MB "
                    f"| {found.off:+.0%} |"
                )
    lines += [
        "",
        "An export to OpenVINO: the peak of the process that makes it, and the most that lay on",
        "disk meanwhile.",
        "",
        "| model | format | memory estimated | measured | off | disk estimated | measured | off |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name in RANDOM:
        for weight_format in FORMATS:
            made = export(folder_of(name), weight_format)
            lines.append(
                f"| {name} | {weight_format} "
                + "".join(
                    f"| {told / 1e6:,.0f} MB | {took / 1e6:,.0f} MB | {told / took - 1:+.0%} "
                    for told, took in (made[:2], made[2:])
                )
                + "|"
            )
    return "\n".join(lines)
