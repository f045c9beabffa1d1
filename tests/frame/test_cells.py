"""How each kind of cell reads in a prompt."""

import datetime
import decimal
import enum
import math
import zoneinfo
from typing import Any

import numpy as np
import pandas as pd
import pytest

import hfnb
from tests.frame.support import echo, prompt_of_cell, prompts_of_column


class Colour(enum.Enum):
    RED = "r"


class Size(enum.StrEnum):
    LARGE = "large"


class Level(enum.IntEnum):
    HIGH = 3


BERLIN = zoneinfo.ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("word", "word"),
        ("a\nb", "a\nb"),
        ("{x} {} {{y}}", "{x} {} {{y}}"),
        ("𐍈 né 🎈", "𐍈 né 🎈"),
        (np.str_("numpy"), "numpy"),
        (7, "7"),
        (-7, "-7"),
        (2**70, str(2**70)),
        (72.0, "72"),
        (-0.0, "0"),
        (2.5, "2.5"),
        (1e300, "1e+300"),
        (2.0**53, "9007199254740992"),
        (math.inf, "inf"),
        (-math.inf, "-inf"),
        (np.float32(0.1), "0.1"),
        (np.float64(72.0), "72"),
        (np.int8(3), "3"),
        (True, "True"),
        (np.bool_(False), "False"),
        (decimal.Decimal("1.10"), "1.10"),
        (1 + 2j, "(1+2j)"),
        (datetime.date(2024, 3, 1), "2024-03-01"),
        (datetime.datetime(2024, 3, 1), "2024-03-01"),
        (datetime.datetime(2024, 3, 1, 12, 5), "2024-03-01 12:05:00"),
        (datetime.time(12, 5), "12:05:00"),
        (pd.Timestamp("2024-03-01"), "2024-03-01"),
        (pd.Timestamp("2024-03-01 00:00:00.000000001"), "2024-03-01 00:00:00.000000001"),
        (pd.Timestamp("2024-03-01", tz=BERLIN), "2024-03-01 00:00:00+01:00"),
        (np.datetime64("2024-03-01T12:00"), "2024-03-01 12:00:00"),
        (pd.Timedelta("1 days 2 hours"), "1 days 02:00:00"),
        (pd.Period("2024-03", freq="M"), "2024-03"),
        (pd.Interval(0, 1), "(0, 1]"),
        (b"caf\xc3\xa9", "café"),
        (b"\xff!", "\\xff!"),
        (bytearray(b"ab"), "ab"),
        (["a", "b"], "a, b"),
        ([], ""),
        ([1.0, None, math.nan, 2.5], "1, , , 2.5"),
        (["a", ["b", "c"]], "a, b, c"),
        (("a", 1), "a, 1"),
        pytest.param({"b", "a"}, "a, b", id="a set"),
        pytest.param(frozenset({2.0, None}), ", 2", id="a frozenset"),
        ({"a": 1.0, "b": None}, "a: 1, b: "),
        ({"a": {"b": [1, 2]}}, "a: b: 1, 2"),
        (np.array([1.0, 2.5]), "1, 2.5"),
        (np.array([[1, 2], [3, 4]]), "1, 2, 3, 4"),
        (np.array(72.0), "72"),
        (pd.Series([1.0, 2.0]), "1, 2"),
        (Colour.RED, "Colour.RED"),
        (Size.LARGE, "large"),
        (Level.HIGH, "3"),
    ],
    ids=repr,
)
def test_a_cell_reads_as_a_person_would_write_it(value: Any, text: str) -> None:
    assert prompt_of_cell(value) == f"<{text}>"


def test_an_array_of_float32_keeps_its_short_numbers() -> None:
    """`tolist` made float64 of them, so an embedding of 0.1 read 0.10000000149011612."""
    assert prompt_of_cell(np.array([0.1, 0.25], dtype="float32")) == "<0.1, 0.25>"


def test_an_array_of_times_reads_as_dates() -> None:
    """`tolist` made nanoseconds of them, so a date read 1709251200000000000."""
    assert prompt_of_cell(np.array(["2024-03-01"], dtype="datetime64[ns]")) == "<2024-03-01>"


@pytest.mark.parametrize(
    "dtype", ["float32", "Float32", "Sparse[float32]", "category", "float[pyarrow]"]
)
def test_a_float32_column_reads_in_its_own_precision(dtype: str) -> None:
    """Only numpy's own float32 did; the other kinds read 0.10000000149011612."""
    values = pd.Series(np.array([0.1, 72.0], dtype="float32")).astype(dtype)
    assert prompts_of_column(values) == ["<0.1>", "<72>"]


