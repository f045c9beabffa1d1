"""The batches that hfnb chooses with PyTorch, beside a grid of others."""

from __future__ import annotations

from typing import Any

import tried
from measure import beside_the_best
from peers import load
from rivals import Rival, hfnb_run
from workloads import LONG, MIXED, SHORT, STOPPED, Workload

TITLE = "PyTorch on a CPU: the batches that hfnb chooses beside a grid"
ROWS = (16, 32, 128, 256)
PREFILL = (512, 8192)
CHOOSING, ROUNDS = 2, 4
_MINE = "hfnb's choice"


def run() -> str:
    """Return the results as Markdown."""
    return "\n".join(
        [
            "| rows | best of the grid | its median, s | fastest-slowest | hfnb's choice, s | "
            "fastest-slowest | ratio of the medians | of the fastest |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *(_line(workload) for workload in (MIXED, SHORT, STOPPED, LONG)),
            "",
            f"The grid is {', '.join(map(str, ROWS))} rows together, and prompts of "
            f"{' and '.join(f'{each:,}' for each in PREFILL)} tokens in a forward pass. Its best "
            f"is chosen by {CHOOSING} rounds, and runs in turn with hfnb's choice in {ROUNDS} "
            "more, each with new rows, in bfloat16, which is hfnb's own choice here. Target: at "
            "most 1.05.",
            "",
            tried.GRID,
        ]
    )


def _line(workload: Workload) -> str:
    print(f" {workload.title}", flush=True)
    llm = load(workload, dtype="bfloat16")
    grid = [
        *((f"{rows} rows", with_rows(llm, workload, rows)) for rows in ROWS),
        *((f"{tokens:,} tokens", with_prefill(llm, workload, tokens)) for tokens in PREFILL),
    ]
    candidate = (_MINE, hfnb_run(llm, workload))
    for _, call in (*grid, candidate):
        call(workload.prompts(99)[:8])  # warm up
    seeds = range(CHOOSING + ROUNDS)
    inputs = [workload.prompts(seed) for seed in seeds]
    best, mine = beside_the_best(grid, candidate, inputs[:CHOOSING], inputs[CHOOSING:])
    return (
        f"| {workload.title} | {best.name} | {best.median:.2f} | {best.spread} | "
        f"{mine.median:.2f} | {mine.spread} | **{mine.median / best.median:.3f}** | "
        f"{min(mine.seconds) / min(best.seconds):.3f} |"
    )


def with_rows(llm: Any, workload: Workload, rows: int) -> Rival:
    """Return `hfnb.run` with another number of rows together."""
    return hfnb_run(llm, workload, batch_size=rows)


def with_prefill(llm: Any, workload: Workload, tokens: int) -> Rival:
    """Return `hfnb.run` with another number of prompt tokens in one forward pass."""
    planner = llm.engine._scheduler._batch._planner
    run = hfnb_run(llm, workload)

    def call(prompts: list[str]) -> list[str]:
        usual, planner._most = planner._most, tokens
        try:
            return run(prompts)
        finally:
            planner._most = usual

    return call
