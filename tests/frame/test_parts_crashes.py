"""A run in parts that is ended early leaves what was finished, and goes on from there."""

import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import hfnb
from hfnb.errors import OptionError
from tests.frame.support import workers
from tests.frame.test_interrupts import interrupt_main
from tests.frame.test_parts import outputs, run_parts

ROWS = 4000
EVERY = [str(x) for x in range(ROWS)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "input.parquet"
    pq.write_table(pa.table({"x": pa.array(range(ROWS))}), path)
    return path


def interrupted_after(rows: int, source: Path, out: Path, **options: Any) -> Any:
    """Interrupt a run while it computes a row; return what the interrupt carries."""

    def answer(prompt: str) -> str:
        if engine.calls == rows:
            interrupt_main()
        return prompt

    engine = hfnb.EchoEngine(answer=answer, delay_s=0.001)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_parts(source, out, engine, **options)
    return caught.value.result  # type: ignore[attr-defined]


@pytest.mark.parametrize("sampling", [{}, {"temperature": 1.0}])
def test_an_interrupt_keeps_every_finished_row_and_the_same_call_goes_on(
    source: Path, tmp_path: Path, sampling: dict[str, Any]
) -> None:
    """Also the rows of the part in the midst of which it came, and without a journal."""
    partial = interrupted_after(400, source, tmp_path / "out", **sampling)
    assert partial is hfnb.last_result()
    assert workers() == []
    assert not partial.complete
    done = partial.stats.ok
    assert 399 <= done < ROWS
    assert partial.stats.cancelled == len(partial) - done > 0
    assert outputs(partial) == EVERY[:done] + [None] * (len(partial) - done)

    again = hfnb.EchoEngine()
    assert outputs(run_parts(source, tmp_path / "out", again, **sampling)) == EVERY
    assert again.calls == ROWS - done


def test_an_interrupt_before_the_first_row_leaves_an_empty_result(
    source: Path, tmp_path: Path
) -> None:
    def stop(progress: hfnb.Progress) -> None:
        raise KeyboardInterrupt

    engine = hfnb.EchoEngine(delay_s=30)
    with pytest.raises(KeyboardInterrupt) as caught:
        run_parts(source, tmp_path / "out", engine, progress=stop)
    partial = caught.value.result  # type: ignore[attr-defined]
    assert len(partial) == 0
    assert repr(partial)
    assert workers() == []


def test_an_iterator_that_fails_leaves_what_was_finished(tmp_path: Path) -> None:
    def broken() -> Any:
        yield pa.table({"x": pa.array(range(1000))})
        raise OSError("the network is gone")

    engine = hfnb.EchoEngine()
    with pytest.raises(OSError, match="the network is gone") as caught:
        run_parts(broken(), tmp_path / "out", engine)
    partial = caught.value.result  # type: ignore[attr-defined]
    assert outputs(partial)[: partial.stats.ok] == EVERY[: partial.stats.ok]
    whole = [pa.table({"x": pa.array(range(1000))}), pa.table({"x": pa.array(range(1000, ROWS))})]
    assert outputs(run_parts(whole, tmp_path / "out", engine)) == EVERY
    assert engine.calls == ROWS


def test_a_disk_that_is_full_keeps_the_parts_that_were_written(
    source: Path, tmp_path: Path
) -> None:
    """A limit on the size of files stands for it: the first part fits, the others do not."""

    def answer(prompt: str) -> str:
        return prompt if int(prompt) < 150 else random.Random(prompt).randbytes(500).hex()

    engine = hfnb.EchoEngine(answer=answer)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, hard))
    try:
        with pytest.raises(OSError, match="File too large") as caught:
            run_parts(source, tmp_path / "out", engine)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    partial = caught.value.result  # type: ignore[attr-defined]
    assert outputs(partial)[:150] == EVERY[:150]
    assert not list((tmp_path / "out").rglob("*.tmp"))
    before = engine.calls
    assert outputs(run_parts(source, tmp_path / "out", engine)) == [answer(x) for x in EVERY]
    assert engine.calls - before == ROWS - partial.stats.ok


