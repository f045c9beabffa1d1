"""OpenVINO on a CPU: the same kind of prompts as in `mixed`, beside what users take instead.

All candidates run the same weights on the same rows, greedy, in turn, in one process. Each round
has new prompts, so that no cache of beginnings has them.
"""

from __future__ import annotations

import importlib.util

from measure import Timing, in_turn
from models import mixed_prompts, random_llama
from openvino_floor import Floor, floor_of
from openvino_rivals import (
    NEW_TOKENS,
    ctranslate2,
    equal,
    genai,
    hfnb_run,
    langchain,
    langchain_openvino,
    optimum,
)

TITLE = "OpenVINO on a CPU: 64 prompts of mixed length"
ROUNDS = 2
_MINE = "hfnb, `backend='openvino'`, no setting given"
_TARGETS = {
    "langchain-huggingface, its defaults (PyTorch, float32, batch 4)": "10x",
    "langchain-huggingface, `backend='openvino'`, its defaults": "3.5x",
    "optimum-intel `generate`, sorted, batch 32": "3x",
    "CTranslate2 int8, batch 16": "1x",
}


def run() -> str:
    """Return the results as Markdown."""
    import hfnb

    folder = random_llama("100m")
    llm = hfnb.load(folder, backend="openvino", max_new_tokens=NEW_TOKENS)
    int8 = hfnb.load(folder, backend="openvino", weight_format="int8", max_new_tokens=NEW_TOKENS)
    export = llm.engine.model.folder
    said: list[str] = []
    named = list(_TARGETS)
    candidates = [
        (named[0], langchain(folder)),
        (named[1], langchain_openvino(export)),
        (named[2], optimum(export, 32, ordered=True)),
        *([(named[3], ctranslate2(folder))] if importlib.util.find_spec("ctranslate2") else []),
        ("openvino_genai directly (64, 512)", genai(export, 64, 512)),
        (_MINE, hfnb_run(llm, said)),
        ("hfnb, `weight_format='int8'`", hfnb_run(int8, [])),
    ]
    for _, call in candidates:
        call(mixed_prompts(8, seed=99))  # warm up
    rounds = [mixed_prompts(seed=seed) for seed in range(ROUNDS)]
    texts: dict[str, list[list[str]]] = {}
    timings = in_turn(candidates, rounds, texts)
    lengths = [len(prompt.split()) for prompt in rounds[0]]
    floor = floor_of(folder, lengths, NEW_TOKENS)
    same = {each.name: equal(texts[_MINE], texts[each.name]) for each in timings}
    return "\n".join(
        [
            f"{len(lengths)} prompts of 8 to 256 tokens ({sum(lengths):,} in all), {NEW_TOKENS} "
            "new tokens each, greedy, a random Llama of 110 M parameters, new prompts of the same "
            f"lengths in each of {ROUNDS} rounds.",
            "",
            *_table(timings, same, ROUNDS * len(lengths)),
            "",
            _of_floor(floor, timings),
            "",
            "```text",
            said[0].replace(str(folder), "llama-100m"),
            "```",
        ]
    )


def _table(timings: list[Timing], same: dict[str, int], rows: int) -> list[str]:
    mine = next(each.median for each in timings if each.name == _MINE)
    lines = [
        f"| | median, s | fastest-slowest, s | hfnb is faster by | target | of {rows} rows, equal "
        "to hfnb's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each.name} | {each.median:.2f} | {each.spread} | {each.median / mine:.2f}x | "
        f"{_TARGETS.get(each.name, '')} | {same[each.name]} |"
        for each in timings
    ]
    return lines


def _of_floor(floor: Floor, timings: list[Timing]) -> str:
    """Say how far from the arithmetic floor the run is, and what the floor says of the targets."""
    by_name = {each.name: each.median for each in timings}
    lines = [
        f"Arithmetic floor: {floor.operations / 1e12:.2f} TFLOP (weights, logits of the new tokens "
        f"alone, attention) over {floor.rate / 1e9:.0f} GFLOP/s, which OpenVINO's own matrix "
        f"product reached in this run, in its default precision, at the layers' shapes: "
        f"{floor.seconds:.2f} s. hfnb is at **{floor.seconds / by_name[_MINE]:.0%}** of it "
        "(target: 75%).",
        "",
        "What the floor would give, hfnb's own time left out: "
        + "; ".join(
            f"{by_name[name] / floor.seconds:.2f}x the speed of {name} (target: {target})"
            for name, target in _TARGETS.items()
            if name in by_name
        )
        + ".",
    ]
    return "\n".join(lines)
