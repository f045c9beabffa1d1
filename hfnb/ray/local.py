"""A Ray on this machine alone, for who has no cluster: no larger than what it is for."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from hfnb.errors import ModelError

_FRUGAL = {
    "RAY_prestart_worker_first_driver": "0",  # else a process for each core, before there is work
    "RAY_num_workers_soft_limit": "1",  # processes without work that are kept; else one a core
}
"""Settings of Ray that only matter where nobody has started a cluster for others, too. Each process
takes about 100 MB. A Ray that does not know them goes without."""
_SLOW = "timed out during startup"
"""What Ray says when one of its processes was not there in time, which is 15 s and can't be set."""


def start_local(num_cpus: int, **options: Any) -> None:
    """Start a Ray of so many cores, and join it.

    On a busy machine it may not come up in the time that Ray gives itself. The second time its
    files are in memory.

    Args:
        num_cpus: How many cores it has to give.
        **options: Others of ``ray.init``.

    Raises:
        ModelError: It did not come up twice.
    """
    import ray

    with _set(_FRUGAL):
        for last in (False, True):
            try:
                ray.init(address="local", num_cpus=num_cpus, include_dashboard=False, **options)
                return
            except Exception as problem:  # Ray has no type of its own for it
                if _SLOW not in str(problem):
                    raise
                ray.shutdown()
                if last:
                    raise ModelError(
                        "Ray did not start in the time that it gives itself, twice: this machine "
                        "is too busy, or short of memory. Try again when less is running, or join "
                        "a cluster (address=...)."
                    ) from problem


@contextlib.contextmanager
def _set(variables: dict[str, str]) -> Iterator[None]:
    """Set environment variables that nobody has set, for what is started in the block."""
    new = [name for name in variables if name not in os.environ]
    os.environ.update({name: variables[name] for name in new})
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
