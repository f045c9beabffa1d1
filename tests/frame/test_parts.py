"""A run over parquet files or frames: parts on disk that hold what a run in memory would give."""

import datetime
import decimal
import gc
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pandas.testing
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hfnb
from hfnb.errors import ModelError, OptionError, TemplateError
from hfnb.frame.parts_result import PartsResult
from tests.frame.test_properties import faulty, frames

ROWS = 1000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two files, of 700 and 300 rows."""
    folder = tmp_path / "input"
    folder.mkdir()
    write_rows(folder / "1.parquet", 0, 700)
    write_rows(folder / "2.parquet", 700, ROWS)
    return folder


def write_rows(path: Path, begin: int, end: int) -> None:
    table = pa.table(
        {"x": pa.array(range(begin, end)), "y": [f"row {x}" for x in range(begin, end)]}
    )
    pq.write_table(table, path, row_group_size=128)


def run_parts(rows: Any, out: Path, engine: Any = None, **options: Any) -> PartsResult:
    """Run in parts of 150 rows, without the journal, so that only the parts count."""
    engine = hfnb.EchoEngine() if engine is None else engine
    given = {"part_rows": 150, "progress": False, "journal": False, **options}
    result = hfnb.run(rows, given.pop("prompt", "{x}"), engine, out=out, **given)
    assert isinstance(result, PartsResult)
    return result


def outputs(result: PartsResult) -> list[str | None]:
    column: list[str | None] = result.data.to_table().column("output").to_pylist()
    return column


def frames_of(begin: int, end: int, size: int = 40) -> Iterator[pd.DataFrame]:
    for at in range(begin, end, size):
        yield pd.DataFrame({"x": range(at, min(end, at + size))})


TOKYO = pa.timestamp("ns", tz="Asia/Tokyo")
EVERY = [str(x) for x in range(ROWS)]

# --- what is written --------------------------------------------------------------------------


def test_the_parts_hold_the_input_and_the_output_and_nothing_else(
    source: Path, tmp_path: Path
) -> None:
    result = run_parts(source, tmp_path / "out")
    assert [path.name for path in result.files] == [f"part-{n:05d}.parquet" for n in range(7)]
    assert [pq.read_metadata(path).num_rows for path in result.files] == [150] * 6 + [100]
    assert result.data.schema.names == ["x", "y", "output"]
    assert outputs(result) == EVERY
    assert result.complete
    assert len(result) == ROWS
    for name, read in {
        "pandas": lambda: pd.read_parquet(tmp_path / "out")["output"].tolist(),
        "polars": lambda: pl.read_parquet(tmp_path / "out" / "*.parquet")["output"].to_list(),
        "pyarrow": lambda: pq.read_table(tmp_path / "out").column("output").to_pylist(),
    }.items():
        assert read() == EVERY, name


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(frames(), st.integers(25, 90), st.booleans())
def test_a_run_in_parts_gives_what_a_run_in_memory_gives(
    tmp_path_factory: pytest.TempPathFactory, df: pd.DataFrame, part_rows: int, from_file: bool
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    df = df.reset_index(drop=True)
    try:
        table = pa.Table.from_pandas(df)
        table.to_pandas()
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError, ValueError):
        return  # a column of mixed types, or dates that pandas has not; see test_tables.py
    if any("null" in str(each) for each in table.schema.types):
        return  # categories of no type, which parquet forgets
    pq.write_table(table, folder / "in.parquet")
    given: Any = folder / "in.parquet" if from_file else table
    prompt = "[{x}|{y z}]"
    engine = hfnb.EchoEngine(fail=faulty)
    parts = run_parts(given, folder / "out", engine, prompt=prompt, part_rows=part_rows)
    whole = hfnb.run(table, prompt, engine, progress=False, journal=False)

    pd.testing.assert_frame_equal(  # parquet has one type of strings in categories, Arrow two
        parts.data.to_table().to_pandas(), whole.data.to_pandas(), check_categorical=False
    )
    columns = ["status", "finish_reason", "error", "prompt_tokens", "new_tokens"]
    if len(df):
        pd.testing.assert_frame_equal(
            parts.rows.to_table(columns=columns).to_pandas(), whole.rows[columns]
        )
    assert parts.errors["error"].tolist() == whole.errors["error"].tolist()
    assert parts.errors.index.tolist() == whole.errors.index.tolist()
    for name in ("rows", "ok", "failed", "skipped", "cancelled", "tokens_in", "tokens_out"):
        assert getattr(parts.stats, name) == getattr(whole.stats, name), name


def test_the_inputs_keep_their_types(tmp_path: Path) -> None:
    table = pa.table(
        {
            "x": pa.array(["a", None, "c"], pa.large_string()),
            "price": pa.array([decimal.Decimal("1.50"), None, decimal.Decimal(3)]),
            "at": pa.array(
                [datetime.datetime(2024, 3, 1)] * 3, pa.timestamp("ns", tz="Asia/Tokyo")
            ),
            "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
            "nested": pa.array([[{"n": 1}], [], None]),
            "small": pa.array([1, 2, None], pa.uint8()),
            "raw": pa.array([b"\x00", b"", None], pa.large_binary()),
        }
    ).replace_schema_metadata({"made": "by hand"})
    pq.write_table(table, tmp_path / "in.parquet")
    result = run_parts(tmp_path / "in.parquet", tmp_path / "out", part_rows=2)
    data = result.data.to_table()
    assert data.drop_columns(["output"]).cast(table.schema).equals(table)
    assert data.schema.remove_metadata() == table.schema.remove_metadata().append(
        pa.field("output", pa.large_string())
    )
    assert result.data.schema.metadata == {b"made": b"by hand"}
    assert result.to_pandas()["output"].dtype == "string"


def test_a_frame_in_memory_can_be_written_in_parts_with_its_index(tmp_path: Path) -> None:
    df = pd.DataFrame({"x": [1, 2, 3]}, index=pd.Index(["a", "b", "c"], name="key"))
    result = run_parts(df, tmp_path / "out", part_rows=2)
    expected = df.assign(output=pd.array(["1", "2", "3"], dtype="string"))
    pd.testing.assert_frame_equal(result.to_pandas(), expected)


def test_an_output_column_of_that_name_is_replaced_only_when_asked(tmp_path: Path) -> None:
    table = pa.table({"output": [1, 2], "x": ["a", "b"]})
    with pytest.raises(TemplateError, match="'output' already"):
        run_parts(table, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    result = run_parts(table, tmp_path / "out", overwrite=True)
    assert result.data.to_table().to_pydict() == {"output": ["a", "b"], "x": ["a", "b"]}


def test_what_a_chain_makes_of_a_text_is_written_as_json(tmp_path: Path) -> None:
    from langchain_core.prompts import PromptTemplate
    from langchain_core.runnables import RunnableLambda

    answers = {"1": 1, "2": {"n": 2}, "3": "text", "4": None}
    llm = hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine())
    chain = PromptTemplate.from_template("{x}") | llm | RunnableLambda(answers.get)
    df = pd.DataFrame({"x": list(answers)})
    result = hfnb.run(df, chain, out=tmp_path / "out", progress=False, journal=False)
    assert isinstance(result, PartsResult)
    assert outputs(result) == ["1", '{"n": 2}', "text", None]


def test_an_empty_source_gives_an_empty_result(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([], pa.int64())}), tmp_path / "in.parquet")
    result = run_parts(tmp_path / "in.parquet", tmp_path / "out")
    assert result.complete
    assert len(result) == len(result.to_pandas()) == len(result.errors) == 0
    assert result.data.schema.names == ["x", "output"]
    assert "0 parts" in repr(result)


def test_a_result_shows_its_first_rows_its_figures_and_where_its_parts_are(
    source: Path, tmp_path: Path
) -> None:
    result = run_parts(source, tmp_path / "out")
    assert hfnb.last_result() is result
    for text in (repr(result), result._repr_html_()):
        assert "10 of 1,000 rows" in text
        assert "7 parts in" in text
        assert "1,000 ok" in text
    assert result.manifest["what"]["prompt"] == "{x}"
    assert result.manifest["source"]["rows"] == ROWS
    json.dumps(result.manifest)


# --- going on ---------------------------------------------------------------------------------


def test_the_same_call_again_computes_nothing(source: Path, tmp_path: Path) -> None:
    run_parts(source, tmp_path / "out")
    engine = hfnb.EchoEngine()
    again = run_parts(source, tmp_path / "out", engine, part_rows=None)
    assert engine.calls == 0
    assert outputs(again) == EVERY
    assert again.stats.ok == ROWS
    assert again.stats.latency_p50_s is not None
    assert again.stats.rows_per_s == 0


def test_parts_that_are_gone_are_computed_again(source: Path, tmp_path: Path) -> None:
    first = run_parts(source, tmp_path / "out")
    first.files[2].unlink()
    (tmp_path / "out" / "_hfnb" / "rows-00004.parquet").unlink()
    engine = hfnb.EchoEngine()
    assert outputs(run_parts(source, tmp_path / "out", engine)) == EVERY
    assert engine.calls == 300


def test_a_line_that_was_not_written_to_its_end_does_not_count(
    source: Path, tmp_path: Path
) -> None:
    run_parts(source, tmp_path / "out")
    lines = tmp_path / "out" / "_hfnb" / "parts.jsonl"
    written = lines.read_text()
    lines.write_text(written[:-20])
    engine = hfnb.EchoEngine()
    assert outputs(run_parts(source, tmp_path / "out", engine)) == EVERY
    assert engine.calls in (100, 150)
    assert len(lines.read_text().splitlines()) == 7


def test_rows_that_failed_are_tried_again_and_the_others_kept(source: Path, tmp_path: Path) -> None:
    bad = hfnb.EchoEngine(fail=lambda prompt: prompt.endswith("7"))
    first = run_parts(source, tmp_path / "out", bad)
    assert first.stats.failed == len(first.errors) == 100
    assert first.errors["x"].tolist() == first.errors.index.tolist() == list(range(7, ROWS, 10))
    assert first.complete
    engine = hfnb.EchoEngine()
    second = run_parts(source, tmp_path / "out", engine)
    assert engine.calls == 100
    assert outputs(second) == EVERY
    assert (second.stats.ok, second.stats.failed) == (ROWS, 0)
    assert second.rows.to_table().column("status").to_pylist() == ["ok"] * ROWS


def test_a_first_row_that_fails_ends_the_run_where_that_is_asked_for(
    source: Path, tmp_path: Path
) -> None:
    engine = hfnb.EchoEngine(fail=lambda prompt: prompt == "400")
    with pytest.raises(hfnb.HfnbError, match="told to fail") as caught:
        run_parts(source, tmp_path / "out", engine, on_error="raise")
    partial = caught.value.result  # type: ignore[attr-defined]
    assert not partial.complete
    assert partial.stats.failed == 1
    assert outputs(partial)[:400] == EVERY[:400]
    assert outputs(partial)[400] is None
    assert partial.errors["x"].tolist() == [400]
    assert "not complete" in repr(partial)
    again = hfnb.EchoEngine()
    assert outputs(run_parts(source, tmp_path / "out", again)) == EVERY
    assert engine.calls + again.calls == ROWS + 1


def test_a_limit_can_grow_and_what_is_there_is_kept(source: Path, tmp_path: Path) -> None:
    engine = hfnb.EchoEngine()
    assert outputs(run_parts(source, tmp_path / "out", engine, limit=200)) == EVERY[:200]
    assert outputs(run_parts(source, tmp_path / "out", engine, limit=720)) == EVERY[:720]
    assert outputs(run_parts(source, tmp_path / "out", engine)) == EVERY
    assert engine.calls == ROWS
    with pytest.raises(OptionError, match="have 1,000 rows, and this call has 20"):
        run_parts(source, tmp_path / "out", engine, limit=20)


def test_an_iterator_that_gives_the_same_rows_goes_on_where_it_stopped(tmp_path: Path) -> None:
    engine = hfnb.EchoEngine()
    run_parts(frames_of(0, ROWS), tmp_path / "out", engine, limit=400)
    again = run_parts(frames_of(0, ROWS, size=333), tmp_path / "out", engine)
    assert outputs(again) == EVERY
    assert engine.calls == ROWS


def test_an_iterator_that_gives_other_rows_is_refused(tmp_path: Path) -> None:
    run_parts(frames_of(0, ROWS), tmp_path / "out", limit=400)
    with pytest.raises(OptionError, match="Rows 0 to 149 of generator of frames are not those"):
        run_parts(frames_of(1, ROWS), tmp_path / "out")
    with pytest.raises(OptionError, match="have 400 rows, and this call has 300"):
        run_parts(frames_of(0, 300), tmp_path / "out")


def test_files_that_were_only_touched_are_the_same_and_files_that_changed_are_not(
    source: Path, tmp_path: Path
) -> None:
    run_parts(source, tmp_path / "out")
    (source / "1.parquet").touch()
    engine = hfnb.EchoEngine()
    assert outputs(run_parts(source, tmp_path / "out", engine)) == EVERY
    assert engine.calls == 0
    write_rows(source / "2.parquet", 1700, 2000)
    with pytest.raises(OptionError, match=r"Rows 600 to 749 of .*part-00004\.parquet"):
        run_parts(source, tmp_path / "out", engine)


def test_files_that_came_later_are_added(source: Path, tmp_path: Path) -> None:
    engine = hfnb.EchoEngine()
    run_parts(source, tmp_path / "out", engine)
    write_rows(source / "3.parquet", ROWS, 1100)
    assert outputs(run_parts(source, tmp_path / "out", engine)) == [str(x) for x in range(1100)]
    assert engine.calls == 1100


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"prompt": "{y}"}, r"prompt was '\{x\}' and is '\{y\}'"),
        ({"max_new_tokens": 5}, "max_new_tokens was not set and is 5"),
        ({"part_rows": 10}, "part_rows was 150 and is 10"),
        ({"into": "answer"}, "into was 'output' and is 'answer'"),
        ({"chat": True}, "chat was False and is True"),
        ({"system": "Be brief.", "chat": True}, "system was None and is 'Be brief.'"),
    ],
)
def test_parts_of_another_run_are_not_mixed_with(
    source: Path, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    first = run_parts(source, tmp_path / "out")
    with pytest.raises(OptionError, match=f"holds parts of another run: .*{said}.*delete this one"):
        run_parts(source, tmp_path / "out", **change)
    assert outputs(first) == EVERY


# --- what is refused before anything is computed ------------------------------------------------


def test_a_path_or_an_iterator_needs_a_folder_for_its_parts(source: Path) -> None:
    for rows in (source, frames_of(0, 10)):
        with pytest.raises(OptionError, match="say where to, such as out='answers'"):
            hfnb.run(rows, "{x}", hfnb.EchoEngine(), progress=False)


def test_folders_that_are_not_for_parts_are_refused(source: Path, tmp_path: Path) -> None:
    for out in (source, source / "answers"):
        with pytest.raises(OptionError, match="lies where the input is read from"):
            run_parts(source, out)
    with pytest.raises(OptionError, match="lies where the input is read from"):
        run_parts(str(source / "*.parquet"), source)
    with pytest.raises(OptionError, match="lies where the input is read from"):
        run_parts(str(tmp_path / "**" / "*.parquet"), tmp_path / "out")
    pq.write_table(pa.table({"x": [1]}), tmp_path / "mine.parquet")
    with pytest.raises(OptionError, match="parquet files that hfnb did not write"):
        run_parts(source, tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file"):
        run_parts(source, tmp_path / "file")
    assert not (tmp_path / "_hfnb").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompt": "{z}"}, "no column 'z'"),
        ({"into": "y"}, "'y' already"),
        ({"part_rows": 0}, "part_rows is a number of rows"),
        ({"wait": False}, "wait=False"),
        ({"limit": -1}, "limit is a number"),
        ({"max_new_token": 3}, "max_new_tokens"),
    ],
)
def test_wrong_arguments_are_found_before_anything_is_written(
    source: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    engine = hfnb.EchoEngine()
    with pytest.raises((OptionError, TemplateError), match=said):
        run_parts(source, tmp_path / "out", engine, **options)
    assert engine.calls == 0
    assert not (tmp_path / "out").exists()


def test_a_null_is_refused_before_its_part_begins(tmp_path: Path) -> None:
    frame = pd.DataFrame({"x": pd.array([1] * 30 + [None], dtype="Int64")})
    engine = hfnb.EchoEngine()
    with pytest.raises(TemplateError, match="1 of 1 rows have a null in 'x'"):
        run_parts(frame, tmp_path / "out", engine, nulls="raise", part_rows=10)
    result = run_parts(frame, tmp_path / "out2", engine, nulls="empty", part_rows=10)
    assert outputs(result)[-1] is None


def test_two_runs_do_not_write_to_one_folder_at_once(source: Path, tmp_path: Path) -> None:
    problems: list[str] = []

    def second(progress: hfnb.Progress) -> None:
        with pytest.raises(OptionError) as caught:
            run_parts(source, tmp_path / "out")
        problems.append(str(caught.value))

    result = run_parts(source, tmp_path / "out", progress=second)
    assert result.complete
    assert "Another run is writing to" in problems[0]


# --- how it goes --------------------------------------------------------------------------------


class Slow(hfnb.EchoEngine):
    """Holds the end of its first call back until a second one has begun."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = 0
        self.most = 0
        self.open = 0
        self.second = threading.Event()

    def generate(self, requests: Any, generation: Any, **options: Any) -> Any:
        self.begun += 1
        self.open += 1
        self.most = max(self.most, self.open)
        if self.begun == 2:
            self.second.set()
        first = self.begun == 1
        yield from super().generate(requests, generation, **options)
        if first:
            assert self.second.wait(30), "no second part began while the first was computed"
        self.open -= 1


