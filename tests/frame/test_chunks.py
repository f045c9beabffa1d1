"""Sources of rows: found and checked before anything is loaded, cut into equal pieces."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfnb.errors import OptionError, TemplateError
from hfnb.frame.chunks import MOST_ROWS, is_source, open_source, pieces, rows_of_a_part


def numbers(begin: int, end: int) -> pa.Table:
    return pa.table({"x": pa.array(range(begin, end), pa.int64())})


def values(tables: Iterator[pa.Table]) -> list[int]:
    return [value for table in tables for value in table.column("x").to_pylist()]


def problem_of(given: Any) -> str:
    with pytest.raises((OptionError, TemplateError)) as caught:
        open_source(given)
    return str(caught.value)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=8), st.integers(1, 20), st.none() | st.integers(0, 99))
def test_pieces_hold_every_row_once_in_order_and_are_all_of_one_size(
    sizes: list[int], rows: int, limit: int | None
) -> None:
    ends = np.cumsum([0, *sizes]).tolist()
    tables = [numbers(begin, end) for begin, end in itertools.pairwise(ends)]
    cut = list(pieces(tables, rows, limit))
    total = sum(sizes) if limit is None else min(sum(sizes), limit)
    assert values(iter(cut)) == list(range(total))
    assert all(piece.num_rows == rows for piece in cut[:-1])
    assert all(0 < piece.num_rows <= rows for piece in cut[-1:])


def test_no_more_is_read_than_the_limit_needs() -> None:
    read = []

    def tables() -> Iterator[pa.Table]:
        for begin in range(0, 100, 10):
            read.append(begin)
            yield numbers(begin, begin + 10)

    assert values(pieces(tables(), 4, 15)) == list(range(15))
    assert read == [0, 10]
    assert list(pieces(tables(), 4, 0)) == []
    assert read == [0, 10]


@settings(max_examples=30, deadline=None)
@given(begin=st.integers(0, 2100), group=st.sampled_from([100, 999, 5000]))
def test_files_are_read_from_any_row_on_in_the_order_of_their_names(
    tmp_path_factory: pytest.TempPathFactory, begin: int, group: int
) -> None:
    folder = tmp_path_factory.mktemp("files")
    for number, (first, end) in enumerate([(0, 1000), (1000, 1000), (1000, 2003)]):
        path = folder / f"f{number}.parquet"
        pq.write_table(numbers(first, end), path, row_group_size=group)
    source = open_source(folder)
    assert source.rows == 2003
    assert values(source.tables(begin)) == list(range(begin, 2003))


def test_a_folder_is_read_with_the_folders_in_it_but_for_hidden_files(tmp_path: Path) -> None:
    for name in ("b.parquet", "a/c.pq", "_hidden.parquet", ".tmp/d.parquet"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        pq.write_table(numbers(0, 1), tmp_path / name)
    (tmp_path / "README.md").write_text("not parquet")
    source = open_source(str(tmp_path))
    assert [Path(each[0]).name for each in source.identity] == ["c.pq", "b.parquet"]


def test_a_glob_and_a_home_folder_are_expanded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("a1.parquet", "a2.parquet", "b.parquet"):
        pq.write_table(numbers(0, 2), tmp_path / name)
    assert open_source("~/a*.parquet").rows == 4
    assert open_source("a?.parquet").rows == 4
    assert open_source(Path("b.parquet")).rows == 2


def test_columns_in_another_order_are_the_same_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1], "y": ["a"]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"y": ["b"], "x": [2]}), tmp_path / "2.parquet")
    tables = list(open_source(tmp_path).tables(0))
    assert [table.column_names for table in tables] == [["x", "y"], ["x", "y"]]
    assert values(iter(tables)) == [1, 2]


def test_a_path_that_is_not_there_is_named_with_the_closest(tmp_path: Path) -> None:
    pq.write_table(numbers(0, 1), tmp_path / "reviews.parquet")
    assert "Did you mean 'reviews.parquet'?" in problem_of(tmp_path / "review.parquet")
    assert "No file is named like" in problem_of(str(tmp_path / "*.pq"))
    assert "is not on this machine" in problem_of("s3://bucket/reviews.parquet")
    (tmp_path / "empty").mkdir()
    assert "has no parquet file" in problem_of(tmp_path / "empty")


def test_a_file_that_is_not_parquet_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x\n1\n")
    said = problem_of(tmp_path / "a.csv")
    assert "a.csv" in said
    assert "pandas.read_csv" in said
    (tmp_path / "cut.parquet").write_bytes(b"PAR1")
    assert "can't be read as a parquet file" in problem_of(tmp_path / "cut.parquet")


@pytest.mark.parametrize(
    ("second", "difference"),
    [
        (pa.table({"x": [1.5]}), "has the column 'x' as double, not int64"),
        (pa.table({"y": [1]}), "has no column 'x'"),
        (pa.table({"x": [1], "z": [1]}), "has the further column 'z'"),
    ],
)
def test_files_that_differ_are_named_with_their_difference(
    tmp_path: Path, second: pa.Table, difference: str
) -> None:
    pq.write_table(numbers(0, 1), tmp_path / "1.parquet")
    pq.write_table(second, tmp_path / "2.parquet")
    said = problem_of(tmp_path)
    assert "2.parquet' " + difference in said
    assert "1.parquet" in said


def test_values_in_folder_names_would_be_lost_and_are_refused(tmp_path: Path) -> None:
    (tmp_path / "year=2024").mkdir()
    pq.write_table(numbers(0, 1), tmp_path / "year=2024" / "a.parquet")
    assert "year=2024" in problem_of(tmp_path)
    assert "partitioning='hive'" in problem_of(tmp_path)


@pytest.mark.parametrize("kind", [pa.table, pl.DataFrame, pd.DataFrame, pa.record_batch])
def test_frames_of_any_kind_are_read_one_after_the_other(kind: Callable[[Any], Any]) -> None:
    frames = [kind({"x": pd.Series([at, at + 1])}) for at in range(0, 6, 2)]
    source = open_source(iter(frames))
    assert source.rows is None
    assert values(source.tables(1)) == [1, 2, 3, 4, 5]


def test_later_frames_get_the_types_of_the_first_with_rows() -> None:
    frames = [
        pd.DataFrame({"x": []}, dtype=object),
        pd.DataFrame({"x": [1]}),
        pd.DataFrame({"x": [np.nan, 2.0]}),
    ]
    tables = list(open_source(frames).tables(0))
    assert {table.schema.field("x").type for table in tables} == {pa.int64()}
    assert values(iter(tables)) == [1, None, 2]


@pytest.mark.parametrize(
    ("second", "said"),
    [
        (pd.DataFrame({"x": ["one"]}), "'x' as large_string, and the first frame as int64"),
        (pd.DataFrame({"y": [1]}), "lacks the column 'x' and has the further column 'y'"),
        (pd.DataFrame({"x": [1]}, index=[7]), r"reset_index\(drop=True\)"),
        (7, "Number 1 is int"),
    ],
)
def test_a_later_frame_that_does_not_fit_is_named(second: Any, said: str) -> None:
    source = open_source([pd.DataFrame({"x": [1]}), second])
    with pytest.raises(OptionError, match=said):
        list(source.tables(0))


@pytest.mark.parametrize(
    ("nothing", "said"),
    [
        ([], "ended before it gave one"),
        (iter(()), "make a new one"),
        (["a.parquet"], "use a glob"),
        (range(3), "Number 0 is int"),
        (pl.LazyFrame({"x": [1]}), "sink_parquet"),
    ],
)
def test_what_gives_no_frame_is_refused_with_what_to_pass(nothing: Any, said: str) -> None:
    assert said in problem_of(nothing)


def test_types_that_parquet_can_not_hold_are_refused_before_anything_runs() -> None:
    table = pa.table({"x": pa.array([None], pa.month_day_nano_interval())})
    assert "'x' has the type month_day_nano_interval" in problem_of(iter([table]))


def test_paths_and_iterators_are_sources_and_tables_are_not() -> None:
    assert is_source("a.parquet")
    assert is_source(Path("a.parquet"))
    assert is_source(iter([]))
    assert is_source(numbers(0, 1).to_reader())
    for other in (numbers(0, 1), pd.Series([1]), pl.Series([1]), {"x": [1]}, 7, None):
        assert not is_source(other)


def test_parts_of_large_rows_have_fewer_of_them() -> None:
    small = open_source(iter([numbers(0, 10)]))
    large = open_source(iter([pa.table({"x": ["a" * 1_000_000] * 3})]))
    assert rows_of_a_part(small) == MOST_ROWS
    assert 1 < rows_of_a_part(large) < 100
