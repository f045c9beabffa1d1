"""How a result is shown, and that what it shows is what it holds."""

import base64
import html.parser
import re
from typing import Any

import pandas as pd
import pytest

import hfnb
from hfnb.errors import OptionError
from hfnb.show import size
from tests.frame.support import echo

SCRIPT = "<script>alert(1)</script>"


class Tags(html.parser.HTMLParser):
    """Collects tags and text, and that each tag that is opened is closed in its place."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_text_of_data_and_model_is_escaped_everywhere() -> None:
    name = "<i>name</i>"
    df = pd.DataFrame({name: [SCRIPT, "bad", None]}, index=[SCRIPT, "<b>", "&amp;"])
    engine = hfnb.EchoEngine(answer=lambda p: SCRIPT + "<b>", fail="bad".__eq__)
    result = hfnb.run(df, "{" + name + "}", engine, into="<u>out</u>", progress=False)
    shown = Tags(result._repr_html_())
    assert not {"script", "b", "i", "u"} & set(shown.seen)
    assert {"table", "tr", "td"} <= set(shown.seen)
    assert shown.text.count(SCRIPT) == 3
    for text in (name, "<u>out</u>", "&amp;", "column '<i>name</i>' is null"):
        assert text in shown.text


def test_an_error_message_in_html_is_escaped() -> None:
    df = pd.DataFrame({"x": [SCRIPT.encode()]})
    shown = Tags(echo(df, "{x:d}")._repr_html_())
    assert "script" not in shown.seen
    assert SCRIPT in shown.text


def test_a_result_has_text_and_html_for_a_notebook() -> None:
    result = echo(pd.DataFrame({"x": ["a"]}), "{x}")
    bundle = result._repr_mimebundle_(include=None, exclude=None)
    assert bundle == {"text/plain": repr(result), "text/html": result._repr_html_()}


def test_the_text_shows_rows_and_figures() -> None:
    df = pd.DataFrame({"x": ["a", "bad"]})
    result = hfnb.run(df, "{x}", hfnb.EchoEngine(fail="bad".__eq__), progress=False)
    lines = repr(result).splitlines()
    assert lines[0].split() == ["x", "output", "latency"]
    assert lines[1].split()[:3] == ["0", "a", "a"]
    assert lines[2].split()[:4] == ["1", "bad", "error:", "The"]
    assert [line.split()[0] for line in lines[3:]] == [
        "rows",
        "time",
        "latency",
        "memory",
        "tokens",
        "ran",
    ]
    assert "2: 1 ok, 1 failed" in lines[3]


def test_long_cells_are_cut_where_they_are_shown_only() -> None:
    long = "word " * 100_000
    df = pd.DataFrame({"x": [long]}, index=[long])
    result = echo(df, "{x}")
    assert len(result._repr_html_()) < 10_000
    assert max(map(len, repr(result).splitlines())) < 300
    assert "…" in repr(result)
    assert "…" in result._repr_html_()
    assert result.data["output"][long] == long


def test_control_characters_do_not_act_on_the_terminal() -> None:
    """Escape codes of a model's text went out raw, and \\r broke the table."""
    result = echo(pd.DataFrame({"x": ["\x1b[2Jred\r\n\ta\u2028b é𐍈"]}), "{x}")
    line = repr(result).splitlines()[1]
    assert line.count("\\x1b[2Jred\\r\\n\\ta\\u2028b é𐍈") == 2


def test_the_first_rows_are_shown_and_the_first_failures_after_them() -> None:
    df = pd.DataFrame({"x": range(1000)})
    engine = hfnb.EchoEngine(fail=lambda prompt: int(prompt) >= 500)
    result = hfnb.run(df, "{x}", engine, progress=False)
    labels = [line.split()[0] for line in repr(result).splitlines()[1:16]]
    assert labels == [str(x) for x in [*range(10), *range(500, 505)]]
    assert "15 of 1,000 rows" in repr(result)
    assert "15 of 1,000 rows" in result._repr_html_()


