"""Time and memory: what the figures say is what happened."""

import sys
import threading
import types
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest

import hfnb
from hfnb import measure
from hfnb.measure import MemorySampler

MB = 1_000_000


def touched(megabytes: float) -> Any:
    """Return an array whose every page is in memory."""
    return np.ones(int(megabytes * MB) // 8)


def test_the_sampler_sees_an_allocation_of_known_size() -> None:
    with MemorySampler() as memory:
        start = memory.start_bytes
        block = touched(200)
        memory.sample()
        assert 199 * MB <= memory.samples[-1][1] - start <= 206 * MB
        del block
    assert 199 * MB <= memory.peak_bytes - start <= 206 * MB
    assert memory.samples[-1][1] - start < 20 * MB


def test_the_sampler_sees_an_allocation_made_between_its_own_samples() -> None:
    with MemorySampler(interval_s=0.005) as memory:
        block = touched(200)
        threading.Event().wait(0.1)
        del block
    assert 199 * MB <= memory.peak_bytes - memory.start_bytes <= 206 * MB


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts this peak")
def test_a_peak_too_short_for_the_samples_is_seen_where_the_kernel_counts_it() -> None:
    highest = measure._highest_rss()
    assert highest is not None
    above = highest - psutil.Process().memory_info().rss + 100 * MB
    with MemorySampler(interval_s=60) as memory:
        block = touched(above / MB)
        del block
    assert 99 * MB <= memory.peak_bytes - highest <= 106 * MB


def test_an_earlier_peak_is_not_taken_for_this_runs() -> None:
    block = touched(300)
    del block
    with MemorySampler() as memory:
        pass
    assert memory.peak_bytes - memory.start_bytes < 20 * MB


def test_the_sampler_keeps_few_samples_however_long_it_runs() -> None:
    memory = MemorySampler(interval_s=60)
    with memory:
        for _ in range(5000):
            memory.sample()
    assert len(memory.samples) <= 2000
    assert memory.interval_s == 60 * 2**4  # half of them went four times
    times = [at for at, _ in memory.samples]
    assert times == sorted(times)


def test_the_samplers_thread_ends_with_it() -> None:
    with pytest.raises(RuntimeError, match="inside"), MemorySampler():
        raise RuntimeError("inside")
    assert not [each for each in threading.enumerate() if each.name == "hfnb-memory"]


def test_a_run_reports_the_memory_that_it_took() -> None:
    blocks: list[Any] = []

    def answer(prompt: str) -> str:
        blocks.append(touched(50))
        return prompt

    result = hfnb.run(
        pd.DataFrame({"x": range(4)}), "{x}", hfnb.EchoEngine(answer=answer), progress=False
    )
    stats = result.stats
    assert 199 * MB <= stats.run_rss_bytes <= 206 * MB
    assert stats.peak_rss_bytes > stats.run_rss_bytes
    assert stats.peak_device_bytes is None
    assert max(rss for _, rss in stats.memory) <= stats.peak_rss_bytes
    blocks.clear()
    after = hfnb.run(pd.DataFrame({"x": range(4)}), "{x}", hfnb.EchoEngine(), progress=False)
    assert after.stats.run_rss_bytes < 20 * MB


def test_latency_is_a_rows_own_time() -> None:
    df = pd.DataFrame({"x": range(5)})
    result = hfnb.run(df, "{x}", hfnb.EchoEngine(delay_s=0.02), progress=False)
    stats, rows = result.stats, result.rows
    assert stats.latency_p50_s is not None
    assert stats.latency_p95_s is not None
    assert 0.02 <= stats.latency_p50_s <= stats.latency_p95_s < 1
    assert (rows["latency_s"] >= 0.02).all()
    assert stats.wall_s >= 0.1
    assert stats.wall_s >= rows["latency_s"].sum()
    assert stats.rows_per_s == pytest.approx(5 / stats.wall_s)
    assert stats.tokens_per_s == pytest.approx(5 / stats.wall_s)
    # Each waits for those before it.
    waited = rows["latency_s"].cumsum().shift(fill_value=0.0)
    assert (rows["queue_s"] >= waited - 1e-3).all()
    assert rows["queue_s"].is_monotonic_increasing


def test_a_row_that_runs_alone_does_not_share_its_latency() -> None:
    result = hfnb.run(pd.DataFrame({"x": [1, 2]}), "{x}", hfnb.EchoEngine(), progress=False)
    assert not result.stats.latency_shared
    assert result.rows["batch_rows"].tolist() == [1, 1]
    assert "together" not in str(result.stats)


def test_rows_that_run_together_say_that_their_latency_is_shared() -> None:
    class Together(hfnb.EchoEngine):
        def generate(self, *args: Any, work: Any, **options: Any) -> Any:
            answers = list(super().generate(*args, work=work, **options))
            work.batch_rows = len(answers)
            for answer in answers:
                yield answer._replace(batch_rows=len(answers))

    result = hfnb.run(pd.DataFrame({"x": range(3)}), "{x}", Together(), progress=False)
    assert result.stats.latency_shared
    assert result.rows["batch_rows"].tolist() == [3, 3, 3]
    assert "up to 3 rows together" in str(result.stats)


def test_failed_rows_do_not_count_in_the_latencies() -> None:
    df = pd.DataFrame({"x": ["a", "bad"]})
    engine = hfnb.EchoEngine(fail="bad".__eq__)
    result = hfnb.run(df, "{x}", engine, progress=False)
    assert result.stats.latency_p50_s == pytest.approx(result.rows["latency_s"].iloc[0])
    only = hfnb.run(df.iloc[1:], "{x}", engine, progress=False)
    assert only.stats.latency_p50_s is None
    assert "latency" not in str(only.stats)


def test_memory_of_an_accelerator_is_none_where_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(measure, "_accelerator", lambda: None)
    assert measure.device_memory() is None


def test_memory_of_an_accelerator_is_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    accelerator = types.SimpleNamespace(memory_allocated=lambda: 5)
    monkeypatch.setattr(measure, "_accelerator", lambda: accelerator)
    assert measure.device_memory() == 5
