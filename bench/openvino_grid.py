"""hfnb with no setting given beside the best direct use of OpenVINO GenAI: three kinds of rows."""

from __future__ import annotations

from pathlib import Path

from measure import beside_the_best
from models import mixed_prompts
from peers import load
from rivals import Rival, equal, hfnb_run
from rivals_openvino import genai
from workloads import LONG, MIXED, Workload

TITLE = "OpenVINO on a CPU: hfnb beside OpenVINO GenAI used directly"
GRID = ((64, 256), (64, 512), (64, 1024))
"""max_num_seqs and max_num_batched_tokens.

GenAI heeds the first only where it computes whole prompts apart from answers, which it does not do
by itself: so there is one value of it.
"""
CHOOSING, ROUNDS = 2, 4
WORKLOADS = (
    MIXED,
    LONG,
    Workload("128 prompts of 8 to 16 tokens", lambda seed: mixed_prompts(128, 8, 16, seed)),
)


def run() -> str:
    """Return the results as Markdown."""
    llm = load(MIXED, backend="openvino")
    export = llm.engine.model.folder
    rows = [
        f"| {each.title} | {' | '.join(_beside_the_best(export, hfnb_run(llm, each), each))} |"
        for each in WORKLOADS
    ]
    return "\n".join(
        [
            "| rows | best of the grid | directly, s | fastest-slowest | hfnb.run, s | "
            "fastest-slowest | ratio of the medians | of the fastest | equal |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"{MIXED.new_tokens} new tokens a row, {MIXED.model_title}. The grid is max_num_seqs "
            f"and max_num_batched_tokens of {', '.join(map(str, GRID))}, without prefix caching; "
            f"for hfnb nothing is set, and a DataFrame goes in and comes out. The best of the grid "
            f"is chosen by {CHOOSING} rounds, and runs in turn with hfnb in {ROUNDS} more, each "
            "with new prompts. "
            "Target: at most 1.03.",
        ]
    )


def _beside_the_best(export: Path, mine: Rival, workload: Workload) -> list[str]:
    """Time the grid and hfnb in turn, and return the cells of a line."""
    grid = [(str(each), genai(workload, export, *each)) for each in GRID]
    for _, call in (*grid, ("hfnb", mine)):
        call(workload.prompts(99)[:4])  # warm up
    texts: dict[str, list[list[str]]] = {}
    inputs = [workload.prompts(seed) for seed in range(CHOOSING + ROUNDS)]
    best, ours = beside_the_best(grid, ("hfnb", mine), inputs[:CHOOSING], inputs[CHOOSING:], texts)
    same = equal(texts[best.name], texts["hfnb"])
    return [
        best.name,
        *(cell for each in (best, ours) for cell in (f"{each.median:.2f}", each.spread)),
        f"**{ours.median / best.median:.3f}**",
        f"{min(ours.seconds) / min(best.seconds):.3f}",
        f"{same} of {ROUNDS * len(workload.prompts(0))}",
    ]
