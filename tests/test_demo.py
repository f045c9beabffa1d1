"""``python -m hfnb.demo`` prints the table and the figures, with nothing but the package."""

import os
import subprocess
import sys


def test_the_demo_prints_questions_answers_latency_and_figures(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hfnb.demo", "20"],
        capture_output=True,
        text=True,
        check=True,
        cwd=str(tmp_path),
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    lines = done.stdout.splitlines()
    first = next(line for line in lines if "number 72" in line)
    assert "soixante-douze" in first
    assert first.rstrip().endswith("s")  # a latency in ms or s
    for label in ("rows", "time", "latency", "memory", "tokens", "ran"):
        assert any(line.startswith(f"{label} ") for line in lines), label
    assert "20 ok" in done.stdout
    assert "Loading weights" not in done.stderr
