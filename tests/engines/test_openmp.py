"""A thread that waits for a run gives back the threads that it computed with."""

from __future__ import annotations

import threading
from pathlib import Path

import pandas as pd
import psutil
import pytest
import torch

import hfnb
from hfnb.engines import openmp
from hfnb.engines.openmp import _library, _others, give_back_threads
from hfnb.frame import runner

pytestmark = pytest.mark.skipif(
    _library() is None or torch.get_num_threads() < 2,
    reason="needs two threads of PyTorch with GNU's OpenMP",
)


def compute() -> int:
    """Have this thread compute with all of its threads; return how many the process then has."""
    torch.ones(2_000_000).add(1).sum()
    return psutil.Process().num_threads()


def test_its_pool_is_gone_and_comes_back_when_it_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmp, "_others", lambda: 0)
    before = compute()
    give_back_threads()
    assert psutil.Process().num_threads() == before - (torch.get_num_threads() - 1)
    assert compute() == before


def test_on_a_busy_machine_it_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openmp, "_others", lambda: 64)
    before = compute()
    give_back_threads()
    assert psutil.Process().num_threads() == before


def test_a_run_takes_the_place_of_the_thread_that_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    monkeypatch.setattr(runner, "give_back_threads", lambda: told.append(threading.get_ident()))
    result = hfnb.run(pd.DataFrame({"x": ["a"]}), "{x}", hfnb.EchoEngine(), progress=False)
    assert result.stats.ok == 1
    assert told == [threading.get_ident()]


def test_what_runs_is_read_from_the_system(tmp_path: Path) -> None:
    assert _others() >= 0
    loads = tmp_path / "loadavg"
    loads.write_text("0.20 0.18 0.12 3/80 11206\n")
    assert _others(loads) == 2
    assert _others(tmp_path / "nothing") == 0
