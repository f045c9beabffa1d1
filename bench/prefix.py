"""64 rows that begin with the same long prefix, such as few-shot examples: PyTorch on a CPU.

All candidates run the same weights in the same process, in turn.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import pandas as pd
from measure import Timing, alternate
from models import VOCABULARY, random_llama

TITLE = "PyTorch on a CPU: 64 rows with a long prefix in common, answers of 32 tokens"
ROWS, PREFIX, LEAST, MOST = 64, 400, 8, 24
BATCH = 32
REPEATS = 2


def run() -> str:
    """Return the results as Markdown."""
    return table(32)


def prompts() -> list[str]:
    """Return the rows' prompts: one prefix, and a column of 8 to 24 words, 16 on average."""
    draw = random.Random(0)

    def words(count: int) -> str:
        return " ".join(f"w{draw.randrange(3, VOCABULARY)}" for _ in range(count))

    prefix = words(PREFIX)
    return [f"{prefix} {words(draw.randint(LEAST, MOST))}" for _ in range(ROWS)]


def table(new_tokens: int) -> str:
    """Return the results with answers of so many tokens as Markdown."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import hfnb

    folder = str(random_llama("100m"))
    rows = prompts()
    frame = pd.DataFrame({"prompt": rows})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    llm = hfnb.load(folder, dtype="float32")
    outputs: dict[str, list[str]] = {}

    def ours(name: str, *, shares: bool) -> Callable[[], None]:
        def call() -> None:
            llm.engine._scheduler._batch.shares_prefixes = shares
            result = hfnb.run(
                frame, "{prompt}", llm, max_new_tokens=new_tokens, progress=False, journal=False
            )
            outputs[name] = result.data["output"].tolist()
            outputs[f"{name} stats"] = [str(result.stats).replace(folder, "llama-100m")]

        return call

    def sorted_batches(name: str, generate: Callable[[list[str]], torch.Tensor]) -> Callable:
        def call() -> None:
            order = sorted(range(ROWS), key=lambda i: len(rows[i]))
            texts = [""] * ROWS
            for begin in range(0, ROWS, BATCH):
                chosen = order[begin : begin + BATCH]
                with torch.inference_mode():
                    new = generate([rows[i] for i in chosen])
                for i, text in zip(chosen, tokenizer.batch_decode(new), strict=True):
                    texts[i] = text
            outputs[name] = texts

        return call

    def plain(texts: list[str]) -> torch.Tensor:
        batch = tokenizer(texts, return_tensors="pt", padding=True, return_token_type_ids=False)
        out = model.generate(**batch, max_new_tokens=new_tokens, do_sample=False)
        return out[:, batch["input_ids"].shape[1] :]

    def by_hand() -> None:
        outputs["by hand"] = tokenizer.batch_decode(_by_hand(model, tokenizer, rows, new_tokens))

    candidates = [
        ("transformers generate, sorted, batch 32", sorted_batches("sorted", plain)),
        ("loop by hand: DynamicCache of the prefix, repeated", by_hand),
        ("hfnb, the prefix computed in every row", ours("unshared", shares=False)),
        ("hfnb", ours("hfnb", shares=True)),
    ]

    for _, call in candidates[1:2] + candidates[3:]:
        call()  # warm up
    timings = alternate(candidates, REPEATS)
    agree = [
        sum(a.strip() == b.strip() for a, b in zip(outputs["hfnb"], outputs[name], strict=True))
        for name in ("sorted", "by hand", "unshared", "hfnb")
    ]
    return _markdown(timings, agree, new_tokens, outputs["hfnb stats"][0], torch.get_num_threads())


def _by_hand(model, tokenizer, rows: list[str], new_tokens: int):
    """Return the new tokens by a loop that one would write: the prefix once, then one batch."""
    import torch
    from transformers import DynamicCache

    ids = [tokenizer(row)["input_ids"] for row in rows]
    prefix = torch.tensor([ids[0][:PREFIX]])
    suffixes = [row[PREFIX:] for row in ids]
    longest = max(map(len, suffixes))
    pad = tokenizer.pad_token_id
    batch = torch.tensor([[pad] * (longest - len(each)) + each for each in suffixes])
    own = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in suffixes])
    mask = torch.cat([torch.ones(len(rows), PREFIX, dtype=torch.long), own], dim=1)
    positions = (PREFIX + own.cumsum(-1) - 1).clamp(min=0)
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
    return torch.cat(new, dim=1)


def _markdown(
    timings: list[Timing], agree: list[int], new_tokens: int, stats: str, threads: int
) -> str:
    mine = timings[-1].median
    lines = [
        f"{ROWS} rows: {PREFIX} tokens that all of them begin with, then {LEAST} to {MOST} of "
        f"their own; {new_tokens} new tokens each, greedy, a random Llama of 110 M parameters in "
        f"float32, {threads} threads, means of {REPEATS} runs in turn.",
        "",
        "| | mean, s | fastest-slowest, s | hfnb is faster by | rows equal to hfnb's |",
        "| --- | --- | --- | --- | --- |",
    ]
    for timing, same in zip(timings, agree, strict=True):
        lines.append(
            f"| {timing.name} | {timing.median:.2f} | {timing.spread} | "
            f"{timing.median / mine:.2f}x | {same} |"
        )
    lines += [
        "",
        f"Computing the prefix once makes hfnb **{timings[2].median / mine:.2f} times** as fast "
        "(target: 3).",
        "",
        "```text",
        stats,
        "```",
        "",
    ]
    return "\n".join(lines)
