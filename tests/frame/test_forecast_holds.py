"""A forecast is held against the run that follows it, on real models and a real clock."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hfnb
from tests.needs import require

ROWS = 2_500


def frame(seed: int) -> pd.DataFrame:
    """Return questions, most of them short, some after many others."""
    random = np.random.default_rng(seed)
    others = [f"What is the number {i} in french?\n" for i in range(100, 110)]
    return pd.DataFrame(
        {
            "before": ["".join(others[: int(k) - 1]) for k in random.geometric(0.5, ROWS)],
            "i": random.permutation(10_000)[:ROWS],
        }
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "backend"),
    [
        ("hfnb/numbers-fr", "pytorch"),
        ("hfnb/numbers-fr", "openvino"),
        ("hfnb/tiny-t5", "pytorch"),
    ],
)
def test_a_run_takes_what_was_forecast_within_a_factor_of_two(
    model: str, backend: str, tmp_path: Path
) -> None:
    """On a machine with other work a measurement may fail, so it has a second chance."""
    if backend == "openvino":
        require("openvino")
    llm = hfnb.load(model, backend=backend)
    tried = []
    for seed in range(2):
        df, prompt = frame(seed), "{before}What is the number {i} in french?"
        # Some questions are in both frames: each has a journal of its own.
        options: dict[str, Any] = {"journal": tmp_path / str(seed), "progress": False}
        forecast = hfnb.preview(df, prompt, llm, **options).forecast
        stats = hfnb.run(df, prompt, llm, **options).stats
        assert forecast is not None
        assert forecast.rows == stats.rows - stats.from_journal
        time = forecast.seconds.likely / stats.wall_s
        memory = forecast.memory.likely / stats.peak_rss_bytes
        tried.append((time, memory))
        if all(0.5 < each < 2 for each in tried[-1]):
            return
    pytest.fail(f"forecast / real, of time and memory: {tried}")
