"""64 rows that begin with the same long prefix, such as few-shot examples: PyTorch on a CPU."""

from __future__ import annotations

import dataclasses
from typing import Any

from contest import Candidate, contest, overhead
from peers import GENERATE_BATCH, MINE, SORTED, load, torch_peers
from rivals import Rival, hfnb_run
from rivals_torch import loaded
from workloads import PREFIX, PREFIX_TOKENS

TITLE = "PyTorch on a CPU: 64 rows with a long prefix in common, answers of 32 tokens"
ROUNDS = 1
_UNSHARED = "hfnb, the prefix computed in every row"
_BY_HAND = "loop by hand: DynamicCache of the prefix, repeated"


def run() -> str:
    """Return the results as Markdown."""
    return table(32)


def table(new_tokens: int) -> str:
    """Return the results with answers of so many tokens as Markdown."""
    workload = dataclasses.replace(PREFIX, new_tokens=new_tokens)
    llm, unshared = load(workload, dtype="float32"), load(workload, dtype="float32")
    unshared.engine._scheduler._batch.shares_prefixes = False
    said: list[str] = []
    names = [SORTED, GENERATE_BATCH]
    *peers, alone, _ = torch_peers(workload, names, {GENERATE_BATCH: 1.0}, dtype="float32")
    candidates = [
        *peers,
        Candidate(_UNSHARED, hfnb_run(unshared, workload), 3.0),
        Candidate(_BY_HAND, by_hand(*loaded(workload, "float32"), new_tokens), 0.97),
        alone,
        Candidate(MINE, hfnb_run(llm, workload, said)),
    ]
    outcome = contest(workload, candidates, ROUNDS)
    return "\n".join(
        [
            outcome.table(),
            "",
            f"Computing the prefix once makes hfnb **{outcome.ratio(_UNSHARED):.2f} times** as "
            "fast (target: 3).",
            "",
            "```text",
            said[0].replace(str(workload.model()), "llama-100m"),
            "```",
            "",
            overhead("its engine", outcome, 3),
        ]
    )


def by_hand(model: Any, tokenizer: Any, new_tokens: int) -> Rival:
    """Return a loop that one would write: the prefix once, then all rows in one batch."""
    import torch
    from transformers import DynamicCache

    def call(rows: list[str]) -> list[str]:
        ids = [tokenizer(row)["input_ids"] for row in rows]
        prefix = torch.tensor([ids[0][:PREFIX_TOKENS]])
        suffixes = [row[PREFIX_TOKENS:] for row in ids]
        longest = max(map(len, suffixes))
        pad = tokenizer.pad_token_id
        batch = torch.tensor([[pad] * (longest - len(each)) + each for each in suffixes])
        own = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in suffixes])
        mask = torch.cat([torch.ones(len(rows), PREFIX_TOKENS, dtype=torch.long), own], dim=1)
        positions = (PREFIX_TOKENS + own.cumsum(-1) - 1).clamp(min=0)
        cache = DynamicCache()
        with torch.inference_mode():
            model(input_ids=prefix, past_key_values=cache, logits_to_keep=1)
            cache.batch_repeat_interleave(len(rows))
            new = []
            for _ in range(new_tokens):
                out = model(
                    input_ids=batch,
                    attention_mask=mask,
                    position_ids=positions,
                    past_key_values=cache,
                    logits_to_keep=1,
                )
                batch = out.logits[:, -1:].argmax(-1)
                new.append(batch)
                mask = torch.cat([mask, torch.ones_like(batch)], dim=1)
                positions = positions[:, -1:] + 1
        texts: list[str] = tokenizer.batch_decode(torch.cat(new, dim=1), skip_special_tokens=True)
        return texts

    return call
