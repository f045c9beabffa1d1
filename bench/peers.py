"""Who takes part in a contest: on an engine, everything that a user would pick instead of hfnb."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import rivals_openvino
import rivals_torch
from contest import Candidate
from rivals import engine_alone, hfnb_run
from workloads import Workload

LANGCHAIN = "langchain-huggingface, its defaults (float32, batch 4)"
LANGCHAIN_32 = "langchain-huggingface, batch 32"
DATASET = "transformers pipeline over a dataset, batch 32"
SORTED = "transformers generate, sorted, batch 32"
GENERATE_BATCH = "transformers generate_batch"
CTRANSLATE2 = "CTranslate2 float32, batch 32"
LANGCHAIN_OPENVINO = "langchain-huggingface, `backend='openvino'`, its defaults"
OPTIMUM = "optimum-intel generate, sorted, batch 32"
GENAI = "openvino_genai directly (64, 512)"
CTRANSLATE2_INT8 = "CTranslate2 int8, batch 16"
ALONE = "hfnb's engine alone"
MINE = "hfnb"

CPU_BLOCKS = {"num_blocks": 128, "max_batch_tokens": 2048}
"""Of `generate_batch` on a CPU, where it has no GPU's memory to go by: all workloads fit."""


def load(workload: Workload, **options: Any) -> Any:
    """Load a workload's model with hfnb."""
    import hfnb

    task = "text2text-generation" if workload.seq2seq else "text-generation"
    return hfnb.load(workload.model(), task=task, progress=False, **options)


def torch_peers(
    workload: Workload,
    names: Sequence[str],
    targets: Mapping[str, float],
    *,
    dtype: str,
    less: Workload | None = None,
) -> list[Candidate]:
    """Return the named rivals on PyTorch, and hfnb as the last.

    Args:
        workload: What they run.
        names: Which of those above.
        targets: For some of these, how many times as fast hfnb is meant to be.
        dtype: What all compute in, but LangChain's defaults.
        less: Rows that hfnb runs for comparison, in place of all rows by its engine alone.
    """
    make = {
        LANGCHAIN: lambda: rivals_torch.langchain(workload),
        LANGCHAIN_32: lambda: rivals_torch.langchain(workload, 32, dtype),
        DATASET: lambda: rivals_torch.pipeline_over_dataset(workload, 32, dtype),
        SORTED: lambda: rivals_torch.generate_in_batches(workload, 32, dtype),
        GENERATE_BATCH: lambda: rivals_torch.generate_batch(workload, dtype, **CPU_BLOCKS),
        CTRANSLATE2: lambda: rivals_torch.ctranslate2(workload, 32, "float32"),
    }
    llm = load(workload, dtype=dtype)
    return [
        *(Candidate(each, make[each](), targets.get(each)) for each in names),
        *_mine(llm, workload, less),
    ]


def openvino_peers(
    workload: Workload,
    names: Sequence[str],
    targets: Mapping[str, float],
    *,
    less: Workload | None = None,
) -> list[Candidate]:
    """Return the named rivals on OpenVINO, and hfnb as the last; see `torch_peers`."""
    llm = load(workload, backend="openvino")
    export = llm.engine.model.folder
    make = {
        LANGCHAIN: lambda: rivals_torch.langchain(workload),
        LANGCHAIN_OPENVINO: lambda: rivals_openvino.langchain(workload, export),
        OPTIMUM: lambda: rivals_openvino.optimum(workload, export, 32, ordered=True),
        CTRANSLATE2_INT8: lambda: rivals_torch.ctranslate2(workload, 16, "int8"),
        GENAI: lambda: rivals_openvino.genai(workload, export, 64, 512),
    }
    return [
        *(Candidate(each, make[each](), targets.get(each)) for each in names),
        *_mine(llm, workload, less),
    ]


def _mine(llm: Any, workload: Workload, less: Workload | None) -> list[Candidate]:
    """Return what hfnb is compared with of its own, and hfnb.

    That has rows of its own, as many and as long: an engine keeps beginnings that it has computed.
    """
    prompts = (less or workload).prompts
    others = dataclasses.replace(less or workload, prompts=lambda seed: prompts(1000 + seed))
    beside = (
        Candidate(ALONE, engine_alone(llm, workload), workload=others)
        if less is None
        else Candidate(f"hfnb, {less.title}", hfnb_run(llm, less), workload=others)
    )
    return [beside, Candidate(MINE, hfnb_run(llm, workload))]
