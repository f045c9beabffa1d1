"""64 prompts of mixed length, 32 new tokens each, greedy: hfnb beside what users take instead.

All candidates run the same weights in the same process, in turn.
"""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
from measure import alternate
from models import mixed_prompts, random_llama

TITLE = "PyTorch on a CPU: 64 prompts of mixed length"
NEW_TOKENS = 32
_NOTE = """\
The weights are random, so that the two likeliest tokens are often nearly equal. In float32 the
candidates write the same texts; in bfloat16 the rounding, which differs with a batch's shape, tips
some of them over, between the peers as well.
"""
REPEATS = 3


def run() -> str:
    """Return the results as Markdown."""
    parts = [_table(dtype) for dtype in ("float32", "bfloat16")]
    return "\n".join([*parts, _NOTE])


def _table(dtype: str) -> str:
    import torch
    from langchain_huggingface import HuggingFacePipeline as Peer
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import hfnb

    folder = str(random_llama("100m"))
    prompts = mixed_prompts()
    frame = pd.DataFrame({"prompt": prompts})
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    tokens = sum(len(tokenizer(prompt)["input_ids"]) for prompt in prompts)
    llm = hfnb.load(folder, dtype=dtype)
    outputs: dict[str, list[str]] = {}

    def langchain(batch_size: int) -> Callable[[], None]:
        peer = Peer.from_model_id(
            folder,
            "text-generation",
            device=-1,
            batch_size=batch_size,
            model_kwargs={"dtype": dtype},
            pipeline_kwargs={
                "max_new_tokens": NEW_TOKENS,
                "do_sample": False,
                "return_full_text": False,
            },
        )

        def call() -> None:
            outputs[f"langchain {batch_size}"] = peer.batch(prompts)

        return call

    def generate_sorted() -> None:
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        texts = [""] * len(prompts)
        for begin in range(0, len(order), 32):
            chosen = order[begin : begin + 32]
            batch = tokenizer([prompts[i] for i in chosen], return_tensors="pt", padding=True)
            batch.pop("token_type_ids", None)
            with torch.inference_mode():
                out = model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False)
            new = tokenizer.batch_decode(out[:, batch["input_ids"].shape[1] :])
            for i, text in zip(chosen, new, strict=True):
                texts[i] = text
        outputs["sorted"] = texts

    def ours() -> None:
        result = hfnb.run(
            frame, "{prompt}", llm, max_new_tokens=NEW_TOKENS, progress=False, journal=False
        )
        outputs["hfnb"] = result.data["output"].tolist()
        outputs["stats"] = [str(result.stats).replace(folder, "llama-100m")]

    candidates = [
        ("langchain-huggingface, batch 4 (default)", langchain(4)),
        ("langchain-huggingface, batch 32", langchain(32)),
        ("transformers generate, sorted, batch 32", generate_sorted),
        ("hfnb", ours),
    ]
    for _, call in candidates[3:]:
        call()  # warm up
    print(f" {dtype}", flush=True)
    timings = alternate(candidates, REPEATS)
    baseline, hfnb_time = timings[0].median, timings[3].median
    agree = [
        sum(a.strip() == b.strip() for a, b in zip(outputs["hfnb"], outputs[name], strict=True))
        for name in ("langchain 4", "langchain 32", "sorted")
    ]
    lines = [
        f"### {dtype}",
        "",
        f"{len(prompts)} prompts of 8 to 256 tokens ({tokens:,} in all), {NEW_TOKENS} new tokens "
        "each, greedy, a random Llama of 110 M parameters (85 M without the embedding), "
        f"{torch.get_num_threads()} threads, medians of {REPEATS} runs in turn.",
        "",
        "| | median, s | fastest-slowest, s | speed-up | rows equal to hfnb's |",
        "| --- | --- | --- | --- | --- |",
    ]
    for timing, same in zip(timings, [*agree, len(prompts)], strict=True):
        lines.append(
            f"| {timing.name} | {timing.median:.2f} | {timing.spread} | "
            f"{baseline / timing.median:.2f}x | {same} |"
        )
    lines += [
        "",
        f"hfnb is **{baseline / hfnb_time:.2f} times** as fast as langchain-huggingface's default "
        "at the same dtype (target: 1.8).",
        "",
        "```text",
        outputs["stats"][0],
        "```",
        "",
    ]
    return "\n".join(lines)
