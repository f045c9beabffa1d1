"""What a Ray cluster costs and brings: beside Ray Data, beside one process, over many rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TITLE = "On a Ray cluster"
ROWS = 400_000
PART = 4096
SIZES = (1_000_000, 10_000_000)
_PROMPTS = 40_000

_START = """
import json, os, sys, threading, time
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
import hfnb, pandas as pd, psutil, ray
class Own(threading.Thread):
    # The most bytes that the driver, and a worker, has for itself alone, looked at twice a second.
    def __init__(self):
        super().__init__(daemon=True)
        self.driver = self.worker = 0
    def run(self):
        here = psutil.Process()
        while True:
            self.driver = max(self.driver, self.own(here))
            for each in here.children(recursive=True):
                try:
                    if "MapWorker" in " ".join(each.cmdline()):
                        self.worker = max(self.worker, self.own(each))
                except psutil.Error:
                    pass
            time.sleep(0.5)
    def own(self, process):
        memory = process.memory_info()
        return memory.rss - memory.shared
def start():
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False,
             logging_level="ERROR")
def tell(**figures):
    print("FIGURES " + json.dumps(figures))
"""

_IDENTITY = """
class Identity:
    def __call__(self, block):
        return block
source, out, part = sys.argv[1], sys.argv[2], int(sys.argv[3])
start()
pool = ray.data.ActorPoolStrategy(size=2)
def once(source, out):
    ray.data.DataContext.get_current().enable_progress_bars = False
    began = time.perf_counter()
    data = ray.data.read_parquet(source).repartition(target_num_rows_per_block=part, strict=True)
    data = data.map_batches(Identity, batch_size=None, batch_format="pyarrow", compute=pool,
                            num_cpus=1)
    data.write_parquet(out)
    return time.perf_counter() - began
once(source.replace("rows", "few"), out + "-warm")
tell(s=once(source, out))
"""

_ECHO = """
source, out, part = sys.argv[1], sys.argv[2], int(sys.argv[3])
start()
def once(source, out):
    began = time.perf_counter()
    result = hfnb.run(source, "Ticket {id}: {text}", hfnb.EchoEngine(), out=out, part_rows=part,
                      engine="ray", concurrency=2, num_cpus=1, progress=False, journal=False)
    assert result.complete
    return time.perf_counter() - began, result
once(source.replace("rows", "few"), out + "-warm")
own = Own()
if "--memory" in sys.argv:
    own.start()
seconds, result = once(source, out)
tell(s=seconds, driver=own.driver, worker=own.worker,
     rss=max(w.peak_rss_bytes for w in result.stats.workers))
"""

_LOCAL = """
source, out, part = sys.argv[1], sys.argv[2], int(sys.argv[3])
began = time.perf_counter()
result = hfnb.run(source, "Ticket {id}: {text}", hfnb.EchoEngine(), out=out, part_rows=part,
                  progress=False, journal=False)
tell(s=time.perf_counter() - began)
"""

_MODEL = """
how, rows = sys.argv[1], int(sys.argv[2])
df = pd.DataFrame({"i": range(rows)})
options = {"into": "answer", "max_new_tokens": 24, "progress": False, "journal": False}
if how == "ray":
    start()
    options |= {"engine": "ray", "concurrency": 2, "num_cpus": 1}
    llm = "hfnb/numbers-fr"
else:
    llm = hfnb.load("hfnb/numbers-fr")
prompt = "What is the number {i} in french?"
hfnb.run(df.head(64), prompt, llm, **options)
began = time.perf_counter()
result = hfnb.run(df, prompt, llm, **options)
seconds = time.perf_counter() - began
busy = max((w.busy_s for w in result.stats.workers), default=seconds)
tell(s=seconds, busy=busy, right=int((result.rows["status"] == "ok").sum()))
"""


def _figures(code: str, *arguments: object) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _START + code, *map(str, arguments)],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    line = next(each for each in done.stdout.splitlines() if each.startswith("FIGURES "))
    figures: dict[str, float] = json.loads(line.removeprefix("FIGURES "))
    print(f"  {figures}", flush=True)
    return figures


def _source(folder: Path, rows: int) -> Path:
    from stream import _WRITE

    subprocess.run(
        [sys.executable, "-c", _WRITE, str(rows), str(folder / "rows.parquet")], check=True
    )
    few = folder / "few.parquet"
    subprocess.run([sys.executable, "-c", _WRITE, "20000", str(few)], check=True)
    return folder / "rows.parquet"


def run() -> str:
    """Return the results as Markdown."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = _source(folder, ROWS)
        identity = _figures(_IDENTITY, source, folder / "identity", PART)
        echo = _figures(_ECHO, source, folder / "echo", PART)
        local = _figures(_LOCAL, source, folder / "local", PART)
    one = _figures(_MODEL, "local", _PROMPTS)
    two = _figures(_MODEL, "ray", _PROMPTS)
    sizes = {}
    for rows in SIZES:
        with tempfile.TemporaryDirectory() as name:
            source = _source(Path(name), rows)
            sizes[rows] = _figures(_ECHO, source, Path(name) / "out", 32_768, "--memory")

    def us(figures: dict[str, float]) -> str:
        return f"{figures['s'] / ROWS * 1e6:.1f}"

    lines = [
        f"A local Ray on two cores, two workers of a core each. {ROWS:,} rows of parquet (a number",
        f"and a text of 128 bytes) in blocks of {PART:,} rows, read, computed and written as",
        "parquet, without the journal; the second run of each process, so that Ray is there.",
        "",
        "| | µs a row | beside identity |",
        "| --- | ---: | ---: |",
        f"| Ray Data: `map_batches` with an identity function | {us(identity)} | 1.0 |",
        f'| `hfnb.run(..., EchoEngine(), engine="ray")` | {us(echo)} | '
        f"{echo['s'] / identity['s']:.2f} |",
        f"| `hfnb.run(..., EchoEngine())` in this process | {us(local)} | "
        f"{local['s'] / identity['s']:.2f} |",
        "",
        f"The packaged decoder `hfnb/numbers-fr` over {_PROMPTS:,} rows, 24 new tokens at most:",
        "",
        "| | s | rows/s | workers alone, s |",
        "| --- | ---: | ---: | ---: |",
        f"| one process, two cores | {one['s']:.1f} | {_PROMPTS / one['s']:.0f} | |",
        f"| two workers of a core each | {two['s']:.1f} | {_PROMPTS / two['s']:.0f} | "
        f"{two['busy']:.1f} |",
        "",
        '"Workers alone" is from a worker\'s first row to its last; the rest is Ray starting two',
        "processes, which import PyTorch and load the model.",
        "",
        "Memory in MB, in parts of 32,768 rows: what the driver and the larger worker have at most",
        "for themselves alone; and that worker as the operating system counts it, with the blocks",
        "of Ray's object store that it looks at. Ray keeps blocks there up to a limit of its own,",
        "and all processes share them.",
        "",
        "| rows | s | µs a row | driver | worker | worker, with the store's blocks |",
        "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for rows, each in sizes.items():
        lines.append(
            f"| {rows:,} | {each['s']:.0f} | {each['s'] / rows * 1e6:.1f} | "
            f"{each['driver'] / 1e6:.0f} | {each['worker'] / 1e6:.0f} | {each['rss'] / 1e6:.0f} |"
        )
    return "\n".join(lines)
