"""An encoder-decoder with OpenVINO, beside optimum-intel's own ``generate``."""

from __future__ import annotations

from measure import in_turn
from models import mixed_prompts, random_t5
from openvino_rivals import NEW_TOKENS, equal, hfnb_run, optimum

TITLE = "OpenVINO on a CPU: an encoder-decoder"
ROUNDS = 3
_PEER = "optimum-intel `generate`, the frame's order, batch 4"
_MINE = "hfnb, no setting given"


def run() -> str:
    """Return the results as Markdown."""
    import hfnb

    folder = random_t5()
    llm = hfnb.load(
        folder, task="text2text-generation", backend="openvino", max_new_tokens=NEW_TOKENS
    )
    said: list[str] = []
    export = hfnb.export(folder, task="text2text-generation", progress=None)
    candidates = [
        (_PEER, optimum(export, 4, ordered=False, seq2seq=True)),
        (_MINE, hfnb_run(llm, said)),
    ]
    for _, call in candidates:
        call(mixed_prompts(8, seed=99))  # warm up
    texts: dict[str, list[list[str]]] = {}
    rounds = [mixed_prompts(seed=seed) for seed in range(ROUNDS)]
    peer, mine = in_turn(candidates, rounds, texts)
    same = equal(texts[_PEER], texts[_MINE])
    return "\n".join(
        [
            f"64 inputs of 8 to 256 tokens, {NEW_TOKENS} new tokens each, greedy, a random T5 in "
            f"the shape of t5-small, {ROUNDS} rounds in turn, each with new inputs.",
            "",
            "| | median, s | fastest-slowest, s |",
            "| --- | --- | --- |",
            *(f"| {each.name} | {each.median:.2f} | {each.spread} |" for each in (peer, mine)),
            "",
            f"hfnb is **{peer.median / mine.median:.2f} times** as fast (target: 1.5); "
            f"{same} of {ROUNDS * 64} rows are equal.",
            "",
            "```text",
            said[0].replace(str(folder), "t5-small"),
            "```",
        ]
    )
