"""What LangChain's interface costs: chains beside `hfnb.run`, streams beside a bare ``generate``.

All candidates of a table run the same weights in the same process, in turn.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from measure import Timing, alternate
from models import mixed_prompts, random_llama

TITLE = "LangChain's interface on a CPU: chains and streams"
NEW_TOKENS = 32
NUMBERS = 2000
BATCH_REPEATS = 3
NUMBERS_REPEATS = 5
STREAM_REPEATS = 25
STREAMED_TOKENS = 4
MOST_BATCH = 1.03
MOST_FIRST = 1.05


def run() -> str:
    """Return the results as Markdown."""
    return "\n".join([*_batches(), *_streams()])


def _batches() -> list[str]:
    import hfnb

    prompts = mixed_prompts()
    mixed = hfnb.load(str(random_llama("100m")), dtype="float32", max_new_tokens=NEW_TOKENS)
    numbers = hfnb.load("hfnb/numbers-fr", max_new_tokens=NEW_TOKENS)
    frames = [
        (f"{len(prompts)} rows of 8 to 256 tokens, {NEW_TOKENS} new, a random Llama of 110 M, "
         "float32", mixed, "{prompt}", pd.DataFrame({"prompt": prompts}), BATCH_REPEATS),
        (f"{NUMBERS:,} short rows, `hfnb/numbers-fr`", numbers, "What is the number {n} in french?",
         pd.DataFrame({"n": range(NUMBERS)}), NUMBERS_REPEATS),
    ]  # fmt: skip
    lines = [
        "### `(PromptTemplate | llm).batch(rows)` beside `hfnb.run`",
        "",
        "| | hfnb.run, s | fastest-slowest | chain.batch, s | fastest-slowest | ratio | same |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for name, llm, template, frame, repeats in frames:
        print(f" {name}", flush=True)
        by_run, by_chain, same = _batch(llm, template, frame, repeats)
        lines.append(
            f"| {name} | {by_run.median:.3f} | {by_run.spread} | {by_chain.median:.3f} | "
            f"{by_chain.spread} | **{by_chain.median / by_run.median:.3f}** | "
            f"{same} of {len(frame)} |"
        )
    return [*lines, "", f"Medians of {BATCH_REPEATS} and of {NUMBERS_REPEATS} runs in turn. "
            f"Target: at most {MOST_BATCH}.", "", _of_langchain(), ""]  # fmt: skip


def _of_langchain() -> str:
    """Say what a row costs in a chain without a model."""
    import hfnb

    llm = hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine(), batch_size="auto")
    frame = pd.DataFrame({"n": range(NUMBERS)})
    by_run, by_chain, _ = _batch(llm, "What is the number {n} in french?", frame, 5)
    cost = (by_chain.median - by_run.median) / NUMBERS * 1e6
    return (
        f"With an engine that answers at once, a row of the chain costs {cost:.0f} us more than "
        "one of `hfnb.run`: runs, callbacks and thread pools of LangChain's own, of which hfnb's "
        "class has about a fifth. That is far below 3 % of a row of a model with 100 million "
        "parameters on this machine, and shows beside one with a single million."
    )


def _batch(
    llm: Any, template: str, frame: pd.DataFrame, repeats: int
) -> tuple[Timing, Timing, int]:
    """Time a frame both ways; return the times, and how many rows have equal texts."""
    from langchain_core.prompts import PromptTemplate

    import hfnb

    chain = PromptTemplate.from_template(template) | llm
    rows = frame.to_dict("records")
    outputs: dict[str, list[str]] = {}

    def by_run() -> None:
        result = hfnb.run(frame, template, llm, progress=False, journal=False)
        outputs["run"] = result.data["output"].tolist()

    def by_chain() -> None:
        outputs["chain"] = chain.batch(rows)

    by_run()  # warm up
    by_chain()
    times = alternate([("hfnb.run", by_run), ("chain.batch", by_chain)], repeats)
    same = sum(a == b for a, b in zip(outputs["run"], outputs["chain"], strict=True))
    return times[0], times[1], same


def _streams() -> list[str]:
    lines = [
        "### Time to the first token: `llm.stream` beside `generate` with a `TextIteratorStreamer`",
        "",
        "| | generate, ms | fastest-slowest | llm.stream, ms | fastest-slowest | ratio |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for dtype in ("float32", "bfloat16"):
        bare, ours = _bare(dtype), _ours(dtype)
        for tokens in (16, 256):
            prompt = mixed_prompts(2, tokens, tokens)[0]
            print(f" first token, {dtype}, {tokens} prompt tokens", flush=True)
            by_generate, by_stream = _first_tokens(bare, ours, prompt)
            times = (
                f"{statistics.median(each) * 1e3:.1f} | {min(each) * 1e3:.1f}-{max(each) * 1e3:.1f}"
                for each in (by_generate, by_stream)
            )
            ratio = statistics.median(by_stream) / statistics.median(by_generate)
            lines.append(
                f"| {dtype}, {tokens} prompt tokens | {' | '.join(times)} | **{ratio:.3f}** |"
            )
    return [
        *lines,
        "",
        f"Medians of {STREAM_REPEATS} runs in turn, a random Llama of 110 M parameters. The "
        "streamer shows a word only once the next one begins; here it shows each token at once, "
        f"so that both are timed to the same token. Target: at most {MOST_FIRST}.",
        "",
    ]


Stream = Callable[[str], Iterator[str]]


def _first_tokens(bare: Stream, ours: Stream, prompt: str) -> tuple[list[float], list[float]]:
    """Return the seconds to the first text of both, in turn, the first one changing."""
    taken: tuple[list[float], list[float]] = ([], [])
    for repeat in range(-2, STREAM_REPEATS):  # two to warm up
        order = (0, 1) if repeat % 2 == 0 else (1, 0)
        for which in order:
            began = time.perf_counter()
            pieces = (bare, ours)[which](prompt)
            next(piece for piece in pieces if piece)
            seconds = time.perf_counter() - began
            for _ in pieces:
                pass  # the rest is not timed, but it must not run beside the next candidate
            if repeat >= 0:
                taken[which].append(seconds)
    return taken


def _ours(dtype: str) -> Stream:
    import hfnb

    llm = hfnb.load(str(random_llama("100m")), dtype=dtype, max_new_tokens=STREAMED_TOKENS)
    return lambda prompt: iter(llm.stream(prompt))


def _bare(dtype: str) -> Stream:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer

    folder = str(random_llama("100m"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))

    class AtOnce(TextIteratorStreamer):
        """Shows each token as it comes."""

        def put(self, value: Any) -> None:
            if self.skip_prompt and self.next_tokens_are_prompt:
                self.next_tokens_are_prompt = False
                return
            self.text_queue.put(self.tokenizer.decode(value))

        def end(self) -> None:
            self.text_queue.put(self.stop_signal)

    def stream(prompt: str) -> Iterator[str]:
        inputs = tokenizer(prompt, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        streamer = AtOnce(tokenizer, skip_prompt=True)
        options = {**inputs, "streamer": streamer, "max_new_tokens": STREAMED_TOKENS}
        options |= {"do_sample": False}
        thread = threading.Thread(target=model.generate, kwargs=options)
        thread.start()
        yield from streamer
        thread.join()

    return stream
