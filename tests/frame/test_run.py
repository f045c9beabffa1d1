"""`hfnb.run`: what comes back, and that the frame stays as it was."""

import copy
import threading
from typing import Any

import numpy as np
import pandas as pd
import pandas.testing
import pytest

import hfnb
from hfnb.frame.store import RowStore
from hfnb.frame.template import Template
from tests.frame.support import Recorder, echo, said

INDEXES = [
    pd.RangeIndex(3),
    pd.RangeIndex(10, 4, -2, name="down"),
    pd.Index([5, 1, 3], name="unsorted"),
    pd.Index(["a", "a", "b"]),
    pd.Index([1.5, np.nan, np.nan]),
    pd.Index([None, "b", ("t", 1)], dtype=object),
    pd.MultiIndex.from_tuples([("a", 1), ("a", 1), ("b", 0)], names=["l", "n"]),
    pd.DatetimeIndex(["2024-03-01", "2024-01-01", "2024-01-01"], tz="UTC"),
    pd.PeriodIndex(["2024-01", "2024-02", "2024-01"], freq="M"),
    pd.CategoricalIndex(["x", "y", "x"]),
    pd.IntervalIndex.from_breaks([0, 1, 2, 3]),
]


def index_name(index: pd.Index) -> str:
    return type(index).__name__ + str(index.is_unique)


@pytest.mark.parametrize("index", INDEXES, ids=index_name)
def test_the_result_has_the_frames_index_length_and_order(index: pd.Index) -> None:
    df = pd.DataFrame({"x": ["c", "a", "b"], "n": [1, 2, 3]}, index=index)
    result = hfnb.run(df, "{x}", hfnb.EchoEngine(fail=lambda prompt: prompt == "a"), progress=False)
    pd.testing.assert_index_equal(result.data.index, index)
    pd.testing.assert_index_equal(result.rows.index, index)
    pd.testing.assert_frame_equal(result.data[["x", "n"]], df)
    assert result.data["output"].tolist() == ["c", pd.NA, "b"]
    assert result.rows["status"].tolist() == ["ok", "error", "ok"]
    pd.testing.assert_index_equal(result.errors.index, index[[1]])
    assert result.errors["x"].tolist() == ["a"]
    assert isinstance(repr(result) + result._repr_html_(), str)


def every_dtype() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "text": ["a", "b"],
            "object": pd.Series([["list"], {"k": 1}], dtype=object),
            "int": pd.array([1, None], dtype="Int64"),
            "float": [1.5, np.nan],
            "category": pd.Categorical(["u", "v"]),
            "time": pd.date_range("2024-01-01", periods=2, tz="UTC"),
            "string": pd.array(["s", None], dtype="string"),
            "sparse": pd.arrays.SparseArray([0, 1]),
            0: [True, False],
        },
        index=pd.Index([9, 9], name="label"),
    )


@pytest.mark.parametrize("options", [{}, {"into": "text", "overwrite": True}, {"limit": 1}])
def test_the_frame_is_left_as_it_was(options: dict[str, Any]) -> None:
    df = every_dtype()
    df.attrs = {"source": ["file"]}
    df.columns.name = "columns"
    before, attrs = df.copy(deep=True), copy.deepcopy(df.attrs)
    result = echo(df, "{text} {object} {category}", **options)
    data, rows = result.data, result.rows
    data.loc[:, "float"] = 0.0
    data["more"] = 1
    data.attrs["source"].append("changed")
    data.index.name = rows.index.name = "renamed"
    rows["status"] = "changed"
    repr(result)
    pd.testing.assert_frame_equal(df, before, check_flags=True)
    assert df.attrs == attrs
    assert df.index.name == "label"


def test_the_data_keeps_dtypes_attributes_and_names() -> None:
    df = every_dtype()
    df.attrs = {"source": "file"}
    df.columns.name = "columns"
    data = echo(df, "{text}").data
    assert data.dtypes.drop("output").tolist() == df.dtypes.tolist()
    assert data["output"].dtype == "string"
    assert data.columns.tolist() == [*df.columns, "output"]
    assert data.attrs.pop("hfnb")["into"] == "output"
    assert data.attrs == df.attrs == {"source": "file"}
    assert data.columns.name == "columns"


def test_changing_the_frame_later_does_not_change_the_result() -> None:
    """The data was made of the caller's frame when it was first looked at."""
    df = pd.DataFrame({"x": ["a", "b"], "n": [1, 2]}, index=["k", "l"])
    result = hfnb.run(df, "{x}", hfnb.EchoEngine(fail="b".__eq__), progress=False)
    df.loc["k", "x"] = "changed"
    df.pop("n")
    df.index = pd.Index(["changed", "too"])
    expected = pd.DataFrame({"x": ["a", "b"], "n": [1, 2]}, index=["k", "l"])
    pd.testing.assert_frame_equal(result.data[["x", "n"]], expected)
    assert result.rows.index.tolist() == ["k", "l"]
    assert result.errors["x"].tolist() == ["b"]


