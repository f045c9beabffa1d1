"""Runs with a schema: typed columns, errors with what came of the answer, journal, retry, parts."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypedDict, get_type_hints

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import hfnb
from hfnb.errors import AnswerError, MissingExtraError, OptionError, TemplateError
from tests.frame.support import Recorder
from tests.needs import require

require("structured")


class Place(TypedDict):
    city: str
    height: float | None


class Review(TypedDict):
    tone: Literal["good", "bad", "mixed"]
    stars: int
    sure: bool
    day: datetime.date
    at: datetime.datetime
    names: list[str]
    place: Place | None


WHOLE = {
    "tone": "good",
    "stars": 4,
    "sure": True,
    "day": "2024-02-29",
    "at": "2024-02-29T12:00:00+02:00",
    "names": ["Ada", "Bo"],
    "place": {"city": "Ulm", "height": 478.5},
}
DF = pd.DataFrame({"x": ["whole", "nulls", "cut", None, "fail"]}, index=[9, 8, 7, 6, 5])
DTYPES = {
    "tone": "category",
    "stars": "Int64",
    "sure": "boolean",
    "day": "datetime64[us]",
    "at": "datetime64[us, UTC]",
    "names": "object",
    "place.city": "string",
    "place.height": "Float64",
}


def answer(prompt: str) -> str:
    if "nulls" in prompt:
        return json.dumps({**WHOLE, "names": [], "place": None})
    return json.dumps(WHOLE)[: 40 if "cut" in prompt else None]


def engine(**options: Any) -> hfnb.EchoEngine:
    return hfnb.EchoEngine(answer, fail=lambda prompt: "fail" in prompt, **options)


def run(schema: Any = Review, df: Any = DF, model: Any = None, **options: Any) -> hfnb.RunResult:
    return hfnb.run(
        df, "{x}", engine() if model is None else model, schema=schema, progress=False, **options
    )


# --- columns ----------------------------------------------------------------------------------


def test_each_field_is_a_column_of_its_type_with_nulls_where_a_row_failed() -> None:
    result = run()
    data = result.data
    assert {name: str(dtype) for name, dtype in data.dtypes.items()} == {"x": "str"} | DTYPES
    assert data["tone"].cat.categories.tolist() == ["good", "bad", "mixed"]
    first = data.loc[9, list(DTYPES)].tolist()
    assert first == [
        "good",
        4,
        True,
        pd.Timestamp("2024-02-29"),
        pd.Timestamp("2024-02-29T10:00Z"),
        ["Ada", "Bo"],
        "Ulm",
        478.5,
    ]
    assert data.loc[8, ["place.city", "place.height"]].isna().all()
    assert data.loc[[7, 6, 5], list(DTYPES)].isna().all(axis=None)
    assert result.rows["status"].tolist() == ["ok", "ok", "error", "skipped", "error"]
    assert list(DF) == ["x"]


def test_nested_fields_stay_objects_by_choice() -> None:
    data = run(nested="objects").data
    assert data.loc[9, "place"] == {"city": "Ulm", "height": 478.5}
    assert data.loc[8, "place"] is None


def test_the_text_is_kept_on_request_also_of_half_an_answer() -> None:
    result = run(raw_text=True, into="said")
    texts = result.data["said_text"].tolist()
    assert texts == [answer("whole"), answer("nulls"), answer("cut"), pd.NA, pd.NA]
    error = result.exception(2)
    assert isinstance(error, AnswerError)
    assert error.text == answer("cut")


@pytest.mark.parametrize(
    ("schema", "text", "dtype", "value"),
    [
        (["good", "bad"], " good", "category", "good"),
        ("[0-9]+", "12", "string", "12"),
        (int, "-12", "Int64", -12),
        (2 * (2**62) - 1, str(2**63 - 1), "Int64", 2**63 - 1),
        (list[float], "[1, 2.5]", "object", [1.0, 2.5]),
        (Literal["a", "ab"], '"ab"', "category", "ab"),
    ],
)
def test_a_schema_of_one_value_is_one_column(
    schema: Any, text: str, dtype: str, value: Any
) -> None:
    schema = int if isinstance(schema, int) else schema
    model = hfnb.EchoEngine(lambda prompt: text)
    data = run(schema, DF[:1], model, into="it").data
    assert list(data) == ["x", "it"]
    assert str(data["it"].dtype) == dtype
    assert data["it"].tolist() == [value]


def test_no_rows_have_the_columns_too() -> None:
    data = run(df=DF[:0]).data
    assert {name: str(dtype) for name, dtype in data.dtypes.items()} == {"x": "str"} | DTYPES


def test_the_result_shows_the_columns() -> None:
    result = run()
    for text in (repr(result), result._repr_html_()):
        assert "place.city" in text
        assert "Ulm" in text
        assert "cut off" not in text  # the echo engine ended by itself
        assert "error: The answer is no JSON" in text.replace("</strong>", "").replace("✗ ", "")


def test_polars_and_arrow_tables_get_typed_columns() -> None:
    frame = run(df=pl.DataFrame({"x": ["whole", "nulls", "cut"]})).data
    assert isinstance(frame, pl.DataFrame)
    assert frame["tone"].to_list() == ["good", "good", None]
    assert frame.schema["stars"] == pl.Int64
    assert frame.schema["names"] == pl.List(pl.String)
    assert frame["names"].to_list() == [["Ada", "Bo"], [], None]
    table = run(df=pa.table({"x": ["whole"]}), nested="objects").data
    assert isinstance(table, pa.Table)
    assert table.schema.field("at").type == pa.timestamp("us", "UTC")
    assert json.loads(table.column("place")[0].as_py()) == WHOLE["place"]


# --- probabilities ----------------------------------------------------------------------------


def test_probabilities_are_columns_and_the_likeliest_label_is_the_answer() -> None:
    text = json.dumps({"probabilities": {"good": 0.25, "bad": 0.75}})
    model = Recorder(lambda prompt: text)
    data = run(["good", "bad"], DF[:1], model, into="tone", probabilities=True).data
    assert data.loc[9, ["tone", "tone.good", "tone.bad"]].tolist() == ["bad", 0.25, 0.75]
    assert model.generation.grammar.kind == "choice"


@pytest.mark.parametrize("schema", [Review, "[0-9]+", int])
def test_probabilities_are_for_labels(schema: Any) -> None:
    with pytest.raises(OptionError, match="a choice among labels"):
        run(schema, probabilities=True)


def test_probabilities_and_sampling_exclude_each_other() -> None:
    with pytest.raises(OptionError, match=r"temperature=0\.7 draws one"):
        run(["a", "b"], probabilities=True, temperature=0.7)


# --- the prompt -------------------------------------------------------------------------------


def test_the_prompt_knows_the_schema_only_when_asked() -> None:
    model = Recorder(lambda prompt: "a")
    run(["a", "b"], DF[:1], model)
    assert model.asked[0].prompt == "whole"
    run(["a", "b"], DF[:1], model, describe_schema=True)
    assert str(model.asked[0].prompt).endswith("'a', 'b'\n\nwhole")
    run(["a", "b"], DF[:1], model, describe_schema=True, chat=True, system="Be brief.")
    prompt: Any = model.asked[0].prompt
    assert [each.role for each in prompt.messages] == ["system", "user"]
    assert prompt.messages[-1].content.startswith("whole\n\nAnswer with one of these")


# --- what is wrong is found first -------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "why"),
    [
        ({"schema": {"x": int}}, TemplateError, "has a column 'x' already"),
        ({"schema": int, "into": "x"}, TemplateError, "Rename the output"),
        ({"schema": {"not": {}}}, OptionError, "can't be held to: 'not'"),
        ({"schema": {"a": "float"}}, OptionError, "without quotes"),
        ({"schema": {"output_text": str}, "raw_text": True}, OptionError, "has a field of that"),
        ({"schema": int, "into": ""}, OptionError, "into is the name"),
        ({"schema": int, "nested": "columsn"}, OptionError, "nested='columsn' is unknown"),
        ({"schema": int, "raw_text": "yes"}, OptionError, "raw_text is True or False"),
        ({"schema": None, "raw_text": True}, OptionError, "raw_text is about a schema"),
        ({"schema": int, "shema": int}, OptionError, "Did you mean 'schema'"),
        ({"schema": {"a": "b"}}, OptionError, "The field 'a' has the text 'b'"),
        ({"schema": 'a"b(?=c)'}, OptionError, "looks around"),
    ],
    ids=str,
)
def test_bad_schemas_are_found_before_a_model_is_looked_for(
    options: dict[str, Any], error: type[Exception], why: str
) -> None:
    with pytest.raises(error, match=why):
        hfnb.run(DF, "{x}", "no/such-model", progress=False, **options)


def test_a_chain_with_a_parser_and_a_schema_exclude_each_other() -> None:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import PromptTemplate

    llm = hfnb.HuggingFacePipeline(engine=engine())
    chain = PromptTemplate.from_template("{x}") | llm
    assert hfnb.run(DF, chain, schema=Review, progress=False).data.loc[9, "stars"] == 4
    with pytest.raises(OptionError, match="leave one of them out"):
        hfnb.run(DF, chain | StrOutputParser(), schema=Review, progress=False)


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("xgrammar", "jsonschema"):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, package, None)
            with pytest.raises(MissingExtraError, match=r'pip install "hfnb\[structured\]"'):
                run(int)


def test_overwrite_replaces_the_columns() -> None:
    df = DF.assign(stars="old", y=1)
    data = run({"stars": int}, df, hfnb.EchoEngine(lambda _: '{"stars": 3}'), overwrite=True).data
    assert list(data) == ["x", "stars", "y"]
    assert str(data["stars"].dtype) == "Int64"


# --- cut off, retry, journal ------------------------------------------------------------------

CUT = "one two three four five"


def words(limit: int | None = None, **options: Any) -> hfnb.EchoEngine:
    """Return an engine whose answers have five words, unless max_new_tokens cuts them off."""
    return hfnb.EchoEngine(lambda prompt: f'["{CUT}"]', **options)


def test_what_max_new_tokens_cuts_off_is_an_error_that_retry_mends() -> None:
    model = words()
    result = run(list[str], DF[:3], model, max_new_tokens=3, raw_text=True)
    assert result.rows["status"].tolist() == ["error"] * 3
    assert result.rows["finish_reason"].tolist() == ["length"] * 3
    assert result.rows["new_tokens"].tolist() == [3] * 3
    assert result.data["output_text"].tolist() == ['["one two three'] * 3
    assert "cut off by max_new_tokens" in str(result.exception(0))
    assert result.stats.cut_off == 0
    assert result.stats.failed == 3
    mended = result.retry("truncated", max_new_tokens=9, progress=False)
    assert mended.data["output"].tolist() == [[CUT]] * 3
    assert mended.rows["finish_reason"].tolist() == ["eos"] * 3


def test_an_answer_that_ends_with_its_last_token_is_whole() -> None:
    result = run(list[str], DF[:1], words(), max_new_tokens=5)
    assert result.data["output"].tolist() == [[CUT]]
    assert result.rows["finish_reason"].tolist() == ["eos"]


def test_a_number_that_ends_with_its_last_token_may_not_be_whole() -> None:
    model = hfnb.EchoEngine(lambda prompt: "12 34")
    result = run(int, DF[:1], model, max_new_tokens=1)
    assert "cut off" in str(result.exception(0))


def test_the_journal_goes_by_the_schema() -> None:
    model = engine(fingerprint="one")
    run(df=DF[:2], model=model)
    assert model.calls == 2
    again = run(df=DF[:2], model=model, nested="objects", raw_text=True)
    assert model.calls == 2
    assert again.rows["source"].tolist() == ["journal", "journal"]
    assert again.data.loc[9, "place"] == WHOLE["place"]
    run({**get_type_hints(Review), "stars": float}, DF[:2], model)
    assert model.calls == 4
    hfnb.run(DF[:2], "{x}", model, progress=False)
    assert model.calls == 6


def test_half_an_answer_is_not_computed_again_without_more_tokens() -> None:
    model = words(fingerprint="one")
    run(list[str], DF[:1], model, max_new_tokens=3)
    again = run(list[str], DF[:1], model, max_new_tokens=3)
    assert model.calls == 1
    assert again.rows["status"].tolist() == ["error"]


def test_duplicates_have_lists_of_their_own() -> None:
    model = words()
    data = run(list[str], pd.DataFrame({"x": ["a", "a"]}), model).data
    assert model.calls == 1
    data.loc[0, "output"].append("more")
    assert data["output"].tolist() == [[CUT, "more"], [CUT]]


def test_the_first_error_is_raised_on_request() -> None:
    with pytest.raises(AnswerError, match="no JSON"):
        run(df=DF[2:], on_error="raise")


def test_the_manifest_has_the_schema() -> None:
    manifest = run(df=DF[:1]).manifest
    assert manifest["schema"]["schema"]["title"] == "Review"
    assert json.loads(manifest["options"]["grammar"][1])["required"] == [*Review.__annotations__]


def test_a_preview_takes_a_schema() -> None:
    look = hfnb.preview(DF, "{x}", engine(), schema=Review, budget_s=0, progress=False)
    assert '"city": "Ulm"' in repr(look)
    assert look.outputs.data["stars"].dropna().tolist()[0] == 4


# --- parts ------------------------------------------------------------------------------------


def test_parts_have_the_columns_with_one_type(tmp_path: Path) -> None:
    frames = [DF.reset_index(drop=True), pd.DataFrame({"x": ["cut", "cut", "whole"]})]

    def parts(**options: Any) -> hfnb.PartsResult:
        return hfnb.run(
            iter(frames),
            "{x}",
            engine(),
            out=tmp_path / "out",
            schema=Review,
            part_rows=4,
            raw_text=True,
            progress=False,
            journal=False,
            **options,
        )

    result = parts()
    assert len(result.files) == 2
    data = result.to_pandas()
    expected = {"x": data["x"].dtype, **DTYPES, "output_text": "string"}
    assert {name: str(dtype) for name, dtype in data.dtypes.items()} == {
        name: str(dtype) for name, dtype in expected.items()
    }
    assert data["tone"].cat.categories.tolist() == ["good", "bad", "mixed"]
    assert data["stars"].isna().tolist() == [False, False, True, True, True, True, True, False]
    assert np.asarray(data["names"][7]).tolist() == ["Ada", "Bo"]
    assert data["output_text"][2] == answer("cut")
    assert len(result.errors) == 4
    assert list(result.errors)[:1] == ["x"]
    assert "place.city" in repr(result)
    assert parts().to_pandas().equals(data)
    with pytest.raises(OptionError, match="schema was"):
        parts(nested="objects")


# --- real models ------------------------------------------------------------------------------

FIVE = {"tone": ["good", "bad"], "stars": int, "sure": bool, "day": datetime.date, "n": [*"abc"]}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """A tiny model's matrices are too small to share between threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def load(name: str, backend: str, **options: Any) -> Any:
    if backend == "pytorch":
        return hfnb.load(f"hfnb/{name}", **options)
    require("openvino")
    from tests.openvino.engines import exported

    return hfnb.load(exported(name), backend=backend, **options)


