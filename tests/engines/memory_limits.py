"""Real limits of memory: a model whose keys and values are large, and a process that has little.

The process is this file, run as a program; see `run_limited`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_models
from tests.control_groups import NoControlGroupError, control_group

CONTEXT = 4096
PROMPTS = [f"{row} " + "one two " * 300 for row in range(10)]
"""Some 1,200 tokens each; in float32, 79 MB of keys and values."""
NEW_TOKENS = 6


@dataclasses.dataclass(frozen=True)
class Limited:
    """What became of a process with little memory."""

    code: int
    """Its exit code; negative when a signal ended it."""
    texts: list[str | None]
    errors: list[str | None]
    work: dict[str, Any]


def build_large(folder: Path) -> None:
    """Write a Llama with few weights whose keys and values take 64 KB a token."""
    import torch
    import transformers

    tiny_models.build_tiny_model("llama", folder)
    config = transformers.AutoConfig.from_pretrained(folder)
    config.update({"num_hidden_layers": 4, "head_dim": 512, "max_position_embeddings": CONTEXT})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(tiny_models.SEED)
        model = transformers.LlamaForCausalLM(config).float().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0.0, 0.2)  # so that answers vary
        model.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    read = json.loads(settings.read_text())
    settings.write_text(json.dumps({**read, "model_max_length": CONTEXT}))


def run_limited(
    folder: Path, backend: str, limit: str, megabytes: int = 0, **options: Any
) -> Limited:
    """Answer `PROMPTS` in a process of its own that may take so much more once it has begun.

    Args:
        folder: The model.
        backend: ``"pytorch"`` or ``"openvino"``.
        limit: ``"RLIMIT_AS"``, ``"RLIMIT_DATA"``, ``"cgroup"``, or ``""`` for none.
        megabytes: What it may take beyond what it has before the model is loaded, with OpenVINO,
            whose store of keys and values is made then; otherwise, once it has answered a prompt.
        options: Generation options; ``unprotected=True`` lets it believe that memory is free.
    """
    with contextlib.ExitStack() as stack:
        if limit == "cgroup":
            try:
                limit = str(stack.enter_context(control_group(megabytes * 10**6)).folder)
            except NoControlGroupError as problem:
                pytest.skip(f"needs control groups: {problem}")
        job = {
            "folder": str(folder),
            "backend": backend,
            "limit": limit,
            "bytes": megabytes * 10**6,
            "unprotected": options.pop("unprotected", False),
            "options": {"max_new_tokens": NEW_TOKENS, "min_new_tokens": NEW_TOKENS, **options},
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.engines.memory_limits", json.dumps(job)],
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
    if done.returncode:
        print(done.stderr[-2000:])
        return Limited(done.returncode, [], [], {})
    return Limited(0, **json.loads(done.stdout.splitlines()[-1]))


def _main(job: dict[str, Any]) -> None:
    from hfnb import hardware
    from hfnb.engines import memory
    from hfnb.engines.base import Completion, Request, Work
    from hfnb.engines.registry import load_engine
    from hfnb.spec import GenerationSpec, ModelSpec

    if job["unprotected"]:
        plenty = hardware.Memory(16 << 30, 16 << 30)
        hardware.tightest_memory = lambda: plenty
        memory.MemoryBudget.__init__.__kwdefaults__["look"] = hardware.tightest_memory
        memory.MemoryBudget.is_short = lambda self: False  # type: ignore[method-assign]
    if job["backend"] == "pytorch":
        import torch

        from hfnb.engines import torch_plan

        torch_plan.tightest_memory = hardware.tightest_memory  # type: ignore[attr-defined]
        torch.set_num_threads(1)
        spec = ModelSpec(job["folder"], device="cpu", dtype="float32")
    else:
        spec = ModelSpec(job["folder"], backend="openvino", reproducible=True)
    options = GenerationSpec.of(**job["options"])
    if job["backend"] == "openvino":
        import openvino_genai  # noqa: F401

        _limit(job)
    engine = load_engine(spec)
    list(engine.generate([Request(0, "a")], options))  # libraries take memory once
    if job["backend"] == "pytorch":
        _limit(job)
    work = Work()
    texts: list[str | None] = [None] * len(PROMPTS)
    errors: list[str | None] = [None] * len(PROMPTS)
    requests = [Request(row, prompt) for row, prompt in enumerate(PROMPTS)]
    for done in engine.generate(requests, options, work=work):
        assert isinstance(done, Completion)
        texts[done.row] = done.text
        errors[done.row] = None if done.error is None else str(done.error)
    print(json.dumps({"texts": texts, "errors": errors, "work": dataclasses.asdict(work)}))


def _limit(job: dict[str, Any]) -> None:
    import psutil

    used = psutil.Process().memory_info()
    if job["limit"].startswith("RLIMIT"):
        import resource

        before = used.vms if job["limit"] == "RLIMIT_AS" else used.data
        most = before + job["bytes"]
        resource.setrlimit(getattr(resource, job["limit"]), (most, most))
    elif job["limit"]:
        # What it has taken before stays with the group that it comes from.
        (Path(job["limit"]) / "cgroup.procs").write_text(str(os.getpid()))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
