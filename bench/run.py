"""Run the benchmarks and write bench/RESULTS.md: ``python bench/run.py [import|overhead ...]``.

Run it on a quiet machine. Only the sections that ran are replaced.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import os
import re
import sys
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
sys.path.insert(0, str(Path(__file__).parent))

BENCHES = {
    "import": "import_time",
    "overhead": "overhead",
    "mixed": "mixed",
    "torch_grid": "torch_grid",
    "short": "contests",
    "stopped": "contests",
    "duplicates": "contests",
    "long": "contests",
    "translation": "contests",
    "chat": "contests",
    "half_billion": "contests",
    "files": "files",
    "journal": "journal",
    "prefix": "prefix",
    "prefix_labels": "prefix_labels",
    "stream": "stream",
    "ray": "on_ray",
    "estimate": "estimate",
    "panel": "panel",
    "compare": "compare",
    "chains": "chains",
    "structured": "structured",
    "openvino": "openvino_decoder",
    "openvino_profile": "openvino_profile",
    "openvino_grid": "openvino_grid",
    "openvino_prefix": "openvino_prefix",
    "openvino_seq2seq": "openvino_seq2seq",
    "openvino_start": "openvino_start",
}
ASKED_FOR = {"cuda": "cuda"}
"""Those that run only by their name: they need another machine."""
RESULTS = Path(__file__).parent / "RESULTS.md"
EVERY = BENCHES | ASKED_FOR
_HEAD = """# Results

Each section says when it ran, on what, with which versions, and the command. `make bench` runs all
of them, in about two hours; `make bench ARGS="short chat"` runs some. Figures that
disappoint stand here too.
"""
_NO_GPU = """
`make bench-cuda` measures models of 1 and 7 billion parameters on an NVIDIA GPU. It was rehearsed
on a CPU with a tiny model; there was no GPU to run it on yet.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(EVERY)}")
    names = parser.parse_args().names or list(BENCHES)
    for name in names:
        if name not in EVERY:
            parser.error(f"unknown benchmark {name!r}: choose from {', '.join(EVERY)}")
    from measure import load_average, machine, versions

    sections = _read()
    for name in names:
        module = importlib.import_module(EVERY[name])
        bench = getattr(module, "SECTIONS", {name: module})[name]
        print(f"{bench.TITLE} ...", flush=True)
        load = load_average()
        body = bench.run()
        sections[name] = (
            f"## {bench.TITLE}\n\n{body.strip()}\n\n"
            f"<sub>{datetime.date.today()}, `python bench/run.py {name}`, {machine()}, load before "
            f"{load}. {versions()}.</sub>\n"
        )
        _write(sections)
        print(body)


def _read() -> dict[str, str]:
    if not RESULTS.is_file():
        return {}
    parts = re.split(r"<!-- (\w+) -->\n", RESULTS.read_text(encoding="utf-8"))
    return dict(zip(parts[1::2], (part.strip() + "\n" for part in parts[2::2]), strict=True))


def _write(sections: dict[str, str]) -> None:
    ordered = [name for name in EVERY if name in sections]
    body = "\n".join(f"<!-- {name} -->\n{sections[name]}" for name in ordered)
    head = _HEAD if "cuda" in sections else _HEAD + _NO_GPU
    RESULTS.write_text(f"{head}\n{body}", encoding="utf-8")


if __name__ == "__main__":
    main()
