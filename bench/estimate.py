"""How near `hfnb.estimate` comes to the memory that a model then takes, in fresh processes."""

from __future__ import annotations

import json
import subprocess
import sys
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
    given = json.dumps([model, backend, rows, prompt, new])
    done = subprocess.run(
        [sys.executable, "-c", _CODE, given], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    told, took = json.loads(done.stdout.splitlines()[-1])
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
    return "\n".join(lines)
