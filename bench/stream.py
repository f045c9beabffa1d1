"""Millions of rows of parquet through `hfnb.run` in parts: what memory and time they take."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

TITLE = "Frames larger than memory"
SIZES = (1_000_000, 10_000_000)

_WRITE = """
import sys
import pyarrow as pa, pyarrow.parquet as pq
rows, path = int(sys.argv[1]), sys.argv[2]
schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
with pq.ParquetWriter(path, schema) as writer:
    for begin in range(0, rows, 100_000):
        ids = range(begin, min(rows, begin + 100_000))
        text = [f"The parcel with number {i:08d} arrived late, the box was open, and nobody "
                "answers the phone. Please send my money back." for i in ids]
        writer.write_table(pa.table({"id": pa.array(ids), "text": text}))
"""

_RUN = """
import json, sys, time
import hfnb
source, out = sys.argv[1:]
engine = hfnb.EchoEngine()
began = time.perf_counter()
result = hfnb.run(source, "Ticket {id}: {text}", engine, out=out, progress=False, journal=False)
seconds = time.perf_counter() - began
assert result.complete
print(json.dumps({
    "rows": len(result), "s": seconds, "us": seconds / len(result) * 1e6,
    "peak": result.stats.peak_rss_bytes, "added": result.stats.run_rss_bytes,
    "calls": engine.calls, "disk": sum(file.stat().st_size for file in result.files),
}))
"""


def _run(source: Path, out: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(source), str(out)],
        check=True,
        capture_output=True,
        text=True,
    )
    figures: dict[str, float] = json.loads(done.stdout)
    print(f"  {figures}", flush=True)
    return figures


def run() -> str:
    """Return the results as Markdown."""
    lines = [
        "`hfnb.run(path, prompt, hfnb.EchoEngine(), out=folder)` over a parquet file with a number",
        "and a text of 128 bytes, without the journal, each run in a process of its own. The peak",
        "is of the whole process, about 150 MB of it before the first row. Again: the same call",
        "once more, when all parts are there.",
        "",
        "| rows | s | µs a row | peak MB | MB on disk | again, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for rows in SIZES:
        with tempfile.TemporaryDirectory(prefix="hfnb-bench-") as folder:
            source, out = Path(folder) / "in.parquet", Path(folder) / "out"
            subprocess.run([sys.executable, "-c", _WRITE, str(rows), str(source)], check=True)
            first = _run(source, out)
            again = _run(source, out)
        assert again["calls"] == 0
        lines.append(
            f"| {rows:,} | {first['s']:.1f} | {first['us']:.1f} | {first['peak'] / 1e6:.0f} | "
            f"{first['disk'] / 1e6:.0f} | {again['s']:.1f} |"
        )
    lines += ["", "Target: 10,000,000 rows stay under 1 GB of memory."]
    return "\n".join(lines) + "\n"