@pytest.mark.parametrize("dtype", ["float32", "Float32", "float[pyarrow]"])
def test_a_float32_is_shown_without_numpys_name_by_a_conversion(dtype: str) -> None:
    assert prompts_of_column(pd.array([0.1], dtype=dtype), "{x!r} {x!a}") == ["0.1 0.1"]


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pd.array([1, 2], dtype="int64"), ["1", "2"]),
        (pd.array([1, 2], dtype="Int8"), ["1", "2"]),
        *[(pd.array([1, 2], dtype=each), ["1", "2"]) for each in ("uint64[pyarrow]",)],
        (pd.array([True, False], dtype="boolean"), ["True", "False"]),
        (pd.array(["a", "b"], dtype="string"), ["a", "b"]),
        (pd.Series(["a", "b"], dtype=object), ["a", "b"]),
        (pd.Categorical(["b", "a"]), ["b", "a"]),
        (pd.Categorical([2.0, 1.5]), ["2", "1.5"]),
        (pd.Categorical([pd.Timestamp("2024-03-01"), None]), ["2024-03-01", None]),
        (pd.date_range("2024-03-01", periods=2, freq="36h"), ["2024-03-01", "2024-03-02 12:00:00"]),
        (pd.date_range("2024-03-01", periods=1, tz="UTC"), ["2024-03-01 00:00:00+00:00"]),
        (pd.to_timedelta([1, 2], unit="D"), ["1 days 00:00:00", "2 days 00:00:00"]),
        (pd.period_range("2024-01", periods=2, freq="M"), ["2024-01", "2024-02"]),
        (pd.interval_range(0, 2), ["(0, 1]", "(1, 2]"]),
    ],
    ids=lambda each: str(getattr(each, "dtype", "")),
)
def test_a_column_of_each_dtype_reads_well(values: Any, texts: list[str | None]) -> None:
    expected = [pd.NA if text is None else f"<{text}>" for text in texts]
    assert prompts_of_column(values) == expected


NULLS = [
    pd.Series(["a", None], dtype=object),
    pd.Series(["a", math.nan], dtype=object),
    pd.Series(["a", pd.NaT], dtype=object),
    pd.Series(["a", pd.NA], dtype=object),
    pd.Series(["a", decimal.Decimal("NaN")], dtype=object),
    pd.Series(["a", np.datetime64("NaT")], dtype=object),
    pd.array(["a", None], dtype="string"),
    pd.array([1, None], dtype="Int64"),
    *[pd.array([1, None], dtype=each) for each in ("int64[pyarrow]",)],
    pd.array([True, None], dtype="boolean"),
    pd.array([1.5, None], dtype="Float64"),
    pd.Series([1.5, math.nan]),
    pd.Series([1.5, math.nan], dtype="float32"),
    pd.Categorical(["a", None]),
    pd.to_datetime(["2024-01-01", None]),
    pd.to_timedelta(["1 day", None]),
    pd.PeriodIndex(["2024-01", None], freq="M"),
]


@pytest.mark.parametrize("values", NULLS, ids=lambda each: repr(each[1]) + str(each.dtype))
def test_a_null_of_each_kind_skips_its_row_and_says_so(values: Any) -> None:
    result = echo(pd.DataFrame({"x": values}), "<{x}>")
    assert result.rows["status"].tolist() == ["ok", "skipped"]
    assert result.rows["error"].tolist() == [pd.NA, "column 'x' is null"]
    assert result.data["output"].isna().tolist() == [False, True]
    assert (result.stats.ok, result.stats.skipped) == (1, 1)


@pytest.mark.parametrize("values", NULLS, ids=lambda each: repr(each[1]) + str(each.dtype))
def test_a_null_can_be_rendered_as_no_text(values: Any) -> None:
    outputs = prompts_of_column(values, nulls="empty")
    assert outputs[1] == "<>"
    assert outputs[0] != "<>"


@pytest.mark.parametrize("values", NULLS, ids=lambda each: repr(each[1]) + str(each.dtype))
def test_a_null_can_be_refused_before_anything_runs(values: Any) -> None:
    engine = hfnb.EchoEngine()
    with pytest.raises(hfnb.HfnbError, match=r"1 of 2 rows have a null in 'x'"):
        hfnb.run(pd.DataFrame({"x": values}), "{x}", engine, nulls="raise", progress=False)
    assert engine.calls == 0


