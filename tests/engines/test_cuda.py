"""What needs a CUDA device. Skipped, with the reason, where there is none."""

import pandas as pd
import pytest

import hfnb

pytestmark = pytest.mark.cuda


def test_a_run_on_cuda_answers_and_measures_the_devices_memory() -> None:
    llm = hfnb.load("hfnb/numbers-fr", device="cuda:0", dtype="float32")
    frame = pd.DataFrame({"i": [72, 80, 99]})
    result = hfnb.run(frame, "What is the number {i} in french?", llm, progress=False)

    assert result.data["output"].tolist() == [
        "soixante-douze",
        "quatre-vingts",
        "quatre-vingt-dix-neuf",
    ]
    assert result.stats.device == "cuda:0"
    assert result.stats.peak_device_bytes is not None
    assert result.stats.peak_device_bytes >= 4 * llm.engine.info.parameters


def test_auto_takes_the_accelerator_and_bfloat16() -> None:
    llm = hfnb.load("hfnb/numbers-fr")
    assert llm.engine.info.device == "cuda:0"
    assert llm.engine.info.dtype == "bfloat16"


def test_batched_equals_single_on_cuda_in_float32() -> None:
    llm = hfnb.load("hfnb/numbers-fr", device=0, dtype="float32")
    prompts = [f"What is the number {i} in french?" for i in range(0, 10_000, 321)]
    assert llm.batch(prompts) == [llm.invoke(prompt) for prompt in prompts]
