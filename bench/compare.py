"""The figures of `hfnb.compare` beside those of a script that measures the same by hand."""

from __future__ import annotations

import json
import subprocess
import sys

TITLE = "A comparison beside a script written by hand"
ROUNDS = 3
NEW_TOKENS = 32

_BY_HAND = """
import json, re, sys, time
from pathlib import Path
import hfnb

model, backend, prompts, warm, new_tokens = json.loads(sys.stdin.read())
began = time.perf_counter()
llm = hfnb.load(model, backend=backend, max_new_tokens=new_tokens, progress=False)
loaded = time.perf_counter()
for each in warm:
    llm.invoke(each, max_new_tokens=8)
start = time.perf_counter()
llm.batch(prompts)
ended = time.perf_counter()
peak = int(re.search(r"VmHWM:\\s*(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
print(json.dumps([loaded - began, len(prompts) / (ended - start), peak]))
"""


def by_hand(model: str, backend: str, prompts: list[str]) -> list[float]:
    """Return seconds to load, rows a second, and the peak of resident memory."""
    warm = [f"w9 {each}" for each in prompts[:6]]
    given = json.dumps([model, backend, prompts, warm, NEW_TOKENS])
    done = subprocess.run(
        [sys.executable, "-c", _BY_HAND], input=given, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def run() -> str:
    import statistics

    import pandas as pd
    from models import mixed_prompts, random_llama

    import hfnb

    model, prompts = str(random_llama("100m")), mixed_prompts()
    backends = ("pytorch", "openvino")
    hfnb.export(model, progress=None)
    hand: dict[str, list[list[float]]] = {each: [] for each in backends}
    compared: dict[str, list[list[float]]] = {each: [] for each in backends}
    frame = pd.DataFrame({"text": prompts})
    for _ in range(ROUNDS):
        for backend in backends:
            hand[backend].append(by_hand(model, backend, prompts))
        found = hfnb.compare(
            frame,
            "{text}",
            [{"model": model, "backend": each, "label": each} for each in backends],
            max_new_tokens=NEW_TOKENS,
            progress=False,
        ).stats
        for backend in backends:
            line = found.loc[backend]
            compared[backend].append([line["load_s"], line["rows_per_s"], line["peak_rss_bytes"]])
    lines = [
        f"64 prompts of 8 to 256 tokens, {NEW_TOKENS} new tokens each, a random Llama of 110 M "
        f"parameters; medians of {ROUNDS} rounds in turn. Target: within 10%.",
        "",
        "| backend | figure | by hand | hfnb.compare | off |",
        "| --- | --- | --- | --- | --- |",
    ]
    figures = (("load, s", 1, ".2f"), ("rows/s", 1, ".2f"), ("peak memory, MB", 1e6, ",.0f"))
    for backend in backends:
        for at, (name, unit, shown) in enumerate(figures):
            own = statistics.median(each[at] for each in hand[backend]) / unit
            theirs = statistics.median(each[at] for each in compared[backend]) / unit
            off = theirs / own - 1
            lines.append(f"| {backend} | {name} | {own:{shown}} | {theirs:{shown}} | {off:+.0%} |")
    return "\n".join(lines)
