"""A real Ray cluster of two nodes on this machine, one for all tests here."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.needs import require

STORE = 150_000_000
"""Bytes of a node's object store."""


@pytest.fixture(scope="package")
def cluster() -> Iterator[Any]:
    """A cluster that this process is on; tests may add nodes, and take those away again."""
    require("ray")
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": STORE}
    )
    cluster.add_node(num_cpus=2, object_store_memory=STORE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
