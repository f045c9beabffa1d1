"""What is wrong with the arguments of `hfnb.run` is said before a model is loaded."""

import re
from typing import Any

import pandas as pd
import pytest

import hfnb
from hfnb.errors import OptionError, TemplateError

DF = pd.DataFrame({"question": ["a", None], "answer": [1, 2]})


@pytest.fixture(autouse=True)
def loading_fails_the_test(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*args: object, **options: object) -> None:
        pytest.fail("a model was loaded")

    monkeypatch.setattr("hfnb.loading.load", load)


@pytest.mark.parametrize(
    ("prompt", "options", "error", "message"),
    [
        ("{qestion}", {}, TemplateError, "Did you mean 'question'?"),
        ("none", {}, TemplateError, "has no column"),
        ("{}", {}, TemplateError, "empty {}"),
        ("{0}", {}, TemplateError, "no column '0'"),
        ("{question", {}, TemplateError, "don't fit together"),
        (5, {}, TemplateError, "not int"),
        (None, {}, TemplateError, "not NoneType"),
        (b"{question}", {}, TemplateError, "not bytes"),
        ("{question}", {"into": "answer"}, TemplateError, "overwrite=True"),
        ("{question}", {"into": ""}, OptionError, "into is the name"),
        ("{question}", {"into": None}, OptionError, "into is the name"),
        ("{question}", {"into": ["a"]}, OptionError, "into is the name"),
        ("{question}", {"nulls": "drop"}, OptionError, "'skip', 'empty', 'raise'"),
        ("{question}", {"nulls": "Skip"}, OptionError, "Did you mean 'skip'?"),
        ("{question}", {"nulls": None}, OptionError, "nulls=None is unknown"),
        ("{question}", {"nulls": "raise"}, TemplateError, "1 of 2 rows have a null"),
        ("{question}", {"on_error": "ignore"}, OptionError, "'keep', 'raise'"),
        ("{question}", {"limit": -1}, OptionError, "0 or more; not -1"),
        ("{question}", {"limit": 2.0}, OptionError, "not 2.0"),
        ("{question}", {"limit": True}, OptionError, "not True"),
        ("{question}", {"batch_size": 0}, OptionError, "1 or more; not 0"),
        ("{question}", {"batch_size": "all"}, OptionError, "'auto' or a number"),
        ("{question}", {"progress": "yes"}, OptionError, "progress is True, False"),
        ("{question}", {"progress": None}, OptionError, "progress is True, False"),
        ("{question}", {"chat": "yes"}, OptionError, "chat is True, False or 'auto'"),
        ("{question}", {"chat": 1}, OptionError, "chat is True, False or 'auto'"),
        ("{question}", {"system": 5}, OptionError, "system is the text"),
        ("{question}", {"system": "s", "chat": False}, OptionError, "chat=False"),
        ("{question}", {"max_new_token": 5}, OptionError, "Did you mean 'max_new_tokens'?"),
        ("{question}", {"overwite": True}, OptionError, "Did you mean 'overwrite'?"),
        ("{question}", {"batchsize": 4}, OptionError, "Did you mean 'batch_size'?"),
        ("{question}", {"max_new_tokens": 0}, OptionError, "1 or more; not 0"),
        ("{question}", {"max_new_tokens": -5}, OptionError, "1 or more; not -5"),
        ("{question}", {"max_new_tokens": "10"}, OptionError, "not '10'"),
        ("{question}", {"temperature": -1}, OptionError, "0 or more; not -1"),
        ("{question}", {"stop": [""]}, OptionError, "not empty"),
        ("{question}", {"stop": 5}, OptionError, "stop is a string or a list"),
        ("{question}", {"use_cache": False}, OptionError, "not for callers"),
        (
            "{question}",
            {"num_return_sequences": 2, "temperature": 1.0},
            OptionError,
            "num_return_sequences=1",
        ),
    ],
)
def test_a_wrong_argument_is_found_before_the_model_is_loaded(
    prompt: Any, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    given = {"progress": False, **options}
    with pytest.raises(error, match=re.escape(message)):
        hfnb.run(DF, prompt, "hfnb/numbers-fr", **given)


class FromElsewhere:
    def to_pandas(self) -> None: ...


@pytest.mark.parametrize(
    ("df", "message"),
    [
        ([{"question": "a"}], "Number 0 is dict"),
        ({"question": ["a"]}, "not dict. Convert it with pandas.DataFrame(...)"),
        (pd.Series(["a"]), "series.to_frame('text')"),
        ("file.csv", "There is no file or folder 'file.csv'"),
        (None, "not NoneType"),
        (FromElsewhere(), "Convert it with df.to_pandas()"),
    ],
)
def test_only_a_dataframe_is_a_dataframe(df: Any, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        hfnb.run(df, "{question}", "hfnb/numbers-fr", progress=False)


@pytest.mark.parametrize(
    ("llm", "message"),
    [
        (None, "Which model?"),
        (5, "not int"),
        (object(), "not object"),
        (hfnb.EchoEngine, "not type"),
    ],
)
def test_what_is_no_model_is_said(llm: Any, message: str) -> None:
    with pytest.raises(OptionError, match=re.escape(message)):
        hfnb.run(DF, "{question}", llm, progress=False)


def test_a_column_that_is_named_twice_is_not_clear() -> None:
    df = pd.DataFrame([["a", "b"]], columns=["x", "x"])
    with pytest.raises(TemplateError, match="2 columns named 'x'"):
        hfnb.run(df, "{x}", "hfnb/numbers-fr", progress=False)


def test_an_output_column_that_is_there_twice_is_not_clear() -> None:
    """Both were overwritten."""
    df = pd.DataFrame([["a", "b", "c"]], columns=["x", "y", "y"])
    with pytest.raises(TemplateError, match="several columns named 'y'"):
        hfnb.run(df, "{x}", "hfnb/numbers-fr", into="y", overwrite=True, progress=False)


def test_columns_of_several_levels_are_to_be_flattened_first() -> None:
    df = pd.DataFrame([[1, 2]], columns=pd.MultiIndex.from_tuples([("a", "x"), ("a", "y")]))
    with pytest.raises(TemplateError, match="Flatten them"):
        hfnb.run(df, "{a}", "hfnb/numbers-fr", progress=False)


def test_a_frame_without_columns_has_none_to_offer() -> None:
    with pytest.raises(TemplateError, match="Its columns are none"):
        hfnb.run(pd.DataFrame(index=[0, 1]), "{a}", "hfnb/numbers-fr", progress=False)


def test_a_model_that_gives_several_answers_is_refused_with_the_option_to_pass() -> None:
    llm = hfnb.HuggingFacePipeline(
        engine=hfnb.EchoEngine(),
        pipeline_kwargs={"num_return_sequences": 2, "temperature": 1.0},
    )
    with pytest.raises(OptionError, match="num_return_sequences=1"):
        hfnb.run(DF, "{answer}", llm, progress=False)
    result = hfnb.run(DF, "{answer}", llm, num_return_sequences=1, progress=False)
    assert result.stats.ok == 2


def test_a_system_message_needs_a_chat_template() -> None:
    with pytest.raises(OptionError, match="system needs a chat template"):
        hfnb.run(DF, "{answer}", hfnb.EchoEngine(), system="Be kind.", progress=False)


def test_a_mistake_shows_no_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(OptionError):
        hfnb.run(DF, "{answer}", 5, progress=True)  # type: ignore[arg-type]
    assert capsys.readouterr() == ("", "")
