"""An encoder-decoder with OpenVINO, beside optimum-intel's own ``generate``."""

from __future__ import annotations

from contest import Candidate, contest
from peers import load
from rivals import hfnb_run
from rivals_openvino import optimum
from workloads import TRANSLATION

TITLE = "OpenVINO on a CPU: an encoder-decoder"
ROUNDS = 3
_PEER = "optimum-intel `generate`, the frame's order, batch 4"


def run() -> str:
    """Return the results as Markdown."""
    import hfnb

    folder = TRANSLATION.model()
    llm = load(TRANSLATION, backend="openvino")
    export = hfnb.export(folder, task="text2text-generation", progress=None)
    said: list[str] = []
    candidates = [
        Candidate(_PEER, optimum(TRANSLATION, export, 4, ordered=False), 1.5),
        Candidate("hfnb, no setting given", hfnb_run(llm, TRANSLATION, said)),
    ]
    outcome = contest(TRANSLATION, candidates, ROUNDS)
    return "\n".join(
        [
            outcome.table(),
            "",
            f"hfnb is **{outcome.ratio(_PEER):.2f} times** as fast (target: 1.5).",
            "",
            "```text",
            said[0].replace(str(folder), "t5-small"),
            "```",
        ]
    )
