"""What is found before a cluster is started, and how much a worker is given."""

import importlib.util
import re
from typing import Any

import pandas as pd
import pytest

import hfnb
from hfnb.errors import MissingExtraError
from hfnb.ray.cluster import join, workers_on
from hfnb.ray.options import ClusterOptions
from hfnb.ray.sizing import BLOCK_TOKENS, rows_of_a_block
from hfnb.spec import GenerationSpec

DF = pd.DataFrame({"x": ["a", "b"]})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"engine": "rey"}, "engine='rey' is unknown. Did you mean 'ray'?"),
        ({"address": "auto"}, "address says how a cluster is used"),
        ({"engine": "ray", "wait": False}, "engine='ray' waits for the end"),
        ({"engine": "ray", "concurrency": (4, 2)}, "concurrency is the number of workers"),
        ({"engine": "ray", "concurrency": 0}, "concurrency is the number of workers"),
        ({"engine": "ray", "num_cpus": 0.5}, "num_cpus is the cores of each worker"),
        ({"engine": "ray", "num_gpus": 1.5}, "num_gpus is the GPUs of each worker"),
        ({"engine": "ray", "address": 6379}, "address is 'auto'"),
        ({"engine": "ray", "runtime_env": "pip"}, "runtime_env is a dictionary"),
        ({"engine": "ray", "preserve_order": "yes"}, "preserve_order is True or False"),
        ({"engine": "ray", "out": "s3://bucket/out"}, "is not on this machine"),
        ({"engine": "ray", "out": "answers"}, "out is for rows that workers read"),
        ({"engine": "ray", "concurency": 2}, "Did you mean 'concurrency'?"),
    ],
)
def test_an_option_that_cannot_work_is_refused_at_once(
    options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfnb.ray.place.join", _never)
    with pytest.raises(hfnb.HfnbError, match=re.escape(said)):
        hfnb.run(DF, "{x}", hfnb.EchoEngine(), **options)


def _never(*_: Any) -> None:
    raise AssertionError("a cluster was started")


def test_a_cell_takes_the_engine_too_and_tab_offers_it() -> None:
    from hfnb.magics.arguments import OF_CELL, read_arguments
    from hfnb.magics.words import split

    assert OF_CELL["--engine"].choices == ("local", "ray")
    assert read_arguments(split("df --engine ray"), OF_CELL).given == {"engine": "ray"}


def test_rows_that_no_worker_can_read_are_refused() -> None:
    with pytest.raises(hfnb.HfnbError, match="Write them as parquet first"):
        hfnb.run(iter([DF]), "{x}", hfnb.EchoEngine(), engine="ray", out="answers")


def test_a_column_that_is_missing_is_found_before_a_cluster_is_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hfnb.ray.place.join", _never)
    with pytest.raises(hfnb.HfnbError, match="'y'"):
        hfnb.run(DF, "{y}", hfnb.EchoEngine(), engine="ray")


def test_without_ray_one_line_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "ray" else real(name, *a)
    )
    with pytest.raises(MissingExtraError, match=re.escape('pip install "hfnb[ray]"')) as caught:
        hfnb.run(DF, "{x}", hfnb.EchoEngine(), engine="ray")
    assert "\n" not in str(caught.value)


def test_each_worker_gets_a_gpu_where_there_are_some() -> None:
    nodes = [{"CPU": 64.0, "GPU": 8.0}, {"CPU": 32.0}]
    workers = workers_on(nodes, ClusterOptions())
    assert workers == (1, 8, 1, 1.0)
    assert workers_on(nodes, ClusterOptions(num_gpus=0.5)).most == 16
    assert workers_on(nodes, ClusterOptions(num_gpus=0, num_cpus=16)).most == 6


def test_without_gpus_workers_leave_cores_to_what_reads_and_cuts_the_rows() -> None:
    assert workers_on([{"CPU": 8.0}, {"CPU": 16.0}], ClusterOptions()) == (1, 3, 7, 0.0)
    assert workers_on([{"CPU": 1.0}], ClusterOptions()) == (1, 1, 1, 0.0)
    assert workers_on([{"CPU": 8.0}], ClusterOptions.of({"concurrency": 2})) == (2, 2, 3, 0.0)
    assert workers_on([{"CPU": 8.0}] * 2, ClusterOptions.of({"concurrency": 4})) == (4, 4, 3, 0.0)
    assert workers_on([{"CPU": 8.0}], ClusterOptions.of({"concurrency": (2, 5)}))[:2] == (2, 5)


def test_a_cluster_without_cores_to_read_with_is_told_before_the_run_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": {"CPU": 3.0}}])
    options = ClusterOptions.of({"concurrency": 2, "num_cpus": 1})
    assert join(options, reading=False).least == 2  # rows of a frame are read here
    with pytest.warns(hfnb.SmallClusterWarning, match="has 3 cores now, and this run needs 4"):
        join(options, reading=True)


def test_blocks_have_as_many_tokens_whatever_the_rows_are_like() -> None:
    short, long = GenerationSpec.of(max_new_tokens=28), GenerationSpec.of(max_new_tokens=924)
    assert rows_of_a_block(400, short) == BLOCK_TOKENS // 128
    assert rows_of_a_block(400, long) == BLOCK_TOKENS // 1024
    assert rows_of_a_block(400_000, long) == 32  # what the model computes together


def test_a_small_frame_is_cut_so_that_each_worker_has_some() -> None:
    short = GenerationSpec.of(max_new_tokens=28)
    assert rows_of_a_block(400, short, rows=800, workers=2) == 100
    assert rows_of_a_block(400, short, rows=20, workers=2) == 20
