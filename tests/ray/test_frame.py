"""A run over a frame on a real cluster: what comes back is what a local run gives."""

import os
from typing import Any

import pandas as pd
import pytest

import hfnb
from hfnb.frame.progress import Progress
from tests.needs import require
from tests.ray.support import ON, SAME, Noting, assert_same, echo, fails, mixed

PROMPT = "{i}: {text}"


def test_a_run_on_the_cluster_gives_what_a_local_run_gives(cluster: Any, tmp_path: Any) -> None:
    df, seen = mixed(300), list[Progress]()
    note = Noting(tmp_path / "asked")
    options: dict[str, Any] = {"into": "said", "stop": ["word99 "], "max_new_tokens": 4}
    llm = echo(answer=note, fail=fails, context_length=5, delay_s=0.01)
    there = hfnb.run(df, PROMPT, llm, **options, **{**ON, "progress": seen.append})
    here = hfnb.run(df, PROMPT, echo(fail=fails, context_length=5), progress=False, **options)
    assert_same(there, here)
    assert {"ok", "error", "skipped"} <= set(there.rows["status"].unique())
    pd.testing.assert_frame_equal(there.errors[[*df, *SAME]], here.errors[[*df, *SAME]])
    assert hfnb.last_result() is here
    # Other processes than this one shared the rows, and each row was computed once.
    assert os.getpid() not in note.pids()
    assert set(note.asked().values()) == {1}
    stats = there.stats
    assert len(stats.workers) == len(note.pids())
    assert sum(each.rows for each in stats.workers) == 300
    assert (stats.ok, stats.failed, stats.skipped) == (
        here.stats.ok,
        here.stats.failed,
        here.stats.skipped,
    )
    assert stats.tokens_out == here.stats.tokens_out
    assert str(stats).count("rows in") == len(stats.workers)
    # It was drawn on the way, row by row, and at the end.
    assert any(0 < each.done < 300 for each in seen)
    assert seen[-1].done == 300
    assert there.manifest["model"]["engine"] == "echo"


def test_what_failed_is_run_again_on_the_cluster(cluster: Any) -> None:
    df = mixed(64)
    first = hfnb.run(df, PROMPT, echo(fail=fails), **ON)
    assert first.stats.failed
    again = first.retry("failed", llm=echo(), progress=False)
    assert again.stats.failed == 0
    assert len(again.stats.workers) >= 1
    assert_same(again, hfnb.run(df, PROMPT, echo(), progress=False))


def test_a_model_is_loaded_by_each_worker_with_the_cores_that_it_has(cluster: Any) -> None:
    df = pd.DataFrame({"i": [*range(1, 60), 72]})
    llm = hfnb.load("hfnb/numbers-fr")
    prompt = "What is the number {i} in french?"
    options: dict[str, Any] = {"into": "answer", "max_new_tokens": 16}
    # By its name here, and as it was loaded there.
    there = hfnb.run(df, prompt, "hfnb/numbers-fr", schema=None, **options, **ON)
    here = hfnb.run(df, prompt, llm, progress=False, journal=False, **options)
    assert_same(there, here)
    assert there.data["answer"].iloc[-1] == "soixante-douze"
    assert there.stats.model == "hfnb/numbers-fr"
    assert there.journaled
    # The journal has what the workers finished: a local run now computes nothing.
    later = hfnb.run(df, prompt, llm, progress=False, **options)
    assert later.stats.from_journal == 60


def threads(text: str) -> int:
    """Return how many threads PyTorch takes in this process."""
    import torch

    return torch.get_num_threads() if text else 0


@pytest.mark.slow
def test_a_chain_runs_on_as_many_threads_as_a_worker_has_cores(cluster: Any) -> None:
    from langchain_core.prompts import PromptTemplate
    from langchain_core.runnables import RunnableLambda

    llm = hfnb.load("hfnb/numbers-fr", max_new_tokens=16)
    prompt = PromptTemplate.from_template("What is the number {i} in french?")
    chain = prompt | llm | RunnableLambda(threads)
    result = hfnb.run(pd.DataFrame({"i": range(1, 40)}), chain, **ON)
    assert result.data["output"].tolist() == [1] * 39


@pytest.mark.slow
def test_workers_share_an_export_and_give_what_openvino_gives_here(cluster: Any) -> None:
    require("openvino")
    df = pd.DataFrame({"i": range(1, 60)})
    llm = hfnb.load("hfnb/numbers-fr", backend="openvino", weight_format="int8")
    options: dict[str, Any] = {"into": "answer", "max_new_tokens": 16, "journal": False}
    prompt = "What is the number {i} in french?"
    there = hfnb.run(df, prompt, llm, **options, **ON)
    assert_same(there, hfnb.run(df, prompt, llm, progress=False, **options))
    assert there.stats.backend == "openvino"


@pytest.mark.slow
def test_a_wrong_model_is_told_as_a_local_run_tells_it(cluster: Any) -> None:
    with pytest.raises(hfnb.HfnbError, match="numbers-fr"):
        hfnb.run(mixed(4), PROMPT, "hfnb/numbers-fx", **ON)


@pytest.mark.slow
def test_the_first_error_is_raised_where_that_is_asked_for(cluster: Any) -> None:
    with pytest.raises(hfnb.HfnbError, match="told to fail") as caught:
        hfnb.run(mixed(64), PROMPT, echo(fail=fails), on_error="raise", **ON)
    assert caught.value.result.data.shape == (64, 4)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_a_schema_and_a_polars_frame_come_back_as_from_a_local_run(cluster: Any) -> None:
    import polars

    require("structured")
    df = polars.DataFrame({"i": [1, 2, 3]})
    options: dict[str, Any] = {"schema": ["un", "deux", "trois"], "into": "word"}
    there = hfnb.run(df, "{i}?", "hfnb/numbers-fr", **options, **ON)
    here = hfnb.run(df, "{i}?", "hfnb/numbers-fr", progress=False, **options)
    assert there.data.equals(here.data)
    assert there.data.schema == here.data.schema


@pytest.mark.slow
def test_workers_are_added_while_blocks_wait(cluster: Any, tmp_path: Any) -> None:
    note = Noting(tmp_path / "asked")
    slow = echo(answer=note, delay_s=0.05)
    between = {**ON, "concurrency": (1, 2)}
    result = hfnb.run(mixed(1000), "{i}", slow, journal=False, **between)
    assert result.stats.ok == sum(at % 7 != 3 for at in range(1000))
    assert len(note.pids()) == len(result.stats.workers) == 2