def test_the_next_part_begins_when_the_engine_has_drawn_all_of_this_one(
    source: Path, tmp_path: Path
) -> None:
    engine = Slow()
    assert outputs(run_parts(source, tmp_path / "out", engine)) == EVERY
    assert engine.begun == 7
    assert engine.most == 2


def test_progress_counts_the_rows_of_all_parts(source: Path, tmp_path: Path) -> None:
    seen: list[hfnb.Progress] = []
    run_parts(source, tmp_path / "out", limit=300)
    engine = hfnb.EchoEngine(delay_s=0.002)
    run_parts(source, tmp_path / "out", engine, progress=seen.append)
    assert len(seen) > 2
    assert {each.total for each in seen} == {ROWS}
    assert all(300 <= each.done <= ROWS for each in seen)
    assert [each.done for each in seen] == sorted(each.done for each in seen)
    assert {each.reused for each in seen} == {300}
    assert (seen[-1].done, seen[-1].failed) == (ROWS, 0)


def test_the_total_of_an_iterator_is_known_at_its_end(tmp_path: Path) -> None:
    seen: list[hfnb.Progress] = []
    engine = hfnb.EchoEngine(delay_s=0.002)
    run_parts(frames_of(0, 600), tmp_path / "out", engine, progress=seen.append)
    assert {each.total for each in seen[:-1]} == {None}
    assert (
        str(hfnb.Progress(1234, None, 0, 27.4, answered=1234))
        == "1,234 rows · 45.0 rows/s · 0 failed"
    )
    assert seen[-1].total == seen[-1].done == 600


