"""Memory that really runs out: processes under `ulimit` and in control groups.

What a protected run survives is shown to end an unprotected one.
"""

from __future__ import annotations

import signal
import sys
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import SESSION
from tests.engines.memory_limits import PROMPTS, Limited, build_large, run_limited

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits of memory"),
]
LIMIT = 400
"""Megabytes; together, the rows would take about twice as much."""
BEAMS = {"num_beams": 2}


@cache
def large() -> Path:
    folder = SESSION / "large-keys"
    build_large(folder)
    return folder


@cache
def undisturbed(beams: bool = False) -> Limited:
    done = run_limited(large(), "pytorch", "", **(BEAMS if beams else {}))
    assert done.code == 0
    assert done.errors == [None] * len(PROMPTS)
    assert len(set(done.texts)) > 1
    return done


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA", "cgroup"])
def test_a_run_finishes_under_a_limit(limit: str) -> None:
    done = run_limited(large(), "pytorch", limit, LIMIT)
    assert done.code == 0
    assert done.errors == [None] * len(PROMPTS)
    assert done.texts == undisturbed().texts
    assert done.work["recomputed_rows"] == 0
    assert done.work["batch_rows"] < undisturbed().work["batch_rows"]


def test_without_a_look_at_the_memory_the_kernel_ends_the_process() -> None:
    done = run_limited(large(), "pytorch", "cgroup", LIMIT, unprotected=True)
    assert done.code == -signal.SIGKILL


@pytest.mark.parametrize("limit", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_memory_that_runs_out_in_the_midst_costs_no_row(limit: str) -> None:
    """Nobody looked how much there is: allocations fail, and batches become smaller."""
    done = run_limited(large(), "pytorch", limit, LIMIT, unprotected=True)
    assert done.code == 0
    assert done.errors == [None] * len(PROMPTS)
    assert done.texts == undisturbed().texts
    assert done.work["memory_backoffs"] > 0


@pytest.mark.parametrize("limit", ["RLIMIT_DATA", "cgroup"])
def test_beams_through_generate_finish_under_a_limit(limit: str) -> None:
    done = run_limited(large(), "pytorch", limit, 2 * LIMIT, **BEAMS)
    assert done.code == 0
    assert done.errors == [None] * len(PROMPTS)
    assert done.texts == undisturbed(beams=True).texts


def test_a_row_that_does_not_fit_alone_says_so() -> None:
    done = run_limited(large(), "pytorch", "RLIMIT_DATA", 40)
    assert done.code == 0
    assert done.texts == [None] * len(PROMPTS)
    for error in done.errors:
        assert error is not None
        assert "not enough memory for this row, even alone" in error
        assert "prompt tokens" in error
