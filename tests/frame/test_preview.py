"""What `hfnb.preview` shows, and what it leaves behind, on an engine without a model."""

import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hfnb
from hfnb.errors import OptionError, TemplateError
from tests.frame.test_result import SCRIPT, Tags


def preview(df: Any, prompt: str = "{x}", **options: Any) -> hfnb.Preview:
    engine = options.pop("engine", None) or hfnb.EchoEngine()
    return hfnb.preview(df, prompt, engine, progress=False, **options)


def words(count: int, longest: int = 30) -> list[str]:
    """Return texts of 1 to `longest` words, no two of them alike."""
    return [f"{at} " + "w " * (at % longest) for at in range(count)]


def test_the_shown_rows_are_really_run_and_spread_over_the_lengths() -> None:
    engine = hfnb.EchoEngine(answer=str.upper)
    df = pd.DataFrame({"x": words(300)}, index=range(1000, 1300))
    shown = preview(df, engine=engine, n=3, into="answer")
    lengths = shown.outputs.rows["prompt_tokens"].tolist()
    assert lengths == [6, 16, 26]
    assert shown.outputs.data["answer"].tolist() == [p.upper() for p in shown.prompts]
    assert set(shown.outputs.data.index) <= set(df.index)


def test_the_progress_of_a_preview_ends_with_all_that_it_ran() -> None:
    """It ended with that of the last few rows, and seconds left that never came."""
    seen: list[hfnb.Progress] = []
    df = pd.DataFrame({"x": words(300)})
    hfnb.preview(df, "{x}", hfnb.EchoEngine(delay_s=0.01), n=3, budget_s=1, progress=seen.append)
    last = seen[-1]
    assert last.done == last.total > 3
    assert "left" not in str(last)


def test_prompts_are_shown_as_the_model_gets_them() -> None:
    df = pd.DataFrame({"x": ["a"]})
    assert preview(df, "say {x}", chat=True, system="Be brief.").prompts == ("Be brief.\nsay a",)


def test_rows_are_counted_by_what_will_become_of_them() -> None:
    texts = [*words(100, longest=10), *["0 "] * 20, *[None] * 7, "", "long " * 60]
    engine = hfnb.EchoEngine(context_length=50)
    shown = preview(pd.DataFrame({"x": texts}), engine=engine)
    assert (shown.rows, shown.null, shown.duplicates) == (129, 7, 20)
    assert (shown.too_long, shown.unusable, shown.exact) == (1, 1, True)
    assert max(shown.lengths) == 60
    assert shown.forecast is not None
    assert shown.forecast.rows == 100
    text = repr(shown)
    for part in ("7 with a null", "1 too long", "20 with the values of another row"):
        assert part in text
    assert "too_long='truncate'" in text


def test_duplicates_are_paid_for_where_the_same_prompt_gets_other_answers() -> None:
    df = pd.DataFrame({"x": ["a", "a", "a", "b"]})
    once, each = preview(df, budget_s=0), preview(df, budget_s=0, temperature=1.0)
    assert once.forecast is not None
    assert each.forecast is not None
    assert (once.forecast.rows, each.forecast.rows) == (2, 4)
    assert any("seed" in note for note in each.notes)


def test_values_without_a_hash_are_compared_too() -> None:
    assert preview(pd.DataFrame({"x": [[1, 2], [1, 2], [3]]})).duplicates == 1


def test_what_was_computed_is_not_computed_again() -> None:
    engine = hfnb.EchoEngine(fingerprint="one")
    df = pd.DataFrame({"x": words(200)})
    first = preview(df, engine=engine)
    calls = engine.calls
    assert 3 < calls == first.in_journal < 200
    again = preview(df, engine=engine, budget_s=0)
    assert engine.calls == calls
    assert again.outputs.rows["source"].tolist() == ["journal"] * 3
    assert again.forecast is None
    assert "Raise budget_s" in again.notes[-1]
    result = hfnb.run(df, "{x}", engine, progress=False)
    assert engine.calls == 200
    assert result.stats.from_journal == calls


def test_a_preview_of_finished_rows_forecasts_next_to_nothing() -> None:
    engine = hfnb.EchoEngine(fingerprint="one", delay_s=0.001)
    df = pd.DataFrame({"x": words(50)})
    hfnb.run(df, "{x}", engine, progress=False)
    done = preview(df, engine=engine)
    assert engine.calls == 50
    assert done.forecast is not None
    assert (done.forecast.rows, done.in_journal) == (0, 50)
    assert done.forecast.seconds.likely < 0.05 * 50


def test_without_a_journal_nothing_is_kept(tmp_path: Path) -> None:
    engine = hfnb.EchoEngine(fingerprint="one")
    df = pd.DataFrame({"x": words(100)})
    file = tmp_path / "journal"
    shown = preview(df, engine=engine, journal=False)
    assert shown.in_journal == 0
    assert shown.forecast is not None
    assert shown.forecast.rows == 100
    preview(df, engine=engine, journal=file)
    assert file.exists()


