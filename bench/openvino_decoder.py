"""OpenVINO on a CPU: the same kind of prompts as in `mixed`, beside what users take instead.

Each round has new prompts, so that no cache of beginnings has them.
"""

from __future__ import annotations

import tried
from contest import Candidate, Outcome, contest, overhead
from openvino_floor import Floor, floor_of
from peers import (
    CTRANSLATE2_INT8,
    GENAI,
    LANGCHAIN,
    LANGCHAIN_OPENVINO,
    MINE,
    OPTIMUM,
    load,
    openvino_peers,
)
from rivals import hfnb_run
from workloads import MIXED

TITLE = "OpenVINO on a CPU: 64 prompts of mixed length"
ROUNDS = 2
_TARGETS = {LANGCHAIN: 10.0, LANGCHAIN_OPENVINO: 3.5, OPTIMUM: 3.0, CTRANSLATE2_INT8: 1.0}
_INT8 = "hfnb, `weight_format='int8'`"


def run() -> str:
    """Return the results as Markdown."""
    llm = load(MIXED, backend="openvino")
    int8 = load(MIXED, backend="openvino", weight_format="int8")
    said: list[str] = []
    *others, alone, _ = openvino_peers(MIXED, [*_TARGETS, GENAI], _TARGETS)
    candidates = [
        *others,
        Candidate(_INT8, hfnb_run(int8, MIXED)),
        alone,
        Candidate(MINE, hfnb_run(llm, MIXED, said)),
    ]
    outcome = contest(MIXED, candidates, ROUNDS)
    folder = MIXED.model()
    lengths = [len(prompt.split()) for prompt in MIXED.prompts(0)]
    floor = floor_of(folder, lengths, MIXED.new_tokens)
    return "\n".join(
        [
            outcome.table(),
            "",
            _of_floor(floor, outcome),
            "",
            "```text",
            said[0].replace(str(folder), "llama-100m"),
            "```",
            "",
            overhead("its engine", outcome, 3),
            "",
            tried.OPENVINO,
        ]
    )


def _of_floor(floor: Floor, outcome: Outcome) -> str:
    """Say how far from the arithmetic floor the run is, and what the floor says of the targets."""
    by_name = {each.name: each.median for each in outcome.timings}
    lines = [
        f"Arithmetic floor: {floor.operations / 1e12:.2f} TFLOP (weights, logits of the new tokens "
        f"alone, attention) over {floor.rate / 1e9:.0f} GFLOP/s, which OpenVINO's own matrix "
        f"product reached in this run, in its default precision, at the layers' shapes: "
        f"{floor.seconds:.2f} s. hfnb is at **{floor.seconds / by_name[MINE]:.0%}** of it "
        "(target: 75%).",
        "",
        "What the floor would give, hfnb's own time left out: "
        + "; ".join(
            f"{by_name[name] / floor.seconds:.2f}x the speed of {name} (target: {target:g}x)"
            for name, target in _TARGETS.items()
            if name in by_name
        )
        + ".",
    ]
    return "\n".join(lines)
