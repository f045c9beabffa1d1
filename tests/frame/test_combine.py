"""What several runs measured, as if they were one."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hfnb
from hfnb.frame.combine import _RULES, Latencies, combine, over
from tests.frame.support import echo

COUNTS = ("rows", "ok", "failed", "skipped", "cancelled", "tokens_in", "tokens_out", "forwards")


def figures(**changes: object) -> hfnb.RunStats:
    stats = echo(pd.DataFrame({"x": ["a b", None]}), "{x}", journal=False).stats
    return dataclasses.replace(stats, **changes)  # type: ignore[arg-type]


def test_every_figure_has_a_rule() -> None:
    assert set(_RULES) == {field.name for field in dataclasses.fields(hfnb.RunStats)}


def test_counts_and_times_add_up_and_peaks_are_the_highest() -> None:
    first = figures(wall_s=1.0, peak_rss_bytes=5, batch_rows=3, rows_per_s=10.0, chat=True)
    second = figures(wall_s=3.0, peak_rss_bytes=4, batch_rows=8, rows_per_s=2.0, path="paged")
    both = combine([first, second])
    for name in COUNTS:
        assert getattr(both, name) == getattr(first, name) + getattr(second, name)
    assert (both.wall_s, both.peak_rss_bytes, both.batch_rows) == (4.0, 5, 8)
    assert both.rows_per_s == pytest.approx(16 / 4)
    assert (both.chat, both.path, both.memory) == (True, "paged", ())
    assert (both.latency_p50_s, both.peak_device_bytes) == (None, None)
    assert over(both, 8.0).rows_per_s == pytest.approx(16 / 8)


def test_the_split_of_a_run_does_not_change_its_sum() -> None:
    runs = [figures(wall_s=float(n), tokens_in=n, padding=0.1 * n) for n in range(1, 5)]
    whole = combine(runs).as_dict()
    split = combine([combine(runs[:2]), combine(runs[2:])]).as_dict()
    for name, value in whole.items():
        assert split[name] == (pytest.approx(value) if isinstance(value, float) else value), name


def test_padding_is_weighted_by_what_was_computed() -> None:
    half, none = figures(tokens_in=50, padding=0.5), figures(tokens_in=100, padding=0.0)
    assert combine([half, none]).padding == pytest.approx(50 / 200)
    assert combine([figures(tokens_in=0, padding=0.0)]).padding == 0.0


@given(st.lists(st.floats(1e-6, 1e4), min_size=1, max_size=300), st.sampled_from([50, 95]))
def test_percentiles_are_within_a_percent_of_the_row_that_has_them(
    seconds: list[float], percent: int
) -> None:
    latencies = Latencies()
    for each in np.array_split(np.array([*seconds, np.nan]), 3):
        latencies.add(each)
    exact = np.percentile(seconds, percent, method="lower")
    assert latencies.percentile(percent) == pytest.approx(exact, rel=0.01)


def test_latencies_of_no_rows_have_no_percentile() -> None:
    latencies = Latencies()
    latencies.add(np.array([np.nan]))
    assert latencies.percentile(50) is None
