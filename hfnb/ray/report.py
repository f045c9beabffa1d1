"""What a worker sends back for a block: one cell, which holds what the kind of run needs."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping
from typing import Any

from hfnb.errors import HfnbError, ModelError, RowError
from hfnb.frame.part_tables import Outcome, Positions
from hfnb.frame.stats import RunStats
from hfnb.frame.store import RowStore
from hfnb.ray.pickles import dumps, loads

REPORT = "__hfnb_report__"
"""The column that holds it, in a block's first row."""


@dataclasses.dataclass
class Report:
    """What is told of a block."""

    block: str
    """What the board calls it."""
    worker: str
    began: float = 0.0
    ended: float = 0.0
    """Seconds since 1970."""
    problem: Exception | None = None
    """What makes the whole run fail."""
    begun: bool = True
    """Whether any of it was computed; not, where the workers were told to stop before."""
    stats: RunStats | None = None
    about: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The run's manifest, and what decides a part's outputs."""
    journaled: bool = False
    rows: Any = None
    """Of a frame: the positions. Of a part: the table, as bytes."""
    store: RowStore | None = None
    """Of a frame: what became of its rows."""
    number: int = 0
    """Which block it is; in a run in parts, which part."""
    kept: bool = False
    """Whether the part was there, whole."""
    todo: Positions | None = None
    outcome: tuple[bytes, bytes] | None = None
    mark: str = ""

    def tables(self) -> tuple[Any, Outcome]:
        """Return a part's rows and what came of them."""
        assert self.outcome is not None
        return from_bytes(self.rows), Outcome(*map(from_bytes, self.outcome))

    def packed(self) -> Any:
        """Return it as an Arrow table of one cell."""
        import pyarrow as pa

        return pa.table({REPORT: pa.array([self.as_bytes()], pa.large_binary())})

    def as_bytes(self) -> bytes:
        """Return it as bytes."""
        if self.store is not None:
            self.store.errors = {at: _sent(error) for at, error in self.store.errors.items()}
        if self.problem is not None:
            self.problem = _sent_problem(self.problem)
        return dumps(self)


def unpacked(block: Any) -> Report:
    """Return the report of a block."""
    report: Report = loads(block.column(REPORT)[0].as_py())
    return report


def to_bytes(table: Any) -> bytes:
    """Return an Arrow table as bytes: of a slice, only its own."""
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(written: bytes) -> Any:
    """Return the Arrow table that was written."""
    import pyarrow as pa

    with pa.ipc.open_stream(written) as reader:
        return reader.read_all()


def _sent(error: RowError) -> RowError:
    """Return a row's error in a form that can be sent, at the least its message."""
    return error if _travels(error) else RowError(str(error))


def _sent_problem(problem: Exception) -> Exception:
    if _travels(problem):
        return problem
    if not isinstance(problem, HfnbError):
        return ModelError(f"{type(problem).__name__}: {problem}")
    known = next(each for each in type(problem).__mro__ if each.__module__ == HfnbError.__module__)
    told: Exception = known(str(problem))
    return told


def _travels(error: Exception) -> bool:
    with contextlib.suppress(Exception):  # whatever the user's exceptions raise
        return type(loads(dumps(error))) is type(error)
    return False
