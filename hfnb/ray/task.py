"""What a worker is sent: what to do, with which model, and what is there already."""

from __future__ import annotations

import dataclasses
import os
import socket
from collections.abc import Mapping
from typing import Any, Literal

from hfnb.errors import OptionError
from hfnb.frame.given import Given
from hfnb.frame.part_tables import Positions
from hfnb.frame.parts import Part
from hfnb.frame.prepare import Checked
from hfnb.ray.model import portable
from hfnb.ray.pickles import dumps

Kind = Literal["frame", "parts", "dataset"]


@dataclasses.dataclass(frozen=True)
class Resume:
    """What the folder of a run in parts has already."""

    folder: str
    part_rows: int
    source: str
    """What to call the source in a message."""
    columns: Mapping[str, str]
    """The source's columns, with their types."""
    what: Mapping[str, Any] | None
    """What its parts were made with; ``None`` for an empty folder."""
    known: Mapping[int, Part]
    again: Mapping[int, Positions]
    """The rows to be tried again, of the parts that have such."""


@dataclasses.dataclass(frozen=True)
class Task:
    """Everything that a worker needs to know."""

    kind: Kind
    checked: Checked
    """The model in it is what `portable` returns."""
    num_cpus: int
    host: str
    """The driver's machine, whose journal is the driver's."""
    own_journal: bool
    """Whether each machine's user has a journal of its own."""
    resume: Resume | None = None

    def packed(self) -> bytes:
        """Return it as bytes.

        Raises:
            OptionError: Something in it can't be sent.
        """
        try:
            return dumps(self)
        except Exception as error:  # whatever the user's objects raise
            raise OptionError(
                "The prompt, the chain, the schema or the engine can't be sent to the workers: "
                f"{type(error).__name__}: {error}. Leave out what holds locks, files or "
                "connections, or make it inside the function that needs it."
            ) from error


def task_for(
    checked: Checked, kind: Kind, *, num_cpus: int, own_journal: bool, resume: Resume | None = None
) -> Task:
    """Return what to send, without the rows and without the weights."""
    none = checked.given.frame.iloc[:0]
    job = dataclasses.replace(checked.job, frame=none, given=None)
    bare = checked._replace(job=job, given=Given(none), model=portable(checked.model))
    return Task(kind, bare, num_cpus, socket.gethostname(), own_journal, resume)


def worker_name() -> str:
    """Return what to call this process."""
    import ray

    node = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    return f"{node} · {os.getpid()}"