def test_changing_the_frame_during_a_run_does_not_change_its_prompts() -> None:
    df = pd.DataFrame({"x": ["a"] * 20_000})
    engine: Any = None

    def answer(prompt: str) -> str:
        if engine.calls == 1:
            df.loc[:, "x"] = "changed"
        return prompt

    engine = hfnb.EchoEngine(answer=answer)
    result = hfnb.run(df, "{x}", engine, progress=False)
    assert set(result.data["output"]) == {"a"}


def test_a_column_is_overwritten_in_its_place() -> None:
    df = pd.DataFrame({"a": ["x", "y"], "b": [1, 2], "c": [3, 4]})
    result = echo(df, "{a}{b}", into="b", overwrite=True)
    assert result.data.columns.tolist() == ["a", "b", "c"]
    assert result.data["b"].tolist() == ["x1", "y2"]
    assert df["b"].tolist() == [1, 2]


def test_a_prompts_own_column_can_be_overwritten_and_is_still_shown() -> None:
    """The table showed the output in place of the input too."""
    df = pd.DataFrame({"text": ["before"]})
    result = hfnb.run(
        df,
        "{text}",
        hfnb.EchoEngine(answer=lambda prompt: "after"),
        into="text",
        overwrite=True,
        progress=False,
    )
    assert result.data["text"].tolist() == ["after"]
    assert repr(result).splitlines()[1].split()[:3] == ["0", "before", "after"]


def test_columns_that_are_not_text_are_kept() -> None:
    columns = [0, 1.5, None, pd.Timestamp("2024-01-01"), "x"]
    df = pd.DataFrame([[1, 2, 3, 4, "a"]], columns=pd.Index(columns, dtype=object))
    result = hfnb.run(df, "{x}", hfnb.EchoEngine(fail=lambda p: True), progress=False)
    assert result.data.columns.tolist() == [*columns, "output"]
    assert result.errors.columns.tolist()[:5] == columns


def test_categorical_column_names_take_the_output_too() -> None:
    df = pd.DataFrame([["a", 1]], columns=pd.CategoricalIndex(["x", "y"]))
    assert echo(df, "{x}").data.columns.tolist() == ["x", "y", "output"]


def test_limit_runs_the_first_rows_only() -> None:
    df = pd.DataFrame({"x": list("abcd")}, index=[3, 2, 1, 0])
    engine = hfnb.EchoEngine()
    result = hfnb.run(df, "{x}", engine, limit=2, progress=False)
    assert result.data["output"].to_dict() == {3: "a", 2: "b"}
    assert engine.calls == 2
    assert echo(df, "{x}", limit=99).stats.rows == 4
    assert echo(df, "{x}", limit=np.int64(3)).stats.rows == 3
    assert echo(df, "{x}", limit=0).stats.rows == 0


