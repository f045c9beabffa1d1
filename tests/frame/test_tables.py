"""Tables of other libraries come in through Arrow, and come back as what they were."""

import datetime
import decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hfnb
from hfnb.errors import OptionError, TemplateError
from tests.frame.support import echo
from tests.frame.test_properties import frames

COLUMNS = {
    "x": pa.array(["a", None, "c"], pa.large_string()),
    "price": pa.array(
        [decimal.Decimal("1.50"), None, decimal.Decimal("3.00")], pa.decimal128(9, 2)
    ),
    "at": pa.array([0, 1, None], pa.timestamp("us", tz="Europe/Paris")),
    "kind": pa.array(["u", "v", "u"]).dictionary_encode(),
    "tags": pa.array([["p", "q"], [], None]),
    "pair": pa.array([{"n": 1}, {"n": None}, None]),
    "big": pa.array([2**60 + 1, None, -1]),
}
OUTPUT = ["a", None, "c"]


class OnlyArrow:
    """A table of a library that hfnb has never heard of."""

    def __init__(self, table: Any) -> None:
        self.table = table

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class OnlyInterchange:
    """A table that has the dataframe interchange protocol alone."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self.frame = frame

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> object:
        return self.frame.__dataframe__(nan_as_null, allow_copy)


def test_a_pyarrow_table_comes_back_with_its_types_and_the_output_behind_them() -> None:
    table = pa.table(COLUMNS).replace_schema_metadata({"made": "by hand"})
    data = echo(table, "{x}").data
    assert isinstance(data, pa.Table)
    assert data.drop_columns(["output"]).equals(table, check_metadata=True)
    assert data.column_names[-1] == "output"
    assert data.column("output").to_pylist() == OUTPUT


@pytest.mark.parametrize("rows", [0, 3])
def test_a_record_batch_comes_back_as_one(rows: int) -> None:
    batch = pa.record_batch(COLUMNS).slice(0, rows)
    data = echo(batch, "{x}").data
    assert isinstance(data, pa.RecordBatch)
    assert data.select(batch.schema.names).equals(batch)
    assert data.column("output").to_pylist() == OUTPUT[:rows]


def test_a_polars_frame_comes_back_with_its_own_types() -> None:
    table = pl.DataFrame(
        {
            "x": OUTPUT,
            "kind": pl.Series(["u", "v", "u"], dtype=pl.Enum(["u", "v"])),
            "word": pl.Series(["u", "v", "u"], dtype=pl.Categorical),
            "at": [datetime.datetime(2024, 3, 1), None, None],
            "tags": [["p"], [], None],
        }
    )
    data = echo(table, "{x}").data
    assert isinstance(data, pl.DataFrame)
    pl.testing.assert_frame_equal(data.drop("output"), table, categorical_as_str=False)
    assert data.schema["kind"] == pl.Enum(["u", "v"])
    assert data["output"].to_list() == OUTPUT


def test_a_lazy_frame_is_collected_once_and_comes_back_lazy() -> None:
    computed = []

    def note(column: pl.Series) -> pl.Series:
        computed.append(len(column))
        return column

    lazy = pl.LazyFrame({"x": OUTPUT}).with_columns(
        pl.col("x").map_batches(note, return_dtype=pl.String)
    )
    data = echo(lazy, "{x}").data
    assert isinstance(data, pl.LazyFrame)
    assert data.collect()["output"].to_list() == OUTPUT
    assert computed == [3]


@pytest.mark.parametrize("wrap", [OnlyArrow, lambda table: table.to_reader()])
def test_another_table_with_arrow_data_comes_back_as_a_pyarrow_table(wrap: Any) -> None:
    data = echo(wrap(pa.table(COLUMNS)), "{x}").data
    assert data.drop_columns(["output"]).equals(pa.table(COLUMNS))
    assert data.column("output").to_pylist() == OUTPUT


@pytest.mark.filterwarnings("ignore:The DataFrame Interchange Protocol:Warning")
def test_a_table_with_the_interchange_protocol_comes_back_as_a_pyarrow_table() -> None:
    data = echo(OnlyInterchange(pd.DataFrame({"x": [1, 2]})), "{x}").data
    assert data.to_pydict() == {"x": [1, 2], "output": ["1", "2"]}


def test_the_errors_and_lines_of_a_table_are_pandas_with_all_columns() -> None:
    engine = hfnb.EchoEngine(fail=lambda prompt: prompt == "c")
    result = hfnb.run(pl.DataFrame({"x": OUTPUT, "n": [1, 2, 3]}), "{x}", engine, progress=False)
    assert result.rows["status"].tolist() == ["ok", "skipped", "error"]
    assert result.errors["n"].tolist() == [3]
    assert "c" in repr(result)


def test_a_table_is_not_changed_and_limits_and_overwriting_hold_for_it() -> None:
    table = pl.DataFrame({"x": ["a", "b"], "output": [1, 2]})
    data = echo(table, "{x}", overwrite=True, limit=1).data
    assert data.to_dict(as_series=False) == {"x": ["a"], "output": ["a"]}
    assert table.schema["output"] == pl.Int64
    with pytest.raises(TemplateError, match="'output' already"):
        echo(table, "{x}")


def test_what_is_retried_comes_back_as_what_it_was() -> None:
    answers = iter([True, False])
    engine = hfnb.EchoEngine(fail=lambda prompt: next(answers, False))
    first = hfnb.run(pl.DataFrame({"x": ["a", "b"]}), "{x}", engine, progress=False, journal=False)
    assert first.data["output"].to_list() == [None, "b"]
    second = first.retry(llm=engine, progress=False)
    assert second.data["output"].to_list() == ["a", "b"]


def test_an_unknown_column_of_a_table_is_named_with_the_closest() -> None:
    with pytest.raises(TemplateError, match=r"no column 'txt'\. Did you mean 'text'\?"):
        echo(pl.DataFrame({"text": ["a"]}), "{txt}")
    twice = pa.table([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(TemplateError, match="several columns named 'x'"):
        echo(twice, "{x}")


@pytest.mark.parametrize(
    ("rows", "hint"),
    [
        (pl.Series("x", ["a"]), r"to_frame"),
        (pd.Series(["a"]), r"to_frame\('text'\)"),
        (pa.array(["a"]), "Array"),
        ({"x": ["a"]}, "pandas.DataFrame"),
        (7, "not int"),
        (None, "not NoneType"),
    ],
)
def test_what_has_no_rows_is_refused_with_what_to_pass(rows: Any, hint: str) -> None:
    with pytest.raises(OptionError, match=f"^df is a pandas or polars DataFrame.*{hint}"):
        echo(rows, "{x}")


def test_a_table_whose_data_can_not_be_read_is_refused_with_its_reason() -> None:
    class Broken:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            raise RuntimeError("the connection is closed")

    with pytest.raises(OptionError, match=r"Broken could not be read.*the connection is closed"):
        echo(Broken(), "{x}")


@settings(max_examples=25, deadline=None)
@given(frames(), st.integers(0, 200))
def test_a_cell_reads_from_an_arrow_table_as_it_does_from_pandas(
    df: pd.DataFrame, limit: int
) -> None:
    df = df.reset_index(drop=True)
    try:
        table = pa.Table.from_pandas(df)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError, OverflowError):
        return  # a column of mixed types
    as_pandas = echo(table.to_pandas(), "[{x}|{y z}]", limit=limit, journal=False).data["output"]
    as_arrow = echo(table, "[{x}|{y z}]", limit=limit, journal=False).data
    assert (
        as_arrow.column("output").to_pylist()
        == as_pandas.astype(object).where(as_pandas.notna(), None).tolist()
    )
    assert as_arrow.drop_columns(["output"]).equals(table.slice(0, limit))


def test_large_integers_beside_nulls_keep_their_digits() -> None:
    table = pa.table({"x": pa.array([2**60 + 1, None]), "y": pa.array([True, None])})
    data = echo(table, "{x} {y}", nulls="empty").data
    assert data.column("output").to_pylist() == [f"{2**60 + 1} True", " "]


def test_dates_that_python_has_not_are_text_and_end_no_run(tmp_path: Path) -> None:
    days = pa.array([-719_163, 0, None, 2_932_897], pa.date32())  # the years 0, 1970 and 10000
    moments = pa.array([-(2**50), 0, 2**40, None], pa.timestamp("s"))
    table = pa.table({"day": days, "moment": moments})
    expected = ["0000-12-31", "1970-01-01", None, "10000-01-01"]
    assert (
        hfnb.run(table, "{day}", hfnb.EchoEngine(), progress=False).data["output"].to_pylist()
        == expected
    )
    pq.write_table(table, tmp_path / "in.parquet")
    for _ in range(2):  # the second time all parts are there
        done = hfnb.run(
            tmp_path / "in.parquet",
            "{day}",
            hfnb.EchoEngine(),
            out=tmp_path / "out",
            progress=False,
        )
        assert done.data.to_table().column("output").to_pylist() == expected
    assert hfnb.run(table, "{moment}", hfnb.EchoEngine(), progress=False).stats.ok == 3


@pytest.mark.parametrize(
    "first", [datetime.date(2000, 1, 1), datetime.datetime(2000, 1, 1), datetime.timedelta(1)]
)
def test_a_number_among_dates_is_not_taken_for_one(first: object, tmp_path: Path) -> None:
    df = pd.DataFrame({"x": pd.Series([first, 5], dtype=object)})
    assert hfnb.run(df, "{x}", hfnb.EchoEngine(), progress=False).data["output"][1] == "5"
    with pytest.raises(OptionError, match="'x' holds dates or times, and other values"):
        hfnb.run([df], "{x}", hfnb.EchoEngine(), out=tmp_path / "out", progress=False)
    alike = pd.DataFrame({"x": pd.Series([first, None, first], dtype=object)})
    assert hfnb.run(
        [alike], "{x}", hfnb.EchoEngine(), out=tmp_path / "alike", progress=False
    ).complete
