"""The figures of `hfnb.compare` beside those of a script that measures the same by hand.

Both begin in a new process that has imported pandas and hfnb, as a notebook has. Loading is the
call of `hfnb.load`, with what it imports; the rows are run once others have warmed the model.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

TITLE = "A comparison beside a script written by hand"
ROUNDS = 5
NEW_TOKENS = 32
_FIGURES = (("load, s", 1, ".2f"), ("rows/s", 1, ".2f"), ("peak memory, MB", 1e6, ",.0f"))

_BY_HAND = """
import json, re, sys, time
from pathlib import Path
import pandas as pd
import hfnb

model, backend, prompts, warm, new_tokens = json.loads(sys.stdin.read())
began = time.perf_counter()
llm = hfnb.load(model, backend=backend, max_new_tokens=new_tokens, progress=False)
loaded = time.perf_counter()
for each in warm:
    llm.invoke(each, max_new_tokens=8)
start = time.perf_counter()
{run}
ended = time.perf_counter()
peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps([loaded - began, len(prompts) / (ended - start), peak]))
"""
_RUN = """
frame = pd.DataFrame({"text": prompts})
hfnb.run(frame, "{text}", llm, journal=False, progress=False)
"""


def by_hand(model: str, backend: str, prompts: list[str]) -> list[float]:
    """Return seconds to load, rows a second, and the peak of resident memory."""
    warm = [f"w9 {each}" for each in prompts[:6]]
    given = json.dumps([model, backend, prompts, warm, NEW_TOKENS])
    script = _BY_HAND.replace("{run}", _RUN)
    done = subprocess.run(
        [sys.executable, "-c", script], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def compared(model: str, backend: str, prompts: list[str]) -> list[float]:
    """Return the same, by `hfnb.compare`."""
    import pandas as pd

    import hfnb

    found = hfnb.compare(
        pd.DataFrame({"text": prompts}),
        "{text}",
        [{"model": model, "backend": backend}],
        max_new_tokens=NEW_TOKENS,
        progress=False,
    )
    line = found.stats.iloc[0]
    if line["status"] != "ok":
        raise RuntimeError(line["reason"])
    return [line["load_s"], line["rows_per_s"], line["peak_rss_bytes"]]


def run() -> str:
    from models import mixed_prompts, random_llama

    import hfnb

    model, prompts = str(random_llama("100m")), mixed_prompts()
    hfnb.export(model, progress=None)
    backends, ways = ("pytorch", "openvino"), (by_hand, compared)
    taken: dict[tuple[str, str], list[list[float]]] = {}
    for round_ in range(ROUNDS):
        for backend in backends:
            for way in ways if round_ % 2 == 0 else ways[::-1]:
                figures = way(model, backend, prompts)
                taken.setdefault((backend, way.__name__), []).append(figures)
                print(f"  {backend}, {way.__name__}: {figures}", flush=True)
    lines = [
        f"64 prompts of 8 to 256 tokens, {NEW_TOKENS} new tokens each, a random Llama of 110 M "
        f"parameters; medians of {ROUNDS} rounds in turn, with the least and the greatest. By hand "
        "is a script that calls `hfnb.load` and `hfnb.run`. Target: within 10%.",
        "",
        "| backend | figure | by hand | hfnb.compare | off |",
        "| --- | --- | --- | --- | --- |",
    ]
    for backend in backends:
        for at, (name, unit, shown) in enumerate(_FIGURES):
            cells, medians = [], []
            for way in ways:
                values = [each[at] / unit for each in taken[backend, way.__name__]]
                medians.append(statistics.median(values))
                spread = f"{min(values):{shown}}-{max(values):{shown}}"
                cells.append(f"{medians[-1]:{shown}} ({spread})")
            off = medians[1] / medians[0] - 1
            lines.append(f"| {backend} | {name} | {' | '.join(cells)} | {off:+.0%} |")
    return "\n".join(lines)
