"""What tests of several folders share about engines."""

from __future__ import annotations

from typing import Any
from weakref import WeakSet

import pytest

from hfnb.engines import loaded, memory
from hfnb.engines.call import Call
from hfnb.engines.row import Row


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test's engines learn for themselves how much memory a model has."""
    monkeypatch.setattr(memory, "_ceilings", {})


@pytest.fixture(autouse=True)
def _unloads_only_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test unload what it has loaded, and not what tests share."""
    monkeypatch.setattr(loaded, "_engines", WeakSet())


@pytest.fixture
def finished(monkeypatch: pytest.MonkeyPatch) -> set[Row]:
    """Rows that were handed out; the test fails if one of them is computed again."""
    rows: set[Row] = set()
    finish, restart = Call.finish, Row.restart

    def noting(self: Call, row: Row, completion: Any) -> None:
        assert row not in rows
        rows.add(row)
        finish(self, row, completion)

    def watched(self: Row) -> None:
        assert self not in rows
        restart(self)

    monkeypatch.setattr(Call, "finish", noting)
    monkeypatch.setattr(Row, "restart", watched)
    return rows
