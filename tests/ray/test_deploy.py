"""The files of a cluster: as far as can be checked without Kubernetes."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / "deploy" / "ray"
PINNED = re.compile(r"^ray==(\S+)$", flags=re.MULTILINE)


def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the pods' specifications of a RayCluster's."""
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [group["template"]["spec"] for group in groups]


@pytest.mark.parametrize(("name", "kind"), [("raycluster", "RayCluster"), ("rayjob", "RayJob")])
def test_a_manifest_is_whole(name: str, kind: str) -> None:
    manifest = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    assert (manifest["apiVersion"], manifest["kind"]) == ("ray.io/v1", kind)
    spec = manifest["spec"]
    cluster = spec if kind == "RayCluster" else spec["rayClusterSpec"]
    pinned = PINNED.search((FOLDER.parents[1] / "constraints.txt").read_text())
    assert pinned is not None
    assert cluster["rayVersion"] == pinned[1]
    for pod in pods(cluster):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert container["image"] == "REGISTRY/hfnb-ray:0.1"
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            assert container["resources"]["requests"] == container["resources"]["limits"]
    for group in cluster["workerGroupSpecs"]:
        assert 0 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


def test_the_image_has_the_ray_that_is_tested() -> None:
    text = (FOLDER / "Dockerfile").read_text()
    pinned = PINNED.search((FOLDER.parents[1] / "constraints.txt").read_text())
    assert pinned is not None
    assert f"FROM rayproject/ray:{pinned[1]}-py311-gpu" in text
    for source in re.findall(r"^COPY --chown=ray (.*) \./", text, flags=re.MULTILINE):
        for each in source.split():
            assert (FOLDER.parents[1] / each).exists(), each
