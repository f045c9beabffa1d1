"""Joining a cluster, or starting a local one; and which workers fit on it."""

from __future__ import annotations

import importlib.util
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

from hfnb.errors import MissingExtraError, OptionError, SmallClusterWarning
from hfnb.hardware import usable_cores
from hfnb.ray.local import start_local
from hfnb.ray.options import ClusterOptions
from hfnb.ray.quiet import core_quiet

_FOR_ROWS = 2
"""Cores beside those of the workers: one for what reads rows, one for what cuts them into blocks.
What reads keeps its core while nobody takes what it has, so with a single core both would wait for
each other forever."""


class Workers(NamedTuple):
    """How many workers there may be, and what each is given."""

    least: int
    most: int
    num_cpus: int
    num_gpus: float


def check_ray() -> None:
    """Check that Ray is installed.

    Raises:
        MissingExtraError: It is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise MissingExtraError(
            "engine='ray' needs Ray. Install it with: pip install \"hfnb[ray]\""
        )


def join(options: ClusterOptions, *, reading: bool) -> Workers:
    """Join a cluster, or start a local one, and see which workers fit.

    Args:
        options: What was asked for.
        reading: Whether rows are read on the cluster, rather than sent from this process.

    Raises:
        OptionError: No cluster is at the address, this process is on another one, or a worker is
            larger than this machine.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # hfnb reports nothing to anyone
    import ray

    if not ray.is_initialized():
        with core_quiet():
            _connect(options)
    elif options.address not in (None, "auto", "local") and not _is_here(str(options.address)):
        raise OptionError(
            f"address={options.address!r}, and this process is on another Ray already. Leave "
            "address out to use that one, or leave it first: ray.shutdown()."
        )
    nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
    there = [each["Resources"] for each in nodes if each["Alive"]]
    workers = workers_on(there, options)
    cores = int(sum(each.get("CPU", 0) for each in there))
    needed = workers.least * workers.num_cpus + (_FOR_ROWS if reading else 0)
    if cores < needed:
        warnings.warn(_few(cores, needed, workers), SmallClusterWarning, stacklevel=2)
    return workers


def workers_on(nodes: list[Mapping[str, float]], options: ClusterOptions) -> Workers:
    """Return the workers for a cluster.

    Where it has GPUs, each worker gets one; else the cores of the smallest node, shared with the
    others that have to be on it, without some that are left to what reads and cuts the rows.

    Args:
        nodes: The resources of each node.
        options: What was asked for.
    """
    with_gpus = [each for each in nodes if each.get("GPU", 0) >= 1]
    gpus = options.num_gpus
    if gpus is None:
        gpus = 1.0 if with_gpus else 0.0
    cores = [int(each["CPU"]) for each in nodes if each.get("CPU", 0) >= 1] or [1]
    cpus = options.num_cpus or (1 if gpus else _share(cores, options.least))
    fit = sum(_fit(each, cpus, gpus) for each in nodes)
    most = options.most or max(options.least, fit, 1)
    return Workers(options.least, most, cpus, float(gpus))


def _share(cores: list[int], workers: int) -> int:
    """Return the cores of a worker, where so many workers have to fit on nodes of so many cores."""
    left = min(cores) - math.ceil(_FOR_ROWS / len(cores))
    return max(1, left // math.ceil(workers / len(cores)))


def _few(cores: int, needed: int, workers: Workers) -> str:
    each, reading = workers.num_cpus, needed - workers.least * workers.num_cpus
    beside = f", and {reading} to read the rows and cut them into blocks" if reading else ""
    return (
        f"The cluster has {cores} cores now, and this run needs {needed}: {each} for each of "
        f"{workers.least} workers{beside}. It waits until the cluster has grown. Where it can't "
        "grow, interrupt, and ask for fewer workers (concurrency=...) or cores (num_cpus=...)."
    )


def _fit(node: Mapping[str, float], cpus: int, gpus: float) -> int:
    """Return how many workers fit on a node."""
    fit = int(node.get("CPU", 0)) // cpus
    return min(fit, int(node.get("GPU", 0) / gpus)) if gpus else fit


def _connect(options: ClusterOptions) -> None:
    import ray

    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if options.runtime_env is not None:
        quiet["runtime_env"] = dict(options.runtime_env)
    address = options.address
    if address not in (None, "local"):
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError) as error:
            raise OptionError(
                f"No Ray cluster answers at address={address!r}: {error}. Start one with "
                "'ray start --head', correct the address, or leave it out for a local one."
            ) from error
        return
    if address is None:
        try:
            ray.init(address="auto", **quiet)
        except ConnectionError:
            pass
        else:
            return
    cores = usable_cores()
    if options.num_cpus is not None and options.num_cpus > cores:
        raise OptionError(
            f"num_cpus={options.num_cpus} is more than the {cores} cores that a local Ray "
            "would have here. Ask for fewer, or join a cluster (address=...)."
        )
    asked = max(cores, options.least * (options.num_cpus or 1))
    start_local(asked + _FOR_ROWS, **quiet)


def _is_here(address: str) -> bool:
    """Whether an address is that of the cluster that this process is on."""
    import ray

    bare = address.partition("://")[2] or address
    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        return address.startswith("ray://")
    return bool(bare == ray.get_runtime_context().gcs_address)
