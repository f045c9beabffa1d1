"""Rows that share a long beginning, with and without prefix caching."""

from __future__ import annotations

from contest import Candidate, contest
from peers import load
from rivals import hfnb_run
from rivals_openvino import genai
from workloads import PREFIX_OPENVINO as ROWS

TITLE = "OpenVINO on a CPU: 64 rows that share a beginning of 400 tokens"
ROUNDS = 2
_WITHOUT = "openvino_genai directly, without prefix caching"


def run() -> str:
    """Return the results as Markdown."""
    llm = load(ROWS, backend="openvino")
    export = llm.engine.model.folder
    candidates = [
        Candidate(_WITHOUT, genai(ROWS, export, 64, 512), 5.0),
        Candidate(
            "the same with prefix caching, all rows at once",
            genai(ROWS, export, 64, 512, prefix_caching=True),
        ),
        Candidate("hfnb, no setting given", hfnb_run(llm, ROWS)),
    ]
    outcome = contest(ROWS, candidates, ROUNDS, warm_up=4)
    return "\n".join(
        [
            outcome.table(),
            "",
            f"hfnb: **{outcome.ratio(_WITHOUT):.1f} times** as fast as without prefix caching "
            "(target: 5).",
        ]
    )
