"""Large random Llamas in bfloat16 on a GPU, beside LangChain and transformers' generate_batch.

``make bench-cuda`` makes the models (1 B and 7 B: 16 GB on disk) and runs everything.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from contest import Candidate, Outcome, contest
from models import random_llama
from peers import load
from rivals import hfnb_run
from rivals_torch import generate_batch, langchain
from workloads import DUPLICATES, LONG, MIXED, PREFIX, STOPPED, UNIQUE, Workload

TITLE = "PyTorch on a GPU"
SIZES = ("1b", "7b")
WORKLOADS = (MIXED, STOPPED, PREFIX, DUPLICATES, LONG)
SETTINGS: Sequence[Mapping[str, Any]] = (
    {"max_memory_percent": 0.4},
    {"max_memory_percent": 0.4, "max_batch_tokens": 8192},
    {"max_memory_percent": 0.4, "use_cuda_graph": True},
)
"""Of `generate_batch`. It takes a share of the memory that is free; hfnb needs some beside it."""
ROUNDS = 3
SMALL_BATCHES = (1, 4)
_TARGETS = (
    "Targets: 10 times LangChain's defaults, generate_batch at its best, and 70% of the floor."
)


def run() -> str:
    """Return the results as Markdown.

    Raises:
        SystemExit: There is no GPU.
    """
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("This benchmark needs an NVIDIA GPU, and PyTorch built for CUDA.")
    name = torch.cuda.get_device_name(0)
    return "\n".join([f"{name}. {_TARGETS}", "", *measured("cuda", SIZES, WORKLOADS, SETTINGS)])


def measured(
    device: str,
    sizes: Sequence[str],
    workloads: Sequence[Workload],
    settings: Sequence[Mapping[str, Any]],
    *,
    rounds: int = ROUNDS,
    copied_bytes: int = 2**31,
) -> list[str]:
    """Return a part for each model, as lines of Markdown.

    Args:
        device: ``"cuda"``; or ``"cpu"``, to rehearse.
        sizes: Of `models.random_llama`.
        workloads: Which rows.
        settings: Of ``generate_batch``; its best counts.
        rounds: How often each runs.
        copied_bytes: The size of what is copied to measure the memory.
    """
    rate = copy_rate(device, copied_bytes)
    lines = [f"Memory copies at {rate / 1e9:,.0f} GB/s, reading and writing.", ""]
    for size in sizes:
        folder = random_llama(size, "bfloat16", device)
        lines += [f"### {size.upper()} parameters, bfloat16", ""]
        for workload in workloads:
            outcome = contend(_on(workload, folder, size), device, settings, rounds)
            lines += [outcome.table(), ""]
            _free()
        lines += [*decoding(_on(MIXED, folder, size), device, rate), ""]
        _free()
    return lines


def contend(
    workload: Workload, device: str, settings: Sequence[Mapping[str, Any]], rounds: int
) -> Outcome:
    """Time LangChain, generate_batch with each of its settings that runs, and hfnb."""
    few = workload.prompts(99)[:2]
    peers = [
        Candidate(
            "langchain-huggingface, its defaults (batch 4)",
            langchain(workload, device=-1 if device == "cpu" else 0),
            10.0,
        )
    ]
    for each in settings:
        named = ", ".join(f"{key}={value}" for key, value in each.items())
        try:
            rival = generate_batch(workload, "bfloat16", device, **each)
            rival(few)
        except Exception as error:  # a setting that this machine can't take is no rival
            print(f"  generate_batch ({named}): {type(error).__name__}: {error}", flush=True)
            continue
        peers.append(Candidate(f"transformers generate_batch ({named})", rival, 1.0))
    llm = load(workload, dtype="bfloat16", device=device)
    mine = Candidate("hfnb", hfnb_run(llm, workload))
    if workload.title == DUPLICATES.title:
        less = dataclasses.replace(UNIQUE, model=workload.model, model_title=workload.model_title)
        peers.append(Candidate("hfnb, the different rows alone", hfnb_run(llm, less), None, less))
    return contest(workload, [*peers, mine], rounds)


def decoding(workload: Workload, device: str, rate: float) -> list[str]:
    """Return how near to the memory's rate a step for few rows is, as lines of Markdown.

    A step reads all weights once. Its time is what more tokens take, divided by how many these are.
    """
    llm = load(workload, dtype="bfloat16", device=device)
    floor = llm.engine.info.weight_bytes / rate
    lines = [
        "| rows | a step, ms | the weights at the rate of a copy, ms | share of it |",
        "| --- | --- | --- | --- |",
    ]
    for rows in SMALL_BATCHES:
        seconds = step_seconds(llm, workload, rows)
        lines.append(
            f"| {rows} | {seconds * 1e3:.2f} | {floor * 1e3:.2f} | **{floor / seconds:.0%}** |"
        )
    return lines


def step_seconds(llm: Any, workload: Workload, rows: int, fewer: int = 16, more: int = 80) -> float:
    """Return the time of a decoding step of so many rows: the median of five."""
    prompts = sorted(workload.prompts(7), key=len)[:rows]

    def took(new_tokens: int) -> float:
        run = hfnb_run(llm, dataclasses.replace(workload, new_tokens=new_tokens))
        began = time.perf_counter()
        run(prompts)
        return time.perf_counter() - began

    took(fewer)  # warm up
    steps = [(took(more) - took(fewer)) / (more - fewer) for _ in range(5)]
    return statistics.median(steps)


def copy_rate(device: str, size: int) -> float:
    """Return how many bytes a second the memory reads and writes in a copy: the best of ten."""
    import torch

    source = torch.empty(size, dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    best = float("inf")
    for _ in range(10):
        began = time.perf_counter()
        target.copy_(source)
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - began)
    return 2 * size / best


def _on(workload: Workload, folder: Path, size: str) -> Workload:
    title = f"a random Llama of {size.upper()} parameters"
    return dataclasses.replace(workload, model=lambda: folder, model_title=title)


def _free() -> None:
    """Give back the memory of models that are no longer used."""
    import torch

    gc.collect()
    with contextlib.suppress(RuntimeError):
        torch.cuda.empty_cache()