# --- nulls ------------------------------------------------------------------------------------


@pytest.mark.parametrize("nothing", [None, float("nan")])
def test_nulls_in_any_file_are_refused_before_anything_runs(tmp_path: Path, nothing: Any) -> None:
    values = [float(x) if x != 390 else nothing for x in range(400)]
    for at in (0, 1):
        pq.write_table(pa.table({"x": values[at * 200 :][:200]}), tmp_path / f"{at}.parquet")
    engine, out = hfnb.EchoEngine(), tmp_path / "out"
    with pytest.raises(TemplateError, match=r"1 of 400 rows have a null in 'x'\."):
        run_parts(str(tmp_path / "*.parquet"), out, engine, nulls="raise")
    assert engine.calls == 0
    assert not out.exists()
    assert len(run_parts(str(tmp_path / "*.parquet"), out, engine, nulls="raise", limit=390)) == 390


def test_files_without_nulls_run_where_nulls_are_refused(source: Path, tmp_path: Path) -> None:
    result = run_parts(source, tmp_path / "out", nulls="raise", prompt="{x} {y}")
    assert len(result) == ROWS


# --- retry ------------------------------------------------------------------------------------


def test_retry_computes_failed_rows_again_in_their_parts(source: Path, tmp_path: Path) -> None:
    bad = {"3", "149", "800"}
    engine = hfnb.EchoEngine(fail=lambda prompt: prompt in bad)
    result = run_parts(source, tmp_path / "out", engine)
    assert result.stats.failed == 3
    bad.clear()
    engine.calls = 0
    mended = result.retry(progress=False)
    assert engine.calls == 3
    assert outputs(mended) == EVERY
    assert (mended.stats.failed, len(mended.errors), mended.path) == (0, 0, result.path)
    assert mended.retry(progress=False).complete
    assert engine.calls == 3


def test_retry_says_what_it_can_not_have_again(source: Path, tmp_path: Path) -> None:
    ended = run_parts(frames_of(0, 40), tmp_path / "frames")
    with pytest.raises(OptionError, match="iterator, which is used up"):
        ended.retry()
    gone = run_parts(source, tmp_path / "out")
    gc.collect()
    with pytest.raises(ModelError, match=r"result\.retry\(llm=llm\)"):
        gone.retry()
    assert outputs(gone.retry(llm=hfnb.EchoEngine(), progress=False)) == EVERY
