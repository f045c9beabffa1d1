"""How a cluster is used: the arguments of `hfnb.run` that go with ``engine="ray"``."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from hfnb.errors import OptionError


@dataclasses.dataclass(frozen=True)
class ClusterOptions:
    """How a cluster is used. The names are Ray's."""

    address: str | None = None
    """Of the cluster; ``None`` joins the one that is known here, or starts one."""
    least: int = 1
    """Workers that are there from the start to the end."""
    most: int | None = None
    """Workers when there is enough to do; ``None`` for as many as fit."""
    num_cpus: int | None = None
    """Cores of a worker; ``None`` for what suits the machines."""
    num_gpus: float | None = None
    """GPUs of a worker; ``None`` for one where the cluster has any."""
    preserve_order: bool = False
    """Whether a Dataset that is returned has the order of the one that was given."""
    runtime_env: Mapping[str, Any] | None = None
    """What Ray sets up for the workers."""

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> ClusterOptions:
        """Check what was given.

        Raises:
            OptionError: A value is impossible.
        """
        rest = dict(given)
        least, most = _bounds(rest.pop("concurrency", None))
        options = cls(least=least, most=most, **rest)
        address, env = options.address, options.runtime_env
        if not (address is None or (_is_text(address) and address)):
            raise OptionError(
                f"address is 'auto', 'local', 'host:port' or 'ray://host:port'; not {address!r}."
            )
        if not isinstance(options.preserve_order, bool):
            raise OptionError(f"preserve_order is True or False; not {options.preserve_order!r}.")
        if env is not None and not isinstance(env, Mapping):
            raise OptionError(f"runtime_env is a dictionary, as Ray takes it; not {env!r}.")
        if options.num_cpus is not None and not _is_count(options.num_cpus):
            raise OptionError(
                "num_cpus is the cores of each worker, a whole number from 1 on; not "
                f"{options.num_cpus!r}."
            )
        if options.num_gpus is not None and not _is_share(options.num_gpus):
            raise OptionError(
                f"num_gpus is the GPUs of each worker, 0, a part of one, or a whole number; not "
                f"{options.num_gpus!r}."
            )
        return options


def _bounds(concurrency: object) -> tuple[int, int | None]:
    """Return the fewest and the most workers."""
    if concurrency is None:
        return 1, None
    both = concurrency if isinstance(concurrency, (tuple, list)) else (concurrency, concurrency)
    if len(both) == 2 and all(map(_is_count, both)) and both[0] <= both[1]:
        return both[0], both[1]
    raise OptionError(
        "concurrency is the number of workers, or the fewest and the most of them, such as (1, 8); "
        f"not {concurrency!r}."
    )


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_share(value: object) -> bool:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or value < 0:
        return False
    return value < 1 or (math.isfinite(value) and value == int(value))
