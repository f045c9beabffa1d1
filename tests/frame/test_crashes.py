"""A run that is killed at any moment goes on where it was, and computes nothing twice."""

import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import IO, Any

import pandas as pd
import pandas.testing
import pytest

import hfnb
from hfnb.frame.identity import prompt_key
from tests.frame import storm
from tests.needs import require

ROOT = Path(hfnb.__file__).parent.parent


def start(folder: Path, backend: str, *more: str, **options: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.frame.storm", str(folder), backend, *more],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline().strip()


def undisturbed(backend: str) -> pd.DataFrame:
    llm = hfnb.load("hfnb/numbers-fr", backend=backend)
    options = {**storm.OPTIONS, "batch_size": 8}
    return hfnb.run(storm.frame(), storm.PROMPT, llm, journal=False, progress=False, **options).data


def finished(folder: Path) -> set[int]:
    """Return the rows that the journal has."""
    file = folder / "journal"
    if not file.exists() or not file.stat().st_size:
        return set()
    with closing(sqlite3.connect(file)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'answers'").fetchone():
            return set()
        keys = {bytes(key) for (key,) in db.execute("SELECT prompt FROM answers")}
    llm_prompts = [storm.PROMPT.format(i=i) for i in storm.frame()["i"]]
    return {at for at, text in enumerate(llm_prompts) if key_of(text) in keys}


def wait_for_rows(folder: Path, count: int) -> None:
    """Wait until the journal has some rows, by the size of its log: opening it would delay it."""
    log = folder / "journal-wal"
    while not log.exists() or log.stat().st_size < 32_992 + count * 4_120:
        time.sleep(0.002)


def key_of(text: str) -> bytes | None:
    from hfnb.engines.base import Chat, Message

    return prompt_key(Chat((Message("user", text),)))


def asked(folder: Path) -> list[int]:
    file = folder / "asked"
    return [int(line) for line in file.read_text().split()] if file.exists() else []


def storms(folder: Path, backend: str, kills: int) -> None:
    """Kill a run again and again; begin anew, with an empty journal, whenever it has come through.

    The frame that it leaves is an undisturbed run's, and no row in the journal is computed again.
    """
    expected = undisturbed(backend)
    draw = random.Random(kills)
    killed = done = 0
    longest = 1.0
    with children(folder, backend) as begin:
        while killed < kills or not done:
            before, count = finished(folder), len(asked(folder))
            wait = begin()
            began = time.monotonic()
            status = wait(draw.uniform(0, 0.8 * longest) if killed < kills else None)
            again = before & set(asked(folder)[count:])
            assert not again, f"rows {sorted(again)} were finished, and were computed again"
            if status:
                killed += 1
                continue
            longest = time.monotonic() - began if not done else longest
            done += 1
            result = pd.read_parquet(folder / "data.parquet")
            pd.testing.assert_frame_equal(result, expected, check_like=False)
            assert finished(folder) == set(range(storm.ROWS))
            for each in folder.iterdir():
                if each.name != "asked":
                    each.unlink()
    assert killed >= kills


@contextmanager
def children(folder: Path, backend: str) -> Iterator[Any]:
    """Yield what starts a run; that returns what kills it after a time, or waits for its end."""
    if backend == "openvino":  # its threads do not survive a fork: each run loads the model

        def begin_anew() -> Any:
            process = start(folder, backend, "now")
            assert line_of(process.stdout) == "ready"

            def wait(seconds: float | None) -> int:
                with process:
                    try:
                        return process.wait(seconds)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        return process.wait()

            return wait

        yield begin_anew
        return
    with start(folder, backend) as parent:
        assert line_of(parent.stdout) == "ready"

        def begin() -> Any:
            assert parent.stdin is not None
            parent.stdin.write("run\n")
            parent.stdin.flush()
            child = int(line_of(parent.stdout))

            def wait(seconds: float | None) -> int:
                if seconds is not None:
                    time.sleep(seconds)
                    if Path(f"/proc/{child}").exists():
                        os.kill(child, signal.SIGKILL)
                return int(line_of(parent.stdout))

            return wait

        yield begin


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks into /proc")
def test_a_run_that_is_killed_a_few_times_loses_nothing(tmp_path: Path) -> None:
    storms(tmp_path, "pytorch", kills=5)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="forks, and looks into /proc")
@pytest.mark.parametrize("backend", ["pytorch", "openvino"])
def test_a_storm_of_a_hundred_kills_loses_nothing(tmp_path: Path, backend: str) -> None:
    if backend == "openvino":
        require("openvino")
    storms(tmp_path, backend, kills=100)


@pytest.mark.parametrize("way", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_asked_to_end_is_continued(tmp_path: Path, way: signal.Signals) -> None:
    with start(tmp_path, "pytorch", "now", stderr=subprocess.DEVNULL) as process:
        assert line_of(process.stdout) == "ready"
        wait_for_rows(tmp_path, 40)
        process.send_signal(way)
        assert process.wait() != 0
    before, count = finished(tmp_path), len(asked(tmp_path))
    assert 0 < len(before) < storm.ROWS
    llm = hfnb.load("hfnb/numbers-fr")
    storm.noted(llm.engine, tmp_path)
    storm.run(llm, tmp_path)  # in another process than the one that was ended: this one
    assert sorted(asked(tmp_path)[count:]) == sorted(set(range(storm.ROWS)) - before)
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "data.parquet"), undisturbed("pytorch")
    )


SMALL = """
import warnings, sys, pandas as pd, hfnb
df = pd.DataFrame({"x": [f"{i} " + "x" * 1000 for i in range(3000)]})
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    engine = hfnb.EchoEngine(fingerprint="echo")
    result = hfnb.run(df, "{x}", engine, journal=sys.argv[1], progress=False)
assert result.stats.ok == 3000
assert result.data["output"].tolist() == df["x"].tolist()
print(len(caught), engine.calls, *(each.message for each in caught))
"""


LIMIT = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, 1_000_000))
"""


def run_small(journal: Path, before: str = "") -> str:
    done = subprocess.run(
        [sys.executable, "-c", before + SMALL, str(journal)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_file_that_may_not_grow_stops_nothing(tmp_path: Path) -> None:
    said = run_small(tmp_path / "journal", before=LIMIT)
    assert said.startswith("1 3000 ")
    assert "goes on without it" in said
    warned, calls, *_ = run_small(tmp_path / "journal").split()
    assert (warned, int(calls) <= 3000) == ("0", True)
    assert run_small(tmp_path / "journal").split() == ["0", "0"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, check=False).returncode:
        pytest.skip("this user may not mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_nothing(small_disk: Path) -> None:
    said = run_small(small_disk / "journal")
    assert said.startswith("1 3000 ")
    assert "goes on without it" in said
    # What was written before the disk was full is there.
    assert 0 < sum(each.rows for each in hfnb.journal.entries(small_disk / "journal")) < 3000


def test_two_processes_share_a_journal(tmp_path: Path) -> None:
    with start(tmp_path, "pytorch", "now") as one, start(tmp_path, "pytorch", "now") as other:
        assert (one.wait(), other.wait()) == (0, 0)
    assert finished(tmp_path) == set(range(storm.ROWS))
    pd.testing.assert_frame_equal(
        pd.read_parquet(tmp_path / "data.parquet"), undisturbed("pytorch")
    )
