"""What is needed to repeat a run, as JSON can hold it: no data, but all that led to it."""

from __future__ import annotations

import datetime
import functools
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import psutil

from hfnb import hardware
from hfnb.frame.identity import plain
from hfnb.frame.running import Running
from hfnb.frame.stats import RunStats

_PACKAGES = (
    *("hfnb", "torch", "transformers", "tokenizers", "accelerate", "langchain-core", "pandas"),
    *("numpy", "pyarrow", "openvino", "openvino-genai", "optimum-intel", "nncf", "xgrammar", "ray"),
)


def manifest_of(
    run: Running, stats: RunStats, history: tuple[dict[str, Any], ...]
) -> dict[str, Any]:
    """Return everything that a run's result came from.

    Args:
        run: The run.
        stats: Its figures.
        history: What was run again, and how.
    """
    job = run.job
    return {
        "began": datetime.datetime.fromtimestamp(run.began, datetime.UTC).isoformat(
            timespec="seconds"
        ),
        "model": {
            "name": stats.model,
            "task": stats.task,
            "fingerprint": run.fingerprint,
            "engine": stats.engine,
            "backend": stats.backend,
            "device": stats.device,
            "dtype": stats.dtype,
            "note": stats.note,
            "path": stats.path,
        },
        "prompt": {
            "template": job.source.shown,
            "columns": list(job.source.columns),
            "chat": stats.chat,
            "chat_template_options": plain(dict(job.template_options)),
            "system": job.system,
            "nulls": job.nulls,
            "too_long": job.too_long,
        },
        "options": {name: plain(value) for name, value in run.options.items()},
        "into": job.into,
        "schema": None if job.structure is None else plain(job.structure.about()),
        "batch_size": job.batch_size,
        "rows": {
            name: getattr(stats, name)
            for name in ("rows", "ok", "failed", "skipped", "cancelled", "from_journal")
        },
        "wall_s": round(stats.wall_s, 3),
        "retried": [plain(each) for each in history],
        "versions": dict(_versions()),
        "hardware": dict(_hardware()),
    }


@functools.cache
def _versions() -> tuple[tuple[str, str], ...]:
    found = [("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)


@functools.cache
def _hardware() -> tuple[tuple[str, Any], ...]:
    torch = sys.modules.get("torch")
    accelerator = ""
    if torch is not None and torch.accelerator.is_available():
        kind = torch.accelerator.current_accelerator()
        accelerator = f"{torch.accelerator.device_count()} x {kind}"
    return (
        ("system", platform.platform()),
        ("processor", hardware.processor_name()),
        ("cores", os.cpu_count()),
        ("memory_bytes", psutil.virtual_memory().total),
        ("accelerator", accelerator),
    )
