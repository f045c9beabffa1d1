"""What hfnb itself costs for each row: the echo engine answers at once, so the rest is ours."""

from __future__ import annotations

import json
import subprocess
import sys

TITLE = "Cost of a row without a model"
SIZES = (1_000, 10_000, 100_000, 1_000_000)

_PROGRAM = """
import gc, json, sys, time
import numpy as np, pandas as pd
import hfnb
n = int(sys.argv[1])
text = [f"The parcel with number {i:08d} arrived late, the box was open, and nobody answers the "
        "phone. Please send my money back." for i in range(n)]
frame = pd.DataFrame({"id": np.arange(n), "text": text})
del text
engine = hfnb.EchoEngine()
first = hfnb.run(frame.head(100), "Ticket {id}: {text}", engine, progress=False, journal=False)
first.data  # imports
gc.collect()
began = time.perf_counter()
result = hfnb.run(frame, "Ticket {id}: {text}", engine, progress=False, journal=False)
data = result.data
seconds = time.perf_counter() - began
assert len(data) == n and data["output"].iloc[-1].endswith("money back.")
print(json.dumps({
    "us": seconds / n * 1e6,
    "frame": int(frame.memory_usage(deep=True).sum()) / n,
    "added": result.stats.run_rss_bytes / n,
}))
"""


def _measure(size: int) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(size)], check=True, capture_output=True, text=True
    )
    figures: dict[str, float] = json.loads(done.stdout)
    print(f"  {size:,} rows: {figures}", flush=True)
    return figures


def run() -> str:
    """Return the results as Markdown."""
    lines = [
        "`hfnb.run` with `hfnb.EchoEngine()`, each size in a process of its own, best of 3. The",
        "frame has a number and a text of 128 bytes in pandas' own strings; the answer is the",
        "prompt, so the output column is larger than the input. Memory is the peak of the process",
        "during the run over what it was before.",
        "",
        "| rows | µs a row | frame, bytes a row | added at the peak, bytes a row | ratio |",
        "| --- | --- | --- | --- | --- |",
    ]
    for size in SIZES:
        best = min((_measure(size) for _ in range(3)), key=lambda each: each["us"])
        lines.append(
            f"| {size:,} | {best['us']:.1f} | {best['frame']:.0f} | {best['added']:.0f} | "
            f"{best['added'] / best['frame']:.2f} |"
        )
    lines += [
        "",
        "Targets: at most 50 µs a row at 100,000 rows, the same at 1,000,000, and at most twice",
        "the frame's memory. What is fixed shows in small frames: 5 to 20 MB, for what the first",
        "real run imports and for a window of prompts. A frame of bare numbers takes 8 bytes a",
        "row, and its answers are text: there the ratio is far above 2.",
    ]
    return "\n".join(lines) + "\n"