def test_a_preview_is_no_run(capsys: pytest.CaptureFixture[str]) -> None:
    last = hfnb.last_result()
    df = pd.DataFrame({"x": words(20)})
    before = df.copy()
    preview(df)
    assert hfnb.last_result() is last
    pd.testing.assert_frame_equal(df, before)
    assert capsys.readouterr() == ("", "")


def test_a_row_that_fails_is_shown_whatever_on_error_says() -> None:
    engine = hfnb.EchoEngine(fail=lambda prompt: "bad" in prompt)
    shown = preview(pd.DataFrame({"x": ["bad", "good one"]}), engine=engine, on_error="raise")
    assert shown.outputs.rows["status"].tolist() == ["error", "ok"]
    assert "error: The echo engine was told to fail" in repr(shown)


def test_where_nothing_is_answered_there_is_no_forecast_and_it_says_why() -> None:
    broken = preview(pd.DataFrame({"x": ["a", "b"]}), engine=hfnb.EchoEngine(fail=bool))
    assert broken.forecast is None
    assert "None of the rows" in repr(broken)
    empty = preview(pd.DataFrame({"x": [None, None]}))
    assert empty.prompts == ()
    assert empty.forecast is not None
    assert empty.forecast.rows == 0


def test_an_empty_frame_loads_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hfnb.loading.load", lambda *_: pytest.fail("a model was loaded"))
    shown = hfnb.preview(pd.DataFrame({"x": []}), "{x}", "hfnb/numbers-fr", progress=False)
    assert (shown.rows, shown.prompts, len(shown.outputs)) == (0, (), 0)
    assert "0" in repr(shown)
    assert Tags(shown._repr_html_()).open == []


def test_answers_that_are_cut_off_are_pointed_out() -> None:
    df = pd.DataFrame({"x": words(50)})
    assert "cut off by max_new_tokens=2" in repr(preview(df, max_new_tokens=2))
    assert "cut off" not in repr(preview(df))


def test_a_run_that_may_not_fit_into_memory_is_pointed_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    df = pd.DataFrame({"x": words(1000)})
    assert "more memory" not in repr(preview(df))
    monkeypatch.setattr("hfnb.hardware.memory_free", lambda: 0)
    assert "use a smaller batch_size" in repr(preview(df))


def test_the_time_of_a_slow_engine_is_forecast() -> None:
    engine = hfnb.EchoEngine(delay_s=0.004)
    shown = preview(pd.DataFrame({"x": words(20_000)}), engine=engine, budget_s=1.0)
    assert shown.forecast is not None
    assert 80 < shown.forecast.seconds.likely < 160  # 20,000 rows of 4 ms, and what a wait adds
    assert engine.calls < 600


def test_a_large_frame_is_looked_at_by_a_sample() -> None:
    engine = hfnb.EchoEngine(context_length=25)
    df = pd.DataFrame({"x": words(100_000), "other": "o" * 1000})
    df.loc[::10, "x"] = None
    shown = preview(df, engine=engine, budget_s=0.2)
    assert not shown.exact
    assert shown.looked_at <= 2_000
    assert shown.null == 10_000
    assert shown.too_long == pytest.approx(100_000 * 6 / 30, rel=0.15)  # 25 to 30 words
    assert engine.calls < 2_000
    assert f"of {shown.looked_at:,} random rows" in repr(shown)


def test_rows_are_the_same_ones_each_time() -> None:
    df = pd.DataFrame({"x": words(5_000)})
    assert preview(df, budget_s=0).prompts == preview(df, budget_s=0).prompts


def test_a_budget_of_nothing_runs_the_shown_rows_alone() -> None:
    engine = hfnb.EchoEngine()
    preview(pd.DataFrame({"x": words(100)}), engine=engine, n=5, budget_s=0)
    assert engine.calls == 5


def test_a_probe_ends_when_its_time_is_up() -> None:
    engine = hfnb.EchoEngine(delay_s=0.05)
    began = time.perf_counter()
    preview(pd.DataFrame({"x": words(1000)}), engine=engine, n=1, budget_s=0.3)
    assert engine.calls < 20
    assert time.perf_counter() - began < 30


def test_text_of_data_and_model_is_escaped_everywhere() -> None:
    df = pd.DataFrame({"x": [SCRIPT, "bad <b>"]}, index=["<i>", "<u>"])
    engine = hfnb.EchoEngine(fail=lambda prompt: "bad" in prompt)
    shown = Tags(preview(df, engine=engine)._repr_html_())
    assert not {"script", "b", "i", "u"} & set(shown.seen)
    assert shown.text.count(SCRIPT) == 2
    assert "<i>" in shown.text


def test_escape_codes_do_not_reach_the_terminal() -> None:
    assert "\x1b" not in repr(preview(pd.DataFrame({"x": ["\x1b[31mred"]})))


def test_a_preview_has_text_and_html_for_a_notebook() -> None:
    shown = preview(pd.DataFrame({"x": ["a"]}))
    bundle = shown._repr_mimebundle_()
    assert bundle == {"text/plain": repr(shown), "text/html": shown._repr_html_()}
    assert "var(--jp-" in bundle["text/html"]


