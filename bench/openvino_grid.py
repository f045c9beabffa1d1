"""hfnb with no setting given beside the best direct use of OpenVINO GenAI: three kinds of rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from measure import in_turn
from models import mixed_prompts, random_llama
from openvino_rivals import NEW_TOKENS, Rival, equal, genai, hfnb_run

TITLE = "OpenVINO on a CPU: hfnb beside OpenVINO GenAI used directly"
GRID = ((64, 256), (64, 512), (64, 1024))
"""max_num_seqs and max_num_batched_tokens.

GenAI heeds the first only where it computes whole prompts apart from answers, which it does not do
by itself: so there is one value of it.
"""
ROUNDS = 3
KINDS: dict[str, Callable[[int], list[str]]] = {
    "64 prompts of 8 to 256 tokens": lambda seed: mixed_prompts(64, 8, 256, seed),
    "8 prompts of 1,000 tokens": lambda seed: mixed_prompts(8, 1000, 1000, seed),
    "128 prompts of 8 to 16 tokens": lambda seed: mixed_prompts(128, 8, 16, seed),
}


def run() -> str:
    """Return the results as Markdown."""
    import hfnb

    folder = random_llama("100m")
    llm = hfnb.load(folder, backend="openvino", max_new_tokens=NEW_TOKENS)
    mine = hfnb_run(llm, [])
    rows = [
        f"| {name} | {' | '.join(_beside_the_best(llm.engine.model.folder, mine, prompts))} |"
        for name, prompts in KINDS.items()
    ]
    return "\n".join(
        [
            "| rows | best of the grid | directly, s | fastest-slowest | hfnb.run, s | "
            "fastest-slowest | ratio of the medians | of the fastest | equal |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            f"{NEW_TOKENS} new tokens a row, a random Llama of 110 M parameters; {ROUNDS} rounds "
            "in turn, each with new prompts. The grid is max_num_seqs and max_num_batched_tokens "
            f"of {', '.join(map(str, GRID))}, without prefix caching, and its best is that of "
            "the lowest median; for hfnb nothing is set, and a DataFrame goes in and comes out. "
            "Target: at most 1.03.",
        ]
    )


def _beside_the_best(export: Path, mine: Rival, prompts: Callable[[int], list[str]]) -> list[str]:
    """Time the grid and hfnb in turn, and return the cells of a line."""
    candidates = [*((str(each), genai(export, *each)) for each in GRID), ("hfnb", mine)]
    for _, call in candidates:
        call(prompts(99)[:4])  # warm up
    texts: dict[str, list[list[str]]] = {}
    *grid, ours = in_turn(candidates, [prompts(seed) for seed in range(ROUNDS)], texts)
    best = min(grid, key=lambda each: each.median)
    same = equal(texts[best.name], texts["hfnb"])
    return [
        best.name,
        *(cell for each in (best, ours) for cell in (f"{each.median:.2f}", each.spread)),
        f"**{ours.median / best.median:.3f}**",
        f"{min(ours.seconds) / min(best.seconds):.3f}",
        f"{same} of {ROUNDS * len(prompts(0))}",
    ]
