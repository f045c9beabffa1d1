"""Where a run is computed: on this machine, or by what `engine` names.

This layer knows no higher one: another place is found by the name of its module.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from hfnb.errors import OptionError, closest, listing

if TYPE_CHECKING:
    from hfnb.frame.given import Given
    from hfnb.frame.prepare import Checked
    from hfnb.frame.progress import Display

PLACES = {"ray": "hfnb.ray.place"}
"""Modules that have a function ``place``, by the engine's name."""
ENGINES = ("local", *PLACES)
CLUSTER_OPTIONS = (
    *("address", "concurrency", "num_cpus", "num_gpus", "preserve_order", "runtime_env"),
)
"""Arguments of `hfnb.run` that say how a cluster is used, by Ray's names."""


class Place(Protocol):
    """Where a run is computed, if that is not here."""

    def read(
        self, given: Any, columns: tuple[str, ...], *, out: object, limit: int | None
    ) -> Given:
        """Find out what was given as rows, and check it; see `hfnb.frame.given.read_given`."""

    def run(self, checked: Checked, display: Display, *, part_rows: int | None) -> Any:
        """Run, wait for the end, and keep the result as the last one."""


def place_of(engine: object, options: Mapping[str, Any], *, wait: bool = True) -> Place | None:
    """Return where a run is computed; ``None`` is this machine.

    Args:
        engine: The argument of `hfnb.run`.
        options: Those of its arguments that are `CLUSTER_OPTIONS`.
        wait: Whether the call waits for the end.

    Raises:
        OptionError: The engine is unknown, or an option is wrong or does not go with it.
        MissingExtraError: A package that it needs is not installed.
    """
    if engine not in ENGINES:
        raise OptionError(
            f"engine={engine!r} is unknown.{closest(engine, ENGINES)} Use {listing(ENGINES)}."
        )
    if engine == "local":
        if options:
            name = next(iter(options))
            raise OptionError(
                f"{name} says how a cluster is used, and this run is on this machine alone. Add "
                f"engine='ray', or leave {name} out."
            )
        return None
    if not wait:
        raise OptionError(
            f"engine={engine!r} waits for the end: wait=False is for runs on this machine. Leave "
            "it out; an interrupt ends the run, and keeps what is finished."
        )
    place: Place = importlib.import_module(PLACES[str(engine)]).place(options)
    return place
