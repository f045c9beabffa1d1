"""Joining a cluster, or starting a local one; and which workers fit on it."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import psutil

from hfnb.errors import MissingExtraError, OptionError
from hfnb.ray.options import ClusterOptions
from hfnb.ray.quiet import core_quiet

_READING = 1
"""Cores beside those of the workers, for what reads and cuts their rows."""


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


def join(options: ClusterOptions) -> Workers:
    """Join a cluster, or start a local one, and see which workers fit.

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
    return workers_on(there, options)


def workers_on(nodes: list[Mapping[str, float]], options: ClusterOptions) -> Workers:
    """Return the workers for a cluster.

    Where it has GPUs, each worker gets one; else the cores of the smallest node but one, which is
    left to what reads the rows.

    Args:
        nodes: The resources of each node.
        options: What was asked for.
    """
    with_gpus = [each for each in nodes if each.get("GPU", 0) >= 1]
    gpus = options.num_gpus
    if gpus is None:
        gpus = 1.0 if with_gpus else 0.0
    cores = [int(each["CPU"]) for each in nodes if each.get("CPU", 0) >= 1] or [1]
    cpus = options.num_cpus or (1 if gpus else max(1, min(cores) - _READING))
    fit = sum(_fit(each, cpus, gpus) for each in nodes)
    most = options.most or max(options.least, fit, 1)
    return Workers(options.least, most, cpus, float(gpus))


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
    cores = psutil.cpu_count() or 1
    if options.num_cpus is not None and options.num_cpus > cores:
        raise OptionError(
            f"num_cpus={options.num_cpus} is more than the {cores} cores of this machine, on which "
            "a local Ray would be started. Ask for fewer, or join a cluster (address=...)."
        )
    ray.init(address="local", num_cpus=cores + _READING, include_dashboard=False, **quiet)


def _is_here(address: str) -> bool:
    """Whether an address is that of the cluster that this process is on."""
    import ray

    bare = address.partition("://")[2] or address
    if ray.util.client.ray.is_connected():  # type: ignore[no-untyped-call]
        return address.startswith("ray://")
    return bool(bare == ray.get_runtime_context().gcs_address)
