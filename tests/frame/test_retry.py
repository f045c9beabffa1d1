"""Rows that failed, were not reached or were cut off are run again; the others stay."""

import gc
import threading
from typing import Any

import pandas as pd
import pandas.testing
import pytest

import hfnb
from hfnb.errors import ModelError, OptionError
from tests.frame.support import workers

DF = pd.DataFrame({"x": [f"word {x} and more" for x in range(40)]}, index=range(40, 0, -1))
DONE = ["status", "finish_reason", "new_tokens", "latency_s"]


def run(engine: Any, **options: Any) -> hfnb.RunResult:
    return hfnb.run(DF, "{x}", engine, progress=False, **options)


def test_only_what_failed_is_run_again_and_the_rest_is_kept() -> None:
    broken = {"word 3 and more", "word 30 and more"}
    engine = hfnb.EchoEngine(fail=lambda prompt: prompt in broken)
    first = run(engine)
    assert first.stats.failed == 2
    broken.clear()
    calls = engine.calls
    second = first.retry(progress=False)
    assert engine.calls == calls + 2
    assert second.stats.ok == 40
    assert second.data["output"].tolist() == DF["x"].tolist()
    kept = ~first.rows["status"].eq("error")
    pd.testing.assert_frame_equal(second.rows[kept][DONE], first.rows[kept][DONE])
    assert first.stats.failed == 2, "the first result stays as it was"
    assert hfnb.last_result() is second


def test_a_retry_that_fails_again_says_so() -> None:
    engine = hfnb.EchoEngine(fail=lambda prompt: "3" in prompt)
    first = run(engine)
    second = first.retry(progress=False)
    pd.testing.assert_series_equal(second.rows["status"], first.rows["status"])
    pd.testing.assert_series_equal(second.rows["error"], first.rows["error"])


def test_an_interrupted_run_is_continued() -> None:
    engine = hfnb.EchoEngine(delay_s=0.02)

    def stop(progress: hfnb.Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        hfnb.run(DF, "{x}", engine, progress=stop)
    partial = caught.value.result  # type: ignore[attr-defined]
    done, calls = partial.stats.ok, engine.calls
    assert 0 < done < 40
    whole = partial.retry(progress=False)
    assert whole.stats.ok == 40
    assert engine.calls == calls + 40 - done
    assert whole.data["output"].tolist() == DF["x"].tolist()
    assert whole.stats.rows_per_s == pytest.approx((40 - done) / whole.stats.wall_s)


def test_rows_that_were_cut_off_are_run_again_with_more_tokens() -> None:
    engine = hfnb.EchoEngine()
    first = run(engine, max_new_tokens=3)
    assert first.stats.cut_off == 40
    again = first.retry("truncated", max_new_tokens=64, progress=False)
    assert again.data["output"].tolist() == DF["x"].tolist()
    assert again.stats.cut_off == 0
    assert again.manifest["retried"] == [
        {
            "rows": 40,
            "which": "truncated",
            "options": {"max_new_tokens": 64},
            "model": "hfnb/echo",
        }
    ]
    calls = engine.calls
    assert again.retry("truncated", progress=False).stats.ok == 40
    assert engine.calls == calls


def test_chosen_rows_are_run_again() -> None:
    answers = {"n": 0}

    def answer(prompt: str) -> str:
        answers["n"] += 1
        return f"{prompt} #{answers['n']}"

    engine = hfnb.EchoEngine(answer=answer)
    first = run(engine)
    for which in ([3, -1], [at in (3, 39) for at in range(40)]):
        second = first.retry(which, progress=False)
        changed = second.data["output"].ne(first.data["output"])
        assert [at for at, each in enumerate(changed) if each] == [3, 39]


@pytest.mark.parametrize("which", ["faild", [40], ["a"], [-41]])
def test_a_wrong_choice_of_rows_is_refused(which: Any) -> None:
    first = run(hfnb.EchoEngine())
    with pytest.raises(OptionError, match="which"):
        first.retry(which, progress=False)


def test_a_wrong_option_is_refused_before_anything_runs() -> None:
    engine = hfnb.EchoEngine(fail=lambda _: True)
    first = run(engine)
    calls = engine.calls
    with pytest.raises(OptionError, match="max_new_tokens"):
        first.retry(max_new_tokns=3, progress=False)
    assert engine.calls == calls


def test_a_result_keeps_no_model_in_memory() -> None:
    """A result that held its model would keep gigabytes after ``del llm``."""
    engine = hfnb.EchoEngine(fail=lambda prompt: "3" in prompt)
    result = run(engine, too_long="truncate")
    del engine
    gc.collect()
    with pytest.raises(ModelError, match=r"not in memory any more.*llm=llm"):
        result.retry(progress=False)
    assert result.retry(llm=hfnb.EchoEngine(), progress=False).stats.ok == 40


def test_a_model_that_was_given_by_name_is_loaded_again() -> None:
    df = pd.DataFrame({"i": [7, 99]})
    first = hfnb.run(
        df, "What is the number {i} in french?", "hfnb/numbers-fr", max_new_tokens=2, progress=False
    )
    assert first.stats.cut_off == 1
    again = first.retry("truncated", max_new_tokens=32, progress=False)
    assert again.data["output"].tolist() == ["sept", "quatre-vingt-dix-neuf"]


def test_a_run_may_go_on_behind() -> None:
    engine = hfnb.EchoEngine(delay_s=0.01)
    result = run(engine, wait=False)
    assert result is hfnb.last_result()
    assert result.running
    with pytest.raises(OptionError, match="goes on"):
        result.retry()
    assert result.data["output"].notna().sum() <= 40
    assert result.wait() is result
    assert not result.running
    assert result.stats.ok == 40
    assert workers() == []


def test_a_run_that_goes_on_is_cancelled_from_elsewhere() -> None:
    result = run(hfnb.EchoEngine(delay_s=0.02), wait=False)
    while not result.progress().done:
        threading.Event().wait(0.005)
    result.cancel()
    assert 0 < result.wait().stats.ok < 40
    assert result.stats.cancelled == 40 - result.stats.ok
    assert workers() == []


def test_a_blocking_run_is_cancelled_through_the_last_result() -> None:
    def cancel(progress: hfnb.Progress) -> None:
        last = hfnb.last_result()
        assert last is not None
        if progress.done:  # a busy machine may draw before the first row
            last.cancel()

    result = hfnb.run(DF, "{x}", hfnb.EchoEngine(delay_s=0.02), progress=cancel)
    assert 0 < result.stats.ok < 40
    assert result.retry(progress=False, llm=hfnb.EchoEngine()).stats.ok == 40


def test_a_run_behind_that_fails_says_so_when_it_is_waited_for() -> None:
    engine = hfnb.EchoEngine(fail=lambda prompt: "20" in prompt)
    result = run(engine, on_error="raise", wait=False)
    while result.running:
        threading.Event().wait(0.01)
    with pytest.raises(hfnb.HfnbError) as caught:
        result.wait()
    assert caught.value.result is result  # type: ignore[attr-defined]
    assert result.stats.ok == 20