def test_nulls_in_columns_that_the_prompt_does_not_read_do_not_matter() -> None:
    df = pd.DataFrame({"x": ["a"], "other": [None]})
    assert echo(df, "{x}", nulls="raise").stats.ok == 1


@pytest.mark.parametrize("nulls", ["skip", "empty", "raise"])
def test_an_empty_prompt_is_skipped_and_says_so(nulls: Any) -> None:
    result = echo(pd.DataFrame({"x": ["", "a"]}), "{x}", nulls=nulls)
    assert result.rows["status"].tolist() == ["skipped", "ok"]
    assert result.rows["error"][0] == "the prompt is empty"


def test_empty_text_inside_a_prompt_is_text() -> None:
    assert prompts_of_column(["", "a"]) == ["<>", "<a>"]


@pytest.mark.parametrize(
    ("value", "template", "text"),
    [
        (3.14159, "{x:.2f}", "3.14"),
        (7, "{x:03d}", "007"),
        (7, "{x:>4}|", "   7|"),
        ("ab", "{x:>4}|", "  ab|"),
        (pd.Timestamp("2024-03-01"), "{x:%Y-%m}", "2024-03"),
        (datetime.date(2024, 3, 1), "{x:%d.%m.}", "01.03."),
        (decimal.Decimal("2.5"), "{x:.3f}", "2.500"),
        ("a'b", "{x!r}", '"a\'b"'),
        ("é", "{x!a}", "'\\xe9'"),
        (72.0, "{x!s}", "72"),
        (72.0, "{x!r}", "72.0"),
        (72.0, "{x!s:>4}|", "  72|"),
        (["a"], "{x!r}", "['a']"),
        (None, "{x:.2f}|", "|"),
    ],
)
def test_format_specifications_and_conversions_are_pythons(
    value: Any, template: str, text: str
) -> None:
    assert prompt_of_cell(value, template, nulls="empty") == text


class Broken:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __str__(self) -> str:
        raise self.error

    __repr__ = __str__


def endless() -> list[Any]:
    inside: list[Any] = []
    inside.append(inside)
    return inside


@pytest.mark.parametrize(
    ("value", "template", "message"),
    [
        (b"w", "{x:.2f}", r"\{x:\.2f\} can't format b'w': TypeError"),
        (["a"], "{x:>4}", r"\{x:>4\} can't format \['a'\]: TypeError"),
        (10**10, "{x:c}", r"OverflowError"),
        (10**5000, "{x}", r"ValueError: Exceeds the limit"),
        (endless(), "{x}", r"RecursionError"),
        (Broken(RuntimeError("no text")), "{x}", r"\{x\} can't format a Broken: RuntimeError: no"),
        (Broken(KeyError("k")), "{x!r}", r"\{x!r\} can't format a Broken: KeyError"),
    ],
    ids="bytes list overflow digits endless str repr".split(),
)
def test_a_cell_that_cannot_be_rendered_fails_alone(
    value: Any, template: str, message: str
) -> None:
    """Only ValueError and TypeError did; an OverflowError or a cell's own error ended the run."""
    df = pd.DataFrame({"x": pd.Series([value, 65], dtype=object)})
    result = echo(df, template)
    assert result.rows["status"][0] == "error"
    assert result.rows["status"][1] == "ok"
    assert pd.Series([result.rows["error"][0]]).str.contains(message).all()
    assert result.exception(0) is not None
    assert isinstance(result.exception(0).__cause__, Exception)
    assert "error:" in repr(result)
    assert "✗" in result._repr_html_()


def test_an_error_message_does_not_quote_a_long_cell_whole() -> None:
    result = echo(pd.DataFrame({"x": ["word " * 10_000]}), "{x:.2f}")
    assert len(result.rows["error"][0]) < 500


def test_half_a_surrogate_pair_is_escaped_in_the_result() -> None:
    """Arrow can't hold it, and one such cell made the whole result unreadable."""
    df = pd.DataFrame({"x": pd.Series(["a\ud800", "b"], dtype=object)})
    result = echo(df, "{x}")
    assert result.data["output"].tolist() == ["a\\ud800", "b"]
    failed = hfnb.run(df, "{x}", hfnb.EchoEngine(answer=str.upper), progress=False)
    assert failed.data["output"].tolist() == ["A\\ud800", "B"]
    assert isinstance(repr(result), str)