def test_changing_the_tables_of_a_result_does_not_change_what_it_shows() -> None:
    result = echo(pd.DataFrame({"x": ["a", "b"]}), "{x}")
    before = repr(result), result._repr_html_()
    data, rows = result.data, result.rows
    data["output"] = "changed"
    data.pop("x")
    rows["status"] = "error"
    rows.loc[:, "batch_rows"] = 9
    assert (repr(result), result._repr_html_()) == before
    assert result.errors.empty


def test_errors_have_the_input_columns_beside_them() -> None:
    df = pd.DataFrame({"x": ["a", "bad", "bad"], "n": [1, 2, 3]}, index=["k", "k", "l"])
    result = hfnb.run(df, "{x}", hfnb.EchoEngine(fail="bad".__eq__), progress=False)
    errors = result.errors
    assert errors.columns.tolist() == ["x", "n", *result.rows.columns]
    assert errors.index.tolist() == ["k", "l"]
    assert errors["n"].tolist() == [2, 3]
    assert (errors["status"] == "error").all()
    assert errors["error"].str.contains("told to fail").all()


def test_columns_named_like_the_lines_of_a_result_are_kept_beside_them() -> None:
    """They were dropped from `errors`."""
    df = pd.DataFrame({"error": ["bad"], "status": ["open"], "x": [1]})
    result = hfnb.run(df, "{error} {status}", hfnb.EchoEngine(fail=lambda p: True), progress=False)
    assert result.errors["error_input"].tolist() == ["bad"]
    assert result.errors["status_input"].tolist() == ["open"]
    assert result.errors["status"].tolist() == ["error"]
    assert result.data["status"].tolist() == ["open"]


def test_an_output_may_be_called_like_a_line_of_a_result() -> None:
    result = echo(pd.DataFrame({"x": ["a"]}), "{x}", into="status")
    assert result.data["status"].tolist() == ["a"]
    assert result.rows["status"].tolist() == ["ok"]
    assert result.errors.empty


def test_a_result_without_failures_has_no_errors() -> None:
    errors = echo(pd.DataFrame({"x": ["a"]}), "{x}").errors
    assert len(errors) == 0
    assert "error" in errors.columns


@pytest.mark.parametrize("label", [None, ("a", None), float("nan"), pd.NaT, b"bytes", 1.0])
def test_labels_of_any_kind_are_shown(label: Any) -> None:
    index = pd.Index([label], dtype=object, tupleize_cols=False)
    result = echo(pd.DataFrame({"x": ["word"]}, index=index), "{x}")
    assert "word" in repr(result)
    assert "word" in Tags(result._repr_html_()).text


def test_stats_as_a_dictionary_hold_every_figure() -> None:
    stats = echo(pd.DataFrame({"x": ["a"]}), "{x}").stats
    shown = stats.as_dict()
    assert shown["rows"] == 1
    assert shown["engine"] == "echo"
    assert shown["peak_device_bytes"] is None
    assert shown["wall_s"] > 0
    assert shown["rows_per_s"] == pytest.approx(1 / shown["wall_s"])


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (3_400_000, "3.4 MB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (2_150_000_000, "2.15 GB"),
        (1_234_000_000_000, "1,234 GB"),
    ],
)
def test_sizes_read_well(count: int, text: str) -> None:
    assert size(count) == text


def test_a_run_is_a_picture_that_says_in_words_what_it_shows() -> None:
    result = echo(pd.DataFrame({"x": ["a", "b"]}), "{x}")

    picture = result.plot()

    assert re.match(
        r"Latency and memory of the run\. Rows: half within .+, all within .+\. "
        r"Memory: at most .+ over .+\.",
        picture.alt,
    )
    bundle, about = picture._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert about["image/png"]["alt"] == bundle["text/plain"] == picture.alt
    assert "currentColor" in bundle["text/html"]


def test_a_run_that_computed_nothing_has_no_picture_and_says_so() -> None:
    result = echo(pd.DataFrame({"x": [None, None]}), "{x}")
    with pytest.raises(OptionError, match="no row of this run was computed"):
        result.plot()
