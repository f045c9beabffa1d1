"""What holds for every frame, whatever is in it."""

import zlib
from typing import Any

import numpy as np
import pandas as pd
import pandas.testing
from hypothesis import given, settings
from hypothesis import strategies as st

import hfnb
from hfnb.frame.cells import text_of

TEXT = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["", "{", "}}", "{x}", "{0}", "🎈𐍈", "\n", "\x00", "a b c", "<b>"]
)
NONE = st.none()
COLUMNS = {
    "object": (TEXT | st.integers() | st.floats() | st.booleans() | st.dates() | NONE, object),
    "lists": (st.lists(st.integers(0, 9) | NONE, max_size=3) | NONE, object),
    "string": (TEXT | NONE, "string"),
    "Int64": (st.integers(-(2**63), 2**63 - 1) | NONE, "Int64"),
    "float64": (st.floats() | st.integers(-99, 99).map(float), "float64"),
    "float32": (st.floats(width=32), "float32"),
    "boolean": (st.booleans() | NONE, "boolean"),
    "category": (TEXT | NONE, "category"),
    "datetime": (
        st.datetimes(pd.Timestamp("1900-01-01"), pd.Timestamp("2100-01-01")) | NONE,
        "datetime64[us]",
    ),
}
INDEXES = {
    "range": lambda size, at: pd.RangeIndex(5, 5 + size),
    "duplicated": lambda size, at: pd.Index(at % 3, dtype="int64"),
    "text": lambda size, at: pd.Index([f"k{each}" for each in at], dtype=object),
    "time": lambda size, at: pd.DatetimeIndex(pd.Timestamp("2024-01-01") + pd.to_timedelta(at)),
    "levels": lambda size, at: pd.MultiIndex.from_arrays([at % 2, at], names=["a", None]),
    "nulls": lambda size, at: pd.Index(np.where(at % 2, at, np.nan)),
}


@st.composite
def frames(draw: Any) -> pd.DataFrame:
    """Frames of 0 to 2,000 rows, whose cells are picked from a few drawn values."""
    size = draw(st.integers(0, 200) | st.integers(0, 2000))
    picks = np.random.default_rng(draw(st.integers(0, 2**32)))
    columns = {}
    for name in ("x", "y z"):
        values, dtype = COLUMNS[draw(st.sampled_from(sorted(COLUMNS)))]
        pool = draw(st.lists(values, min_size=1, max_size=6))
        chosen = [pool[at] for at in picks.integers(0, len(pool), size)]
        columns[name] = pd.Series(chosen, dtype=object).astype(dtype)
    frame = pd.DataFrame(columns)
    index = INDEXES[draw(st.sampled_from(sorted(INDEXES)))]
    frame.index = index(size, picks.permutation(size))
    return frame


def faulty(prompt: str) -> bool:
    return zlib.crc32(prompt.encode()) % 3 == 0


def expected_prompt(x: Any, y: Any) -> str | None:
    if any(not isinstance(each, list) and pd.isna(each) for each in (x, y)):
        return None
    return f"[{text_of(x)}|{text_of(y)}]"


TEMPLATES = st.lists(
    st.sampled_from(["{x}", "{y z}", "{x!r}", "{x:>9}", "{y z!s}", "{{", "}}", "{{x}}", "é🎈"]),
    min_size=1,
    max_size=6,
).map("".join)


@settings(max_examples=40, deadline=None)
@given(frames(), TEMPLATES, st.sampled_from(["skip", "empty"]), st.integers(1, 40))
def test_every_template_gives_each_row_one_status_and_what_it_has_alone(
    df: pd.DataFrame, template: str, nulls: Any, longest: int
) -> None:
    columns = [name for name in ("x", "y z") if f"{{{name}" in template.replace("{{", "")]
    if not columns:
        template, columns = template + "{x}", ["x"]
    engine = hfnb.EchoEngine(fail=faulty, context_length=longest)
    options: Any = {"nulls": nulls, "progress": False}
    result = hfnb.run(df, template, engine, **options)
    pd.testing.assert_index_equal(result.data.index, df.index)
    assert result.rows["status"].isin(["ok", "error", "skipped"]).all()
    assert result.rows["error"].isna().eq(result.rows["status"] == "ok").all()
    assert result.data["output"].notna().eq(result.rows["status"] == "ok").all()
    if nulls == "skip":
        missing = df[columns].isna().any(axis=1)
        assert (result.rows["status"].to_numpy()[missing.to_numpy()] == "skipped").all()
    kept = ["status", "finish_reason", "error", "prompt_tokens", "new_tokens"]
    for at in range(0, len(df), max(1, len(df) // 5)):
        alone = hfnb.run(df.iloc[[at]], template, engine, **options)
        pd.testing.assert_frame_equal(alone.rows[kept], result.rows[kept].iloc[[at]])
        pd.testing.assert_frame_equal(alone.data, result.data.iloc[[at]])


@settings(max_examples=60, deadline=None)
@given(frames(), st.data())
def test_every_row_of_every_frame_is_answered_in_its_place(df: pd.DataFrame, data: Any) -> None:
    engine = hfnb.EchoEngine(fail=faulty)
    before = df.copy(deep=True)
    result = hfnb.run(df, "[{x}|{y z}]", engine, progress=False)

    pd.testing.assert_frame_equal(df, before)
    pd.testing.assert_frame_equal(result.data[["x", "y z"]], before)
    pd.testing.assert_index_equal(result.rows.index, df.index)
    assert result.data["output"].dtype == "string"

    prompts = [expected_prompt(*row) for row in zip(df["x"].array, df["y z"].array, strict=True)]
    statuses = result.rows["status"].tolist()
    assert statuses == [
        "skipped" if each is None else "error" if faulty(each) else "ok" for each in prompts
    ]
    assert result.data["output"].tolist() == [
        pd.NA if each is None or faulty(each) else each for each in prompts
    ]
    assert result.rows["error"].isna().tolist() == [each == "ok" for each in statuses]
    stats = result.stats
    assert stats.rows == stats.ok + stats.failed + stats.skipped == len(df)
    assert [stats.ok, stats.failed, stats.skipped] == [
        statuses.count(each) for each in ("ok", "error", "skipped")
    ]
    assert len(result.errors) == stats.failed
    assert isinstance(repr(result) + result._repr_html_(), str)

    if len(df):
        at = data.draw(st.integers(0, len(df) - 1), label="row run alone")
        alone = hfnb.run(df.iloc[[at]], "[{x}|{y z}]", engine, progress=False)
        kept = ["status", "finish_reason", "error", "prompt_tokens", "new_tokens"]
        pd.testing.assert_frame_equal(alone.rows[kept], result.rows[kept].iloc[[at]])
        pd.testing.assert_frame_equal(alone.data, result.data.iloc[[at]])
