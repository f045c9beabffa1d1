"""What the journal costs: written as rows finish, and read when a run is repeated."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

TITLE = "The journal of finished rows"
ROWS = 100_000
REPEATS = 5

_PROGRAM = """
import json, os, sys, tempfile, time
import numpy as np, pandas as pd
import hfnb
n = int(sys.argv[1])
text = [f"The parcel with number {i:08d} arrived late, the box was open, and nobody answers the "
        "phone. Please send my money back." for i in range(n)]
frame = pd.DataFrame({"id": np.arange(n), "text": text})
place = os.path.join(tempfile.mkdtemp(), "journal")
engine = hfnb.EchoEngine(fingerprint="bench")

def timed(rows, journal):
    began = time.perf_counter()
    result = hfnb.run(rows, "Ticket {id}: {text}", engine, progress=False, journal=journal)
    data = result.data
    seconds = time.perf_counter() - began
    assert result.stats.ok == len(rows) == len(data)
    return seconds

timed(frame.head(100), False)  # imports
without = timed(frame, False)
written = timed(frame, place)
calls = engine.calls
resumed = timed(frame, place)
assert engine.calls == calls
print(json.dumps({
    "without": without, "written": written, "resumed": resumed,
    "bytes": hfnb.journal.size(place) / n,
}))
"""


def run() -> str:
    """Return the results as Markdown."""
    figures = []
    for _ in range(REPEATS):
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, str(ROWS)], check=True, capture_output=True, text=True
        )
        figures.append(json.loads(done.stdout))
        print(f"  {figures[-1]}", flush=True)
    without, written, resumed, size = (
        statistics.median(each[name] for each in figures)
        for name in ("without", "written", "resumed", "bytes")
    )
    added = statistics.median(each["written"] - each["without"] for each in figures)
    return "\n".join(
        [
            f"{ROWS:,} rows through the echo engine, which answers at once, medians of {REPEATS} "
            "processes. Each row is on disk before it counts as done.",
            "",
            "| | s | µs a row | target |",
            "| --- | --- | --- | --- |",
            f"| without a journal | {without:.2f} | {without / ROWS * 1e6:.1f} | |",
            f"| with it | {written:.2f} | {written / ROWS * 1e6:.1f} | |",
            f"| the journal alone | {added:.2f} | **{added / ROWS * 1e6:.1f}** | at most 30 µs |",
            f"| the finished run again | **{resumed:.2f}** | {resumed / ROWS * 1e6:.1f} | "
            "under 3 s |",
            "",
            f"The file has {size:.0f} bytes a row; an answer has 125 bytes.",
        ]
    )