PROGRAM = """
import sys
import hfnb
source, out = sys.argv[1:]
engine = hfnb.EchoEngine(delay_s=0.0005)
hfnb.run(source, "{x}", engine, out=out, part_rows=150, progress=False, journal=False)
print(engine.calls)
"""


def start(source: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(source), str(out)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def finished_parts(out: Path) -> int:
    lines = out / "_hfnb" / "parts.jsonl"
    return lines.read_text().count("\n") if lines.exists() else 0


def wait_for_parts(out: Path, count: int) -> None:
    for _ in range(6000):
        if finished_parts(out) >= count:
            return
        time.sleep(0.01)
    raise AssertionError(f"{count} parts were not finished in a minute")


def test_a_run_that_is_killed_goes_on_and_computes_no_finished_part_again(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    child = start(source, out)
    wait_for_parts(out, 5)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    there = {path.name: path.stat().st_mtime_ns for path in out.glob("part-*.parquet")}
    finished = finished_parts(out)

    engine = hfnb.EchoEngine()
    result = run_parts(source, out, engine)
    assert outputs(result) == EVERY
    assert engine.calls == ROWS - 150 * finished
    kept = [n for n, at in there.items() if (out / n).stat().st_mtime_ns == at]
    assert len(kept) == finished
    assert not list(out.rglob("*.tmp"))
    undisturbed = run_parts(source, tmp_path / "undisturbed")
    assert result.data.to_table().equals(undisturbed.data.to_table())


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_ends_as_if_undisturbed(
    source: Path, tmp_path: Path
) -> None:
    out, killed = tmp_path / "out", 0
    while finished_parts(out) < 27:
        child = start(source, out)
        wait_for_parts(out, min(27, finished_parts(out) + 1 + killed % 4))
        time.sleep(0.007 * (killed % 11))
        killed += 1
        child.kill()
        child.communicate()
    assert killed >= 8
    engine = hfnb.EchoEngine()
    assert outputs(run_parts(source, out, engine)) == EVERY
    assert engine.calls == 0


def test_the_lock_of_a_killed_process_is_gone_and_that_of_a_living_one_is_not(
    source: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    child = start(source, out)
    wait_for_parts(out, 1)
    with pytest.raises(OptionError, match="Another run is writing to"):
        run_parts(source, out)
    child.kill()
    child.communicate()
    assert run_parts(source, out).complete


MEMORY = """
import re, sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
import hfnb
rows, source, out = int(sys.argv[1]), *sys.argv[2:]
text = ["The parcel arrived late, the box was open, and nobody answers the phone."] * 100_000
with pq.ParquetWriter(source, pa.schema([("id", pa.int64()), ("text", pa.string())])) as writer:
    for begin in range(0, rows, 100_000):
        ids = pa.array(range(begin, begin + 100_000))
        writer.write_table(pa.table({"id": ids, "text": text}))
result = hfnb.run(source, "Ticket {id}: {text}", hfnb.EchoEngine(), out=out, progress=False,
                  journal=False)
assert result.complete and len(result) == rows, result
# Not ru_maxrss: that of a child begins with what its parent had.
status = Path("/proc/self/status").read_text()
print(int(re.search(r"VmHWM:\\s*(\\d+) kB", status)[1]) * 1024)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    peaks = {}
    for rows in (300_000, 2_000_000):
        command = [sys.executable, "-c", MEMORY, str(rows), "in.parquet", f"out{rows}"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        peaks[rows] = int(done.stdout)
    # The larger one's input alone takes 170 MB in Arrow, its output 190 MB.
    assert peaks[2_000_000] - peaks[300_000] < 60_000_000
    assert peaks[2_000_000] < 600_000_000
