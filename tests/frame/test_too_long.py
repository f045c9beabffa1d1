"""Prompts that are too long: an error of their row, shortened in a column's value, or skipped."""

import pickle
from typing import Any

import pandas as pd
import pytest
from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

import hfnb
from hfnb.errors import OptionError, PromptTooLongError
from tests.frame.support import Recorder, said

TEMPLATE = "Read this: {text} -- What is it about?"
DF = pd.DataFrame({"text": ["short", " ".join(f"w{i}" for i in range(300)), "also short"]})


def run(prompt: Any = TEMPLATE, df: pd.DataFrame = DF, **options: Any) -> Any:
    engine = Recorder(context_length=60)
    result = hfnb.run(df, prompt, engine, **{"progress": False, "max_new_tokens": 20, **options})
    return result, engine


def test_a_prompt_too_long_is_an_error_of_its_row() -> None:
    result, _ = run()
    assert result.rows["status"].tolist() == ["ok", "error", "ok"]
    error = result.exception(1)
    assert isinstance(error, PromptTooLongError)
    assert "pass too_long='truncate' (in a cell: --too-long truncate)" in str(error)
    assert "truncation=" not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert result.rows["error"][1].endswith(str(error))


def test_the_value_is_shortened_and_never_the_template() -> None:
    result, engine = run(too_long="truncate")
    assert result.rows["status"].tolist() == ["ok", "ok", "ok"]
    prompt = engine.asked[1].prompt
    assert prompt.startswith("Read this: w0 w1")
    assert prompt.endswith("w299 -- What is it about?")
    assert " … " in prompt
    # 40 of 60 tokens are left to the prompt, since the answer may have 20.
    assert 36 <= len(prompt.split()) <= 40
    lost = result.rows["truncated_tokens"].tolist()
    assert lost == [0, 307 - len(prompt.split()), 0]
    assert (result.stats.shortened, result.stats.tokens_lost) == (1, lost[1])
    assert f"1 prompts shortened by {lost[1]}" in str(result.stats)


def test_a_prompt_that_fits_is_left_alone_even_if_its_answer_may_not_reach_its_limit() -> None:
    df = pd.DataFrame({"text": [" ".join("w" * 45)]})
    result, engine = run(df=df, too_long="truncate")
    assert engine.asked[0].prompt == TEMPLATE.format(text=df["text"][0])
    assert result.rows["truncated_tokens"].tolist() == [0]


def test_a_row_too_long_can_be_skipped() -> None:
    result, engine = run(too_long="skip")
    assert result.rows["status"].tolist() == ["ok", "skipped", "ok"]
    assert "307 tokens" in result.rows["error"][1]
    assert [each.row for each in engine.asked] == [0, 2]


def test_the_longest_value_is_shortened_first() -> None:
    df = DF.assign(title="A title")
    _, engine = run("{title}: {text}?", df=df, too_long="truncate")
    assert engine.asked[1].prompt.startswith("A title: w0")


def test_two_long_values_are_both_shortened() -> None:
    df = pd.DataFrame({"a": [" ".join("a" * 100)], "b": [" ".join("b" * 90)]})
    result, engine = run("{a} | {b}", df=df, too_long="truncate")
    assert result.rows["status"].tolist() == ["ok"]
    prompt = engine.asked[0].prompt
    assert len(prompt.split()) <= 40
    assert "b" in prompt


def test_a_template_too_long_by_itself_is_an_error() -> None:
    result, _ = run("{text} " + "long " * 80, too_long="truncate")
    assert set(result.rows["status"]) == {"error"}
    assert "template itself" in result.rows["error"][1]


@pytest.mark.parametrize(
    "prompt",
    [
        PromptTemplate.from_template(TEMPLATE),
        PromptTemplate.from_template(TEMPLATE) | hfnb.HuggingFacePipeline(engine=Recorder()),
    ],
)
def test_langchain_prompts_are_shortened_too(prompt: Any) -> None:
    engine = Recorder(context_length=60)
    if isinstance(prompt, PromptTemplate):
        llm: Any = engine
    else:
        prompt, llm = prompt.first | hfnb.HuggingFacePipeline(engine=engine), None
    result = hfnb.run(DF, prompt, llm, too_long="truncate", max_new_tokens=20, progress=False)
    assert result.stats.ok == 3
    assert result.stats.shortened == 1


def test_messages_are_shortened_in_their_value() -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", TEMPLATE)])
    result, engine = run(prompt, too_long="truncate")
    assert result.stats.ok == 3
    (_, system), (_, user) = said(engine.asked[1])
    assert system == "Be brief."
    assert user.endswith("-- What is it about?")


def test_a_chat_is_measured_with_its_template() -> None:
    llm = hfnb.load("hfnb/numbers-fr", max_new_tokens=8)
    room = llm.engine.info.context_length
    assert room is not None
    df = pd.DataFrame({"i": ["72" + " " * 10_000 + "?"]})
    for options in ({"chat": True}, {"chat": False}):
        prompt = "What is the number {i} in french?"
        result = hfnb.run(df, prompt, llm, too_long="truncate", progress=False, **options)
        assert result.stats.ok == 1
        assert result.rows["prompt_tokens"][0] <= room - 8
        assert result.stats.shortened == 1


def test_an_unknown_choice_is_refused() -> None:
    with pytest.raises(OptionError, match="Did you mean 'truncate'"):
        run(too_long="truncated")
