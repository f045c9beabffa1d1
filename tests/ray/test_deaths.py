"""Workers, nodes and drivers that die in the middle of a run: only rows in flight are lost."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import hfnb
from tests.ray.conftest import STORE
from tests.ray.support import ON, Noting, assert_same, echo, mixed
from tests.ray.test_parts import written

PROMPT = "{i}: {text}"
IN_FLIGHT = 2 * 2 * 25
"""Rows that two workers have begun: two blocks each, of 25 rows."""


def after(count: int, note: Noting, act: Callable[[], None]) -> threading.Thread:
    """Do something once so many rows were computed."""

    def watch() -> None:
        while len(note.lines()) < count:
            time.sleep(0.05)
        act()

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


def kill_a_worker(note: Noting) -> None:
    os.kill(note.lines()[-1][0], signal.SIGKILL)


def test_a_worker_that_is_killed_costs_only_rows_in_flight(cluster: Any, tmp_path: Path) -> None:
    df, note = mixed(200), Noting(tmp_path / "asked")
    watcher = after(60, note, lambda: kill_a_worker(note))
    there = hfnb.run(df, PROMPT, echo(answer=note, delay_s=0.02), **ON)
    watcher.join(10)
    assert not watcher.is_alive()
    assert_same(there, hfnb.run(df, PROMPT, echo(), progress=False))
    computed = note.asked()
    assert len(note.pids()) >= 2
    assert sum(computed.values()) - len(computed) <= IN_FLIGHT


@pytest.mark.slow
def test_a_node_that_is_killed_costs_only_rows_in_flight(cluster: Any, tmp_path: Path) -> None:
    df, note = mixed(300), Noting(tmp_path / "asked")
    node = cluster.add_node(num_cpus=2, object_store_memory=STORE)
    watcher = after(80, note, lambda: cluster.remove_node(node, allow_graceful=False))
    options: Any = {**ON, "concurrency": 5}
    there = hfnb.run(df, PROMPT, echo(answer=note, delay_s=0.05), **options)
    watcher.join(10)
    assert not watcher.is_alive()
    assert_same(there, hfnb.run(df, PROMPT, echo(), progress=False))


DRIVER = """
import sys, hfnb
from tests.ray.support import Noting, ON, echo
source, out, note, address = sys.argv[1:]
options = {**ON, "address": address}
hfnb.run(source, "{i}: {text}", echo(answer=Noting(note), delay_s=0.05), out=out, part_rows=20,
         **options)
"""


@pytest.mark.slow
def test_a_driver_that_is_killed_is_gone_on_with(cluster: Any, tmp_path: Path) -> None:
    source, note = written(tmp_path / "in", mixed(200)), Noting(tmp_path / "asked")
    out = tmp_path / "out"
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, source, str(out), note.file, cluster.address]
    )
    done = out / "_hfnb" / "parts.jsonl"
    while not (done.exists() and done.read_text().count("\n") >= 2):
        assert driver.poll() is None, "it ended before it could be killed"
        time.sleep(0.1)
    driver.kill()
    driver.wait()
    kept = len(done.read_text().splitlines())
    time.sleep(5)  # Ray ends the workers of a driver that is gone
    before = note.asked()
    there = hfnb.run(source, PROMPT, echo(answer=note), out=out, **ON)
    assert there.complete
    here = hfnb.run(mixed(200), PROMPT, echo(), progress=False)
    assert there.to_pandas()["output"].tolist() == here.data["output"].tolist()
    # Of the parts that were written no row was computed again.
    now = note.asked()
    rows = list(there.to_pandas().itertuples())
    for row in rows[: kept * 20]:
        if str(row.i) != "<NA>" and row.i == row.i:
            prompt = f"{int(row.i)}: {row.text}"
            assert now[prompt] == before[prompt]


@pytest.mark.slow
def test_a_storm_of_runs_with_deaths_ends_as_local_runs_do(cluster: Any, tmp_path: Path) -> None:
    """Twenty runs; in each a worker is killed at a random row, in every fifth a node."""
    chance = random.Random(20)
    for number in range(20):
        df = mixed(chance.randrange(50, 200))
        note = Noting(tmp_path / f"asked{number}")
        at = chance.randrange(1, len(df) // 2)
        act = lambda note=note: kill_a_worker(note)  # noqa: E731
        node = None
        if number % 5 == 4:
            node = cluster.add_node(num_cpus=1, object_store_memory=STORE)
            act = lambda node=node: cluster.remove_node(node, allow_graceful=False)  # noqa: E731
        watcher = after(at, note, act)
        options: Any = {**ON, "concurrency": 3}
        there = hfnb.run(df, PROMPT, echo(answer=note, delay_s=0.01), **options)
        watcher.join(10)
        assert not watcher.is_alive()
        assert_same(there, hfnb.run(df, PROMPT, echo(), progress=False))
