"""OpenVINO where memory really runs out: under `ulimit`, and in control groups."""

from __future__ import annotations

import signal
import sys
from functools import cache
from pathlib import Path

import pytest

import hfnb
from tests.conftest import SESSION
from tests.engines.memory_limits import PROMPTS, Limited, build_large, run_limited
from tests.needs import require

require("openvino")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's limits of memory"),
]
LIMITS = {"RLIMIT_AS": 1400, "RLIMIT_DATA": 900, "cgroup": 500}
"""Megabytes, the model's own included; addresses that are not used count in two of them.

The keys and values of all rows would take 790."""


@cache
def large() -> Path:
    folder = SESSION / "large-keys-openvino"
    build_large(folder / "source")
    return hfnb.export(folder / "source", folder / "export", progress=None)


@cache
def undisturbed() -> Limited:
    done = run_limited(large(), "openvino", "")
    assert done.code == 0
    assert done.errors == [None] * len(PROMPTS)
    return done


@pytest.mark.parametrize("limit", LIMITS)
def test_a_run_finishes_under_a_limit(limit: str) -> None:
    done = run_limited(large(), "openvino", limit, LIMITS[limit])
    assert done.code == 0
    assert done.errors == [None] * len(PROMPTS)
    assert done.texts == undisturbed().texts
    assert done.work["batch_rows"] < undisturbed().work["batch_rows"]


def test_without_a_look_at_the_memory_the_kernel_ends_the_process() -> None:
    done = run_limited(large(), "openvino", "cgroup", LIMITS["cgroup"], unprotected=True)
    assert done.code == -signal.SIGKILL


def test_beams_through_optimum_intel_finish_under_a_limit() -> None:
    whole = run_limited(large(), "openvino", "", num_beams=2)
    done = run_limited(large(), "openvino", "cgroup", 900, num_beams=2)
    assert done.code == whole.code == 0
    assert done.errors == [None] * len(PROMPTS)
    assert done.texts == whole.texts
