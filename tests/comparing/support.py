"""Candidates without weights, whose processes start in a second or two, and figures by hand."""

from __future__ import annotations

import os
import signal
from typing import Any

import pandas as pd

import hfnb
from hfnb.comparing.measuring import Measured

DF = pd.DataFrame(
    {"x": ["one", "two", "three"], "right": ["one", "TWO", "other"]}, index=["a", "b", "c"]
)


def loud(text: str) -> str:
    return text.upper()


def is_two(text: str) -> bool:
    return "two" in text


def stars(_text: str) -> str:
    return '{"stars": 3}'


def review(text: str) -> str:
    """Answer as a reviewer would, otherwise where the text has "two"."""
    if "two" in text:
        return '{"tone": "bad", "stars": 3, "why": "so is it", "tags": ["b"]}'
    return calm(text)


def calm(_text: str) -> str:
    return '{"tone": "good", "stars": 4, "why": "so it is", "tags": ["a", "b"]}'


def kill(_text: str) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    return ""


def breaks(_text: str) -> str:
    raise ZeroDivisionError("broken on purpose")


def plain(**options: Any) -> hfnb.EchoEngine:
    return hfnb.EchoEngine(**options)


def measured(outputs: list[str | None], rows_per_s: float = 1.0, **stats: Any) -> Measured:
    """Return figures as a candidate's process gives them."""
    known = {
        "model": "m",
        "backend": "pytorch",
        "device": "cpu",
        "dtype": "float32",
        "note": "",
        "ok": len(outputs),
        "failed": 0,
        "wall_s": 1.0,
        "rows_per_s": rows_per_s,
        "tokens_per_s": 1.0,
        "latency_p50_s": 0.1,
        "latency_p95_s": 0.2,
    }
    return Measured(
        outputs=outputs,
        rows=pd.DataFrame(
            {"latency_s": [0.1 * (at + 1) for at in range(len(outputs))], "status": "ok"}
        ),
        stats=known | stats,
        manifest={
            "hardware": {"processor": "a CPU", "cores": 2, "system": "Linux"},
            "versions": {"python": "3.11"},
        },
        load_s=1.0,
        export_s=0.0,
        ttft_s=0.01,
        peak_rss_bytes=500_000_000,
        peak_device_bytes=None,
        disk_bytes=4_000_000,
        memory=((0.0, 100_000_000), (1.0, 500_000_000)),
    )
