"""64 prompts of mixed length, 32 new tokens each, greedy: hfnb beside what users take instead.

All candidates run the same weights in the same process, in turn.
"""

from __future__ import annotations

from contest import Candidate, contest, overhead
from peers import DATASET, GENERATE_BATCH, LANGCHAIN_32, MINE, SORTED, load, torch_peers
from rivals import hfnb_run
from rivals_torch import langchain
from workloads import MIXED

TITLE = "PyTorch on a CPU: 64 prompts of mixed length"
ROUNDS = {"float32": 2, "bfloat16": 2}
_NOTE = """\
The weights are random, so that the two likeliest tokens are often nearly equal. In float32 the
candidates write the same texts; in bfloat16 the rounding, which differs with a batch's shape, tips
some of them over, between the peers as well. LangChain's defaults compute in float32, and hfnb's
own choice on this machine is bfloat16.
"""
_SAME_DTYPE = "langchain-huggingface, batch 4 (default)"


def run() -> str:
    """Return the results as Markdown."""
    found = [_contest(dtype) for dtype in ROUNDS]
    (_, defaults), (mine, _) = found[0][1:], found[1][1:]
    return "\n".join(
        [
            *(text for text, _, _ in found),
            f"hfnb without a setting, in bfloat16, is **{defaults / mine:.2f} times** as fast as "
            "langchain-huggingface's defaults, in float32 (target: 3).",
            "",
            _NOTE,
        ]
    )


def _contest(dtype: str) -> tuple[str, float, float]:
    """Return Markdown, and the medians of hfnb and of LangChain with its default batches."""
    said: list[str] = []
    names = [LANGCHAIN_32, DATASET, SORTED, GENERATE_BATCH]
    *peers, alone, _ = torch_peers(MIXED, names, {GENERATE_BATCH: 1.0}, dtype=dtype)
    candidates = [
        Candidate(_SAME_DTYPE, langchain(MIXED, 4, dtype), 1.8),
        *peers,
        alone,
        Candidate(MINE, hfnb_run(load(MIXED, dtype=dtype), MIXED, said)),
    ]
    outcome = contest(MIXED, candidates, ROUNDS[dtype])
    text = "\n".join(
        [
            f"### {dtype}",
            "",
            outcome.table(),
            "",
            f"hfnb is **{outcome.ratio(_SAME_DTYPE):.2f} times** as fast as "
            "langchain-huggingface's default at the same dtype (target: 1.8).",
            "",
            "```text",
            said[0].replace(str(MIXED.model()), "llama-100m"),
            "```",
            "",
            overhead("its engine", outcome, 3),
            "",
        ]
    )
    return text, outcome.mine, outcome.timings[0].median
