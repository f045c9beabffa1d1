"""OpenVINO on a CPU: the same 64 prompts as in `mixed`, beside what users take instead.

All candidates run the same weights on the same rows, greedy, in turn, in one process.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from measure import Timing, alternate
from models import mixed_prompts, random_llama

TITLE = "OpenVINO on a CPU: 64 prompts of mixed length"
NEW_TOKENS = 32
REPEATS = 3
GRID = [(32, 256), (32, 512), (64, 256), (64, 512), (64, 1024), (128, 512)]
"""max_num_seqs and max_num_batched_tokens of OpenVINO GenAI used directly."""


def run() -> str:
    """Return the results as Markdown."""
    import hfnb

    folder = random_llama("100m")
    prompts = mixed_prompts()
    frame = pd.DataFrame({"prompt": prompts})
    llm = hfnb.load(folder, backend="openvino", max_new_tokens=NEW_TOKENS)
    export = llm.engine.model.folder
    stats: list[str] = []

    def ours() -> None:
        result = hfnb.run(frame, "{prompt}", llm, progress=False, journal=False)
        assert result.stats.ok == len(prompts)
        stats[:] = [str(result.stats).replace(str(folder), "llama-100m")]

    best, pipeline = _best_of_grid(export, prompts)
    candidates: list[tuple[str, Callable[[], object]]] = [
        (
            "langchain-huggingface, its defaults (PyTorch fp32, batch 4)",
            _langchain(folder, prompts),
        ),
        ('langchain-huggingface, backend="openvino", its defaults', _langchain_ov(export, prompts)),
        ("optimum-intel generate, sorted, batch 32", _optimum(export, prompts)),
        *_ctranslate2(folder, prompts),
        (f"openvino_genai directly, best of a grid ({best[0]}, {best[1]})", pipeline),
        ("hfnb, backend='openvino', no setting given", ours),
    ]
    for _, call in candidates[1:]:
        call()  # warm up
    timings = alternate(candidates, REPEATS)
    return "\n".join([_table(timings), "", "```text", stats[0], "```"])


def _table(timings: list[Timing]) -> str:
    mine = timings[-1].median
    lines = [
        f"64 prompts of 8 to 256 tokens, {NEW_TOKENS} new tokens each, a random Llama of 110 M "
        f"parameters, medians of {REPEATS} runs in turn.",
        "",
        "| | median, s | fastest-slowest, s | hfnb is faster by |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {each.name} | {each.median:.2f} | {each.spread} | {each.median / mine:.2f}x |"
        for each in timings
    ]
    return "\n".join(lines)


def _langchain(folder: Path, prompts: list[str]) -> Callable[[], object]:
    from langchain_huggingface import HuggingFacePipeline as Peer

    peer = Peer.from_model_id(
        str(folder),
        "text-generation",
        device=-1,
        pipeline_kwargs={"max_new_tokens": NEW_TOKENS, "do_sample": False},
    )
    return lambda: peer.batch(prompts)


def _langchain_ov(export: Path, prompts: list[str]) -> Callable[[], object]:
    from langchain_huggingface import HuggingFacePipeline as Peer

    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        peer = Peer.from_model_id(
            str(export),
            "text-generation",
            backend="openvino",
            model_kwargs={"device": "CPU"},
            pipeline_kwargs={"max_new_tokens": NEW_TOKENS, "do_sample": False},
        )
    return lambda: peer.batch(prompts)


def _optimum(export: Path, prompts: list[str]) -> Callable[[], object]:
    from optimum.intel import OVModelForCausalLM
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(export, padding_side="left")
    model = OVModelForCausalLM.from_pretrained(export, device="CPU")
    ordered = sorted(prompts, key=lambda text: len(text.split()))

    def call() -> None:
        for begin in range(0, len(ordered), 32):
            batch = tokenizer(ordered[begin : begin + 32], return_tensors="pt", padding=True)
            batch.pop("token_type_ids", None)
            model.generate(**batch, max_new_tokens=NEW_TOKENS, do_sample=False)

    return call


def _ctranslate2(folder: Path, prompts: list[str]) -> list[tuple[str, Callable[[], object]]]:
    try:
        import ctranslate2
    except ImportError:
        return []
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    target = Path(tempfile.mkdtemp()) / "int8"
    ctranslate2.converters.TransformersConverter(str(folder)).convert(
        str(target), quantization="int8"
    )
    generator = ctranslate2.Generator(str(target), device="cpu", compute_type="int8")
    tokens = [tokenizer.convert_ids_to_tokens(tokenizer(text).input_ids) for text in prompts]

    def call() -> Any:
        return generator.generate_batch(
            tokens,
            max_batch_size=16,
            max_length=NEW_TOKENS,
            min_length=NEW_TOKENS,
            include_prompt_in_result=False,
        )

    return [("CTranslate2 int8, batch 16", call)]


def _best_of_grid(export: Path, prompts: list[str]) -> tuple[tuple[int, int], Callable[[], object]]:
    """Return OpenVINO GenAI with the best of a grid of settings, and those."""
    import time

    import numpy as np
    import openvino
    import openvino_genai
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(export)
    ids = [
        openvino.Tensor(np.array([tokenizer(text).input_ids], dtype=np.int64))
        for text in sorted(prompts, key=lambda text: -len(text.split()))
    ]

    def made(seqs: int, tokens: int) -> Callable[[], object]:
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.max_num_seqs, scheduler.max_num_batched_tokens = seqs, tokens
        scheduler.cache_size = 4
        scheduler.enable_prefix_caching = False
        pipeline = openvino_genai.ContinuousBatchingPipeline(str(export), scheduler, "CPU", {})
        config = openvino_genai.GenerationConfig()
        config.max_new_tokens, config.ignore_eos = NEW_TOKENS, True

        def call() -> None:
            handles = [pipeline.add_request(i, each, config) for i, each in enumerate(ids)]
            while pipeline.has_non_finished_requests():
                pipeline.step()
            for handle in handles:
                handle.read_all()

        return call

    taken = {}
    for each in GRID:
        call = made(*each)
        call()
        began = time.perf_counter()
        call()
        taken[each] = time.perf_counter() - began
        print(f"  grid {each}: {taken[each]:.2f} s", flush=True)
    best = min(taken, key=lambda each: taken[each])
    return best, made(*best)