@pytest.mark.parametrize("backend", ["pytorch", "openvino"])
@pytest.mark.usefixtures("one_thread")
def test_a_models_answers_are_of_the_schema(backend: str) -> None:
    llm = load("numbers-fr", backend, max_new_tokens=120)
    df = pd.DataFrame({"i": range(6)})
    ask = "What is the number {i} in french?"
    options: dict[str, Any] = {"progress": False, "journal": False}
    data = hfnb.run(df, ask, llm, schema=FIVE, **options).data
    assert data[list(FIVE)].notna().all(axis=None)
    result = hfnb.run(df, ask, llm, schema=FIVE, max_new_tokens=9, **options)
    assert set(result.rows["finish_reason"]) == {"length"}
    mended = result.retry("truncated", max_new_tokens=120, progress=False)
    assert mended.data[list(FIVE)].equals(data[list(FIVE)])
    words = ["zéro", "un", "deux", "trois", "quatre", "cinq"]
    assert hfnb.run(df, ask, llm, schema=words, **options).data["output"].tolist() == words
    likely = hfnb.run(df, ask, llm, schema=words, probabilities=True, **options).data
    assert likely["output"].tolist() == words
    shares = likely[[f"output.{word}" for word in words]].to_numpy(dtype=float)
    assert (np.diag(shares) > 0.9).all()
    assert np.allclose(shares.sum(axis=1), 1)


@pytest.mark.parametrize("backend", ["pytorch", "openvino"])
@pytest.mark.usefixtures("one_thread")
def test_an_encoder_decoder_chooses_among_labels(backend: str) -> None:
    llm = load("tiny-t5", backend, task="translation_en_to_fr")
    df = pd.DataFrame({"x": ["one", "two"]})
    for options in ({}, {"probabilities": True}):
        result = hfnb.run(
            df, "{x}", llm, schema=["un", "deux"], progress=False, journal=False, **options
        )
        assert result.data["output"].tolist() == ["un", "deux"]
