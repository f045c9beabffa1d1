"""hfnb with no setting given beside the best direct use of OpenVINO GenAI: three kinds of rows."""

from __future__ import annotations

from pathlib import Path

from measure import in_turn
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
ROUNDS = 3
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
            f"{MIXED.new_tokens} new tokens a row, {MIXED.model_title}; {ROUNDS} rounds in turn, "
            "each with new prompts. The grid is max_num_seqs and max_num_batched_tokens "
            f"of {', '.join(map(str, GRID))}, without prefix caching, and its best is that of "
            "the lowest median; for hfnb nothing is set, and a DataFrame goes in and comes out. "
            "Target: at most 1.03.",
        ]
    )


def _beside_the_best(export: Path, mine: Rival, workload: Workload) -> list[str]:
    """Time the grid and hfnb in turn, and return the cells of a line."""
    candidates = [*((str(each), genai(workload, export, *each)) for each in GRID), ("hfnb", mine)]
    for _, call in candidates:
        call(workload.prompts(99)[:4])  # warm up
    texts: dict[str, list[list[str]]] = {}
    *grid, ours = in_turn(candidates, [workload.prompts(seed) for seed in range(ROUNDS)], texts)
    best = min(grid, key=lambda each: each.median)
    same = equal(texts[best.name], texts["hfnb"])
    return [
        best.name,
        *(cell for each in (best, ours) for cell in (f"{each.median:.2f}", each.spread)),
        f"**{ours.median / best.median:.3f}**",
        f"{min(ours.seconds) / min(best.seconds):.3f}",
        f"{same} of {ROUNDS * len(workload.prompts(0))}",
    ]