@pytest.mark.parametrize(
    ("prompt", "options", "error", "message"),
    [
        ("{y}", {}, TemplateError, "Its columns are"),
        ("{x}", {"n": 0}, OptionError, "1 or more; not 0"),
        ("{x}", {"n": True}, OptionError, "not True"),
        ("{x}", {"n": 2.0}, OptionError, "not 2.0"),
        ("{x}", {"budget_s": -1}, OptionError, "0 or more; not -1"),
        ("{x}", {"budget_s": np.inf}, OptionError, "not inf"),
        ("{x}", {"budget_s": "4"}, OptionError, "not '4'"),
        ("{x}", {"into": "x"}, TemplateError, "overwrite=True"),
        ("{x}", {"budgets": 1}, OptionError, "Did you mean 'budget_s'?"),
        ("{x}", {"max_new_token": 5}, OptionError, "Did you mean 'max_new_tokens'?"),
        ("{x}", {"nulls": "drop"}, OptionError, "'skip', 'empty', 'raise'"),
    ],
)
def test_a_wrong_argument_is_found_before_the_model_is_loaded(
    monkeypatch: pytest.MonkeyPatch,
    prompt: str,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr("hfnb.loading.load", lambda *_: pytest.fail("a model was loaded"))
    with pytest.raises(error, match=re.escape(message)):
        hfnb.preview(pd.DataFrame({"x": ["a"]}), prompt, "hfnb/numbers-fr", **options)


def test_a_preview_takes_every_argument_of_a_run() -> None:
    import inspect

    ran, shown = (inspect.signature(each).parameters for each in (hfnb.run, hfnb.preview))
    assert set(ran) - {"engine"} == set(shown) - {"n", "budget_s"}  # a preview is computed here
    assert {n: ran[n].default for n in shown if n in ran} == {
        n: p.default for n, p in shown.items() if n in ran
    }


# --- files --------------------------------------------------------------------------------------


def test_of_a_large_file_rows_from_all_over_it_stand_for_the_others(tmp_path: Path) -> None:
    rows = 40_000
    texts = [None if at % 4 == 0 else f"{at} " + "w " * (at // 4000) for at in range(rows)]
    frame = pd.DataFrame({"x": texts, "id": range(rows)})
    files = tmp_path / "in"
    files.mkdir()
    for name, part in (("a", frame[:15_000]), ("b", frame[15_000:])):
        part.to_parquet(files / f"{name}.parquet", row_group_size=7_000)
    engine = hfnb.EchoEngine(fingerprint="files")
    shown = preview(files, "<{x}>", engine=engine, n=4, out=tmp_path / "out", part_rows=500)
    assert (shown.rows, shown.null) == (rows, rows // 4)
    assert (shown.is_excerpt, shown.exact) == (True, False)
    assert (min(shown.lengths), max(shown.lengths)) == (2, 11)
    assert "40,000: about " in repr(shown)
    assert "about 10,000 with a null" in repr(shown)
    assert shown.forecast is not None
    assert shown.forecast.rows == pytest.approx(30_000, rel=0.1)
    for label, text in shown.outputs.data["output"].items():  # positions in all of the files
        assert text == f"<{texts[label]}>"
    assert not (tmp_path / "out").exists()

    before = engine.calls
    done = hfnb.run(files, "<{x}>", engine, out=tmp_path / "out", progress=False)
    assert done.stats.from_journal == before  # what the preview computed is not computed again
    assert engine.calls == rows * 3 // 4


def test_of_a_small_file_all_rows_are_read_up_to_the_limit(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pd.DataFrame({"x": words(3_000)}).to_parquet(file)
    assert preview(str(file), budget_s=0).rows == 3_000
    first = preview(file, budget_s=0, limit=50)
    assert (first.rows, first.looked_at, first.exact, first.is_excerpt) == (50, 50, True, False)
    assert preview(file, limit=0).rows == 0
    with pytest.raises(TemplateError, match="Did you mean 'x'"):
        preview(file, "{xx}")
    with pytest.raises(OptionError, match="limit is a number of rows"):
        preview(file, limit=-1)
    with pytest.raises(OptionError, match="no file or folder"):
        preview(tmp_path / "row.parquet")


def test_the_memory_forecast_of_a_file_does_not_grow_with_its_rows(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pd.DataFrame({"x": words(2_000_000)}).to_parquet(file)
    forecast = preview(file, budget_s=0).forecast
    assert forecast is not None
    assert forecast.rows > 1_900_000
    grows = forecast.memory.likely - forecast.waves[0].memory_bytes
    assert grows < 100_000_000


def test_what_can_be_read_only_once_is_refused_with_what_to_do() -> None:
    frames = iter([pd.DataFrame({"x": ["a"]})])
    with pytest.raises(OptionError, match="Give it one of the frames"):
        hfnb.preview(frames, "{x}", hfnb.EchoEngine(), progress=False)
    assert len(list(frames)) == 1
