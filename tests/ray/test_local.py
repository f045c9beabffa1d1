"""A local Ray that does not come up, and what it is told to do without."""

from __future__ import annotations

import os
from typing import Any

import pytest

from hfnb.errors import ModelError
from hfnb.ray.local import _FRUGAL, start_local
from tests.needs import require

SLOW = "The current node timed out during startup. This could happen because some of the raylet ..."


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `ray.init` was asked for; each call raises what the test has put into `failures`."""
    require("ray")
    import ray

    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(ray, "shutdown", lambda: asked.append({"shutdown": True}))
    for name in _FRUGAL:
        monkeypatch.delenv(name, raising=False)
    return asked


def _failing(starts: list[dict[str, Any]], failures: list[Exception]) -> Any:
    def init(**options: Any) -> None:
        starts.append({**options, "environment": {name: os.environ.get(name) for name in _FRUGAL}})
        if failures:
            raise failures.pop(0)

    return init


def test_a_ray_that_is_late_is_started_once_more(
    starts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gives its own processes 15 s, and a machine that reads them from disk may take longer."""
    monkeypatch.setattr("ray.init", _failing(starts, [Exception(SLOW)]))
    start_local(3, logging_level="ERROR")
    first, ended, second = starts
    assert first == second
    assert ended == {"shutdown": True}
    assert (first["address"], first["num_cpus"], first["logging_level"]) == ("local", 3, "ERROR")


def test_one_that_is_late_twice_is_told_in_words_that_help(
    starts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", _failing(starts, [Exception(SLOW), Exception(SLOW)]))
    with pytest.raises(ModelError, match="too busy, or short of memory") as raised:
        start_local(3)
    assert SLOW in str(raised.value.__cause__)


def test_what_else_goes_wrong_is_not_tried_again(
    starts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", _failing(starts, [ValueError("no such option")]))
    with pytest.raises(ValueError, match="no such option"):
        start_local(3)
    assert len(starts) == 1


def test_its_settings_are_for_its_start_alone_and_a_users_own_come_first(
    starts: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, other = _FRUGAL
    monkeypatch.setenv(kept, "7")
    monkeypatch.setattr("ray.init", _failing(starts, []))
    start_local(3)
    assert starts[0]["environment"] == {kept: "7", other: _FRUGAL[other]}
    assert os.environ[kept] == "7"
    assert other not in os.environ
