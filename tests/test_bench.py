"""The benchmarks' own logic, rehearsed with a tiny model: figures are real, and mean nothing."""

from __future__ import annotations

import dataclasses
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[1] / "bench"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Import a module of the benchmarks, which are programs and no package."""
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setenv("HFNB_BENCH_CACHE", str(tmp_path))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(BENCH) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def few(workload: Any, rows: int, new_tokens: int) -> Any:
    """Return a workload with fewer rows and shorter answers."""
    whole = workload.prompts
    return dataclasses.replace(
        workload, prompts=lambda seed: whole(seed)[:rows], new_tokens=new_tokens
    )


def test_the_gpu_benchmark_runs_through(bench: Callable[[str], Any]) -> None:
    cuda, workloads = bench("cuda"), bench("workloads")
    settings = [{"num_blocks": 16, "max_batch_tokens": 512}, {"no_such_setting": 1}]
    lines = cuda.measured(
        "cpu", ["tiny"], [few(workloads.STOPPED, 4, 4)], settings, rounds=1, copied_bytes=2**20
    )
    text = "\n".join(lines)
    assert text.count("| hfnb | ") == 1
    assert text.count("| langchain-huggingface") == 1
    assert text.count("| transformers generate_batch (num_blocks=16") == 1
    assert "no_such_setting" not in text
    assert "| 1 | " in text
    assert "| 4 | " in text
    for line in lines:
        if line.startswith(("| hfnb |", "| langchain")):
            assert int(line.split("|")[-2]) >= 2  # of four texts; bfloat16 may tip some over


def test_without_a_gpu_the_benchmark_says_so(
    bench: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="NVIDIA"):
        bench("cuda").run()


def test_a_contest_counts_what_agrees_and_by_how_much(bench: Callable[[str], Any]) -> None:
    contest, workloads = bench("contest"), bench("workloads")
    workload = workloads.Workload("three rows", lambda seed: [f"{seed}{i}" for i in range(3)])

    def echo(prompts: list[str]) -> list[str]:
        return prompts

    def wrong_once(prompts: list[str]) -> list[str]:
        return ["?", *prompts[1:]]

    def slow(prompts: list[str]) -> list[str]:
        time.sleep(0.1)
        return prompts

    contest.CLOSE = 1000.0
    candidates = [
        contest.Candidate("slow", slow),
        contest.Candidate("wrong once", wrong_once, 2.0),
        contest.Candidate("other rows", echo, workload=workload),
        contest.Candidate("hfnb", echo),
    ]
    outcome = contest.contest(workload, candidates, rounds=2)
    assert outcome.same == [6, 4, None, 6]
    assert [len(each.seconds) for each in outcome.timings] == [2, 6, 6, 6]
    assert outcome.rows == 6
    assert outcome.ratio("hfnb") == 1.0
    rows = outcome.table().splitlines()[4:]
    assert [row.split(" | ")[0] for row in rows] == ["| slow", "| wrong once", "| hfnb"]
    assert "other rows" in contest.overhead("these", outcome, 2)


def test_what_hfnb_takes_beyond_its_engine_is_told_round_by_round(
    bench: Callable[[str], Any],
) -> None:
    contest, measure = bench("contest"), bench("measure")
    # A machine that is half as fast in the second round: the rounds say +10%, whichever is slow.
    timings = [
        measure.Timing("alone", (1.0, 2.0, 1.0, 1.0)),
        measure.Timing("hfnb", (1.1, 2.2, 1.1, 2.2)),
    ]
    outcome = contest.Outcome(None, [], timings, [], 0)
    said = contest.overhead("its engine", outcome, 3)
    assert "alone: 1.00 s (1-2)" in said
    assert "+65.0% by the medians, +10.0% by the median of 4 rounds" in said
    assert "(+10.0% to +120.0%; target: at most 3%)" in said


def test_the_steps_of_the_profile_compute_every_token_once(bench: Callable[[str], Any]) -> None:
    schedule = bench("openvino_profile").schedule
    lengths, new, most = [50, 20, 7, 1], 6, 32
    steps = list(schedule(lengths, new, most))
    assert all(sum(piece.new for piece in step) <= most for step in steps)
    for row, length in enumerate(lengths):
        pieces = [piece for step in steps for piece in step if piece.row == row]
        assert sum(piece.new for piece in pieces) == length + new - 1
        assert sum(piece.chooses for piece in pieces) == new
        assert [piece.past for piece in pieces] == [
            sum(piece.new for piece in pieces[:at]) for at in range(len(pieces))
        ]


def test_texts_are_cut_before_the_first_stop_string(bench: Callable[[str], Any]) -> None:
    cut = bench("rivals").cut
    assert cut(["abcab", "xyz", "bca"], ["b", "ca"]) == ["a", "xyz", ""]