@pytest.mark.parametrize(
    "df",
    [
        pd.DataFrame({"x": []}),
        pd.DataFrame({"x": pd.array([], dtype="string")}, index=pd.DatetimeIndex([])),
        pd.DataFrame({"x": [1, 2]}).iloc[:0],
    ],
)
@pytest.mark.parametrize("llm", [hfnb.EchoEngine(), "hfnb/numbers-fr"])
def test_an_empty_frame_gives_an_empty_result_and_loads_nothing(
    df: pd.DataFrame, llm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hfnb.loading.load", lambda *_: pytest.fail("a model was loaded"))
    result = hfnb.run(df, "{x}", llm, progress=False)
    full = echo(pd.DataFrame({"x": df["x"].astype(object).tolist() or ["a"]}), "{x}")
    assert len(result) == 0
    assert result.data.columns.tolist() == ["x", "output"]
    assert result.data["x"].dtype == df["x"].dtype
    assert result.data["output"].dtype == "string"
    pd.testing.assert_index_equal(result.data.index, df.index)
    assert result.rows.dtypes.equals(full.rows.dtypes)
    assert result.errors.columns.tolist() == full.errors.columns.tolist()
    assert result.stats.rows == result.stats.ok == 0
    assert result.stats.latency_p50_s is None
    assert "0: 0 ok" in repr(result)
    assert "<table" in result._repr_html_()


def test_rows_say_what_happened_to_each() -> None:
    df = pd.DataFrame({"x": ["one two three", "stop here", None, "bad", "ok"]})
    engine = hfnb.EchoEngine(fail=lambda prompt: "bad" in prompt)
    result = hfnb.run(df, "{x}", engine, max_new_tokens=2, stop=" here", progress=False)
    rows = result.rows
    assert rows.columns.tolist() == [
        "status",
        "finish_reason",
        "error",
        "prompt_tokens",
        "new_tokens",
        "queue_s",
        "latency_s",
        "batch_rows",
        "truncated_tokens",
        "source",
    ]
    assert rows["status"].tolist() == ["ok", "ok", "skipped", "error", "ok"]
    assert rows["finish_reason"].tolist()[:2] + rows["finish_reason"].tolist()[4:] == [
        "length",
        "stop",
        "eos",
    ]
    assert rows["finish_reason"].isna().tolist() == [False, False, True, True, False]
    assert rows["error"].isna().tolist() == [True, True, False, False, True]
    assert rows["prompt_tokens"].tolist() == [3, 2, pd.NA, 1, 1]
    assert rows["new_tokens"].tolist() == [2, 1, pd.NA, pd.NA, 1]
    assert rows["batch_rows"].tolist() == [1, 1, pd.NA, pd.NA, 1]
    assert rows["source"].tolist()[:2] == ["generated", "generated"]
    assert rows["source"].isna().tolist() == [False, False, True, True, False]
    assert rows["latency_s"].isna().tolist() == [False, False, True, True, False]
    assert rows["queue_s"].isna().tolist() == [False, False, True, True, False]
    assert result.data["output"].tolist() == ["one two", "stop", pd.NA, pd.NA, "ok"]
    stats = result.stats
    assert (stats.rows, stats.ok, stats.failed, stats.skipped, stats.cancelled) == (5, 3, 1, 1, 0)
    assert stats.cut_off == 1
    assert (stats.tokens_in, stats.tokens_out) == (6, 4)


def test_a_prompt_that_is_too_long_fails_alone() -> None:
    df = pd.DataFrame({"x": ["a b c", "a"]})
    result = hfnb.run(df, "{x}", hfnb.EchoEngine(context_length=2), progress=False)
    assert result.rows["status"].tolist() == ["error", "ok"]
    assert type(result.exception(0)).__name__ == "PromptTooLongError"
    assert result.exception(1) is None
    assert result.exception(-2) is result.exception(0)
    with pytest.raises(IndexError):
        result.exception(2)


def test_on_error_raise_raises_the_rows_error_with_the_partial_result() -> None:
    df = pd.DataFrame({"x": ["a", "bad", "b"]})
    engine = hfnb.EchoEngine(fail="bad".__eq__)
    with pytest.raises(hfnb.HfnbError, match="told to fail") as caught:
        hfnb.run(df, "{x}", engine, on_error="raise", progress=False)
    partial = caught.value.result
    assert partial.rows["status"].tolist() == ["ok", "error", "cancelled"]
    assert hfnb.last_result() is partial
    assert engine.calls == 2


def test_on_error_raise_raises_for_a_prompt_that_cannot_be_rendered_too() -> None:
    df = pd.DataFrame({"x": [1, "word", 2]})
    with pytest.raises(hfnb.HfnbError, match="can't format 'word'") as caught:
        echo(df, "{x:d}", on_error="raise")
    assert caught.value.result.rows["status"].tolist() == ["ok", "error", "cancelled"]


def test_an_engine_that_fails_as_a_whole_raises_with_the_partial_result() -> None:
    def answer(prompt: str) -> str:
        if prompt == "c":
            raise MemoryError("all gone")
        return prompt

    df = pd.DataFrame({"x": list("abcd")})
    with pytest.raises(MemoryError, match="all gone") as caught:
        hfnb.run(df, "{x}", hfnb.EchoEngine(answer=answer), progress=False)
    partial = caught.value.result  # type: ignore[attr-defined]
    assert partial.rows["status"].tolist() == ["ok", "ok", "cancelled", "cancelled"]
    assert partial.data["output"].tolist() == ["a", "b", pd.NA, pd.NA]
    assert hfnb.last_result() is partial


def test_the_engines_generator_is_closed_when_a_run_ends_early() -> None:
    """The raised error's traceback kept it open, and with it the memory of the device."""
    closed = threading.Event()

    class Engine(hfnb.EchoEngine):
        def generate(self, *args: Any, **options: Any) -> Any:
            try:
                yield from super().generate(*args, **options)
            finally:
                closed.set()

    df = pd.DataFrame({"x": ["a", "b"]})
    with pytest.raises(hfnb.HfnbError) as caught:
        hfnb.run(df, "{x}", Engine(fail=lambda p: True), on_error="raise", progress=False)
    assert closed.is_set()
    assert caught.value.__traceback__ is not None


def test_options_reach_the_engine_and_win_over_the_models_own() -> None:
    engine = Recorder()
    llm = hfnb.HuggingFacePipeline(
        engine=engine, pipeline_kwargs={"max_new_tokens": 5, "temperature": 0.5}
    )
    df = pd.DataFrame({"x": ["a"]})
    hfnb.run(df, "{x}", llm, max_new_tokens=7, stop="\n", seed=3, progress=False)
    assert engine.generation.as_dict() == {
        "temperature": 0.5,
        "max_new_tokens": 7,
        "stop": ["\n"],
        "seed": 3,
    }


@pytest.mark.parametrize("chat", [True, "auto"])
def test_a_text_prompt_becomes_a_user_message_where_it_is_a_chat(chat: Any) -> None:
    engine = Recorder()
    result = hfnb.run(
        pd.DataFrame({"x": ["a"]}), "{x}", engine, chat=chat, system="Be kind.", progress=False
    )
    assert said(engine.asked[0]) == [("system", "Be kind."), ("user", "a")]
    assert result.stats.chat
    assert "chat template" in str(result.stats)


def test_an_engine_of_its_own_gets_text() -> None:
    engine = Recorder()
    result = hfnb.run(pd.DataFrame({"x": ["a"]}), "{x}", engine, progress=False)
    assert engine.asked[0].prompt == "a"
    assert not result.stats.chat


def test_the_last_result_is_kept() -> None:
    result = echo(pd.DataFrame({"x": ["a"]}), "{x}")
    assert hfnb.last_result() is result
    with pytest.raises(hfnb.HfnbError):
        echo(pd.DataFrame({"x": ["a"]}), "{y}")
    assert hfnb.last_result() is result


def test_runs_in_several_threads_do_not_disturb_each_other() -> None:
    engine = hfnb.EchoEngine(delay_s=0.0005)
    start = threading.Barrier(4)
    results: dict[int, hfnb.RunResult] = {}

    def work(number: int) -> None:
        df = pd.DataFrame({"x": [f"{number}-{row}" for row in range(100)]})
        start.wait()
        results[number] = hfnb.run(df, "{x}", engine, progress=False)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        data = results[number].data
        assert data["output"].tolist() == data["x"].tolist()
        assert results[number].stats.ok == 100
    assert hfnb.last_result() in results.values()


def test_a_row_takes_few_bytes_beside_its_output() -> None:
    size = 1000
    arrays = [each for each in vars(RowStore(size)).values() if isinstance(each, np.ndarray)]
    assert len(arrays) > 5
    assert sum(each.nbytes for each in arrays) <= 40 * size


def test_a_run_renders_few_rows_before_the_engine_draws_them() -> None:
    drawn: list[int] = []

    class Cell:
        def __init__(self, row: int) -> None:
            self.row = row

        def __str__(self) -> str:
            drawn.append(self.row)
            return str(self.row)

    seen: list[int] = []

    def answer(prompt: str) -> str:
        seen.append(len(drawn))
        return prompt

    df = pd.DataFrame({"x": [Cell(row) for row in range(50)]})
    hfnb.run(df, "{x}", hfnb.EchoEngine(answer=answer), progress=False)
    assert seen[0] == 1
    assert all(ahead < 2 * row for row, ahead in enumerate(seen, start=1))


def test_outputs_of_many_blocks_come_back_in_order() -> None:
    size = 20_000
    df = pd.DataFrame({"x": np.arange(size)})
    engine = hfnb.EchoEngine(fail=lambda prompt: prompt.endswith("77"))
    result = hfnb.run(df, "{x}", engine, progress=False)
    expected = [pd.NA if x % 100 == 77 else str(x) for x in range(size)]
    assert result.data["output"].tolist() == expected


def test_completions_may_come_in_any_order() -> None:
    class Backwards(hfnb.EchoEngine):
        def generate(self, *args: Any, **options: Any) -> Any:
            yield from reversed(list(super().generate(*args, **options)))

    df = pd.DataFrame({"x": np.arange(10_000)})
    result = hfnb.run(df, "{x}", Backwards(), progress=False)
    assert result.data["output"].tolist() == df["x"].astype(str).tolist()


def test_templates_are_the_same_whether_run_alone_or_together() -> None:
    df = pd.DataFrame({"x": ["a", "b"]})
    assert list(Template("<{x}>").rows(df)) == echo(df, "<{x}>").data["output"].tolist()
