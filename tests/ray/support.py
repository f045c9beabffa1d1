"""What the tests of runs on a cluster share."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd

import hfnb

ON = {"engine": "ray", "concurrency": 2, "num_cpus": 1, "progress": False}
"""How the tests run on the cluster: two workers of a core each."""
SAME = ["status", "finish_reason", "error", "prompt_tokens", "new_tokens", "truncated_tokens"]
"""The columns of a result's lines that do not depend on where and when it ran."""


class Noting:
    """An answer for the echo engine that notes in a file what it was asked, and in which process.

    The file is how this process sees what was computed in others, however they ended.
    """

    def __init__(self, file: Path) -> None:
        self.file = str(file)

    def __call__(self, prompt: str) -> str:
        with Path(self.file).open("a") as file:
            file.write(f"{os.getpid()} {prompt}\n")
        return prompt.upper()

    def lines(self) -> list[tuple[int, str]]:
        """Return the processes and prompts so far."""
        path = Path(self.file)
        written = path.read_text().splitlines() if path.exists() else []
        return [(int(each.split(" ", 1)[0]), each.split(" ", 1)[1]) for each in written]

    def asked(self) -> Counter[str]:
        """Return how often each prompt was computed."""
        return Counter(prompt for _, prompt in self.lines())

    def pids(self) -> list[int]:
        """Return the processes that computed something."""
        return sorted({pid for pid, _ in self.lines()})


def mixed(rows: int) -> pd.DataFrame:
    """Return a frame of all kinds: numbers with nulls, text, an index of its own."""
    return pd.DataFrame(
        {
            "i": pd.array([None if at % 7 == 3 else at for at in range(rows)], dtype="Int64"),
            "text": [f"word{at} " * (1 + at % 5) for at in range(rows)],
            "cost": [at / 3 for at in range(rows)],
        },
        index=[f"row {at}" for at in range(rows)],
    )


def fails(prompt: str) -> bool:
    """Whether the echo engine is to fail on a prompt."""
    return "word5 " in prompt


def assert_same(there: Any, here: Any) -> None:
    """Check that two results over one frame say the same of each row."""
    pd.testing.assert_frame_equal(there.data, here.data)
    pd.testing.assert_frame_equal(there.rows[SAME], here.rows[SAME])


def echo(**options: Any) -> hfnb.EchoEngine:
    """Return an echo engine that answers in capitals."""
    options.setdefault("answer", str.upper)
    return hfnb.EchoEngine(**options)
