"""Rows that share a long beginning, with and without prefix caching."""

from __future__ import annotations

import random

from measure import in_turn
from models import VOCABULARY, random_llama
from openvino_rivals import NEW_TOKENS, equal, genai, hfnb_run

TITLE = "OpenVINO on a CPU: 64 rows that share a beginning of 400 tokens"
ROWS, SHARED, OWN = 64, 400, 8
ROUNDS = 2
_WITHOUT = "openvino_genai directly, without prefix caching"
_MINE = "hfnb, no setting given"


def run() -> str:
    """Return the results as Markdown."""
    import hfnb

    folder = random_llama("100m")
    llm = hfnb.load(folder, backend="openvino", max_new_tokens=NEW_TOKENS)
    export = llm.engine.model.folder
    candidates = [
        (_WITHOUT, genai(export, 64, 512)),
        (
            "the same with prefix caching, all rows at once",
            genai(export, 64, 512, prefix_caching=True),
        ),
        (_MINE, hfnb_run(llm, [])),
    ]
    for _, call in candidates:
        call(_prompts(99)[:4])  # warm up
    rounds = [_prompts(seed) for seed in range(ROUNDS)]
    texts: dict[str, list[list[str]]] = {}
    timings = in_turn(candidates, rounds, texts)
    reference = timings[0].median
    lines = [
        f"{ROWS} rows, {SHARED} tokens in common and {OWN} of their own, {NEW_TOKENS} new tokens "
        f"each, a random Llama of 110 M parameters, {ROUNDS} rounds in turn, each with a new "
        "beginning.",
        "",
        "| | median, s | fastest-slowest, s | faster than without | "
        f"of {ROUNDS * ROWS} rows, equal |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| {each.name} | {each.median:.2f} | {each.spread} | "
            f"{reference / each.median:.2f}x | {equal(texts[each.name], texts[_WITHOUT])} |"
            for each in timings
        ),
        "",
        f"hfnb: **{reference / timings[-1].median:.1f} times** as fast as without prefix caching "
        "(target: 5).",
    ]
    return "\n".join(lines)


def _prompts(seed: int) -> list[str]:
    draw = random.Random(seed)

    def words(count: int) -> str:
        return " ".join(f"w{draw.randrange(3, VOCABULARY)}" for _ in range(count))

    shared = words(SHARED)
    return [f"{shared} {words(OWN)}" for _ in range(ROWS)]
