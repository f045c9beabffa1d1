"""LangChain prompts and chains as the prompt of a run."""

import operator
from typing import Any

import pandas as pd
import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.output_parsers import JsonOutputParser, StrOutputParser
from langchain_core.prompts import (
    ChatPromptTemplate,
    FewShotPromptTemplate,
    MessagesPlaceholder,
    PromptTemplate,
)
from langchain_core.runnables import RunnableLambda, RunnablePassthrough

import hfnb
from hfnb.errors import OptionError, TemplateError
from tests.frame.support import Recorder, echo, echo_chain, said

DF = pd.DataFrame({"i": [1, 72], "text": ["one", "two"]})
PROMPT = PromptTemplate.from_template("n {i}")


def model(answer: Any = None, **options: Any) -> hfnb.HuggingFacePipeline:
    return hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine(answer=answer), **options)


def test_a_prompt_templates_variables_are_columns() -> None:
    prompt = PromptTemplate.from_template("{text}: {i:03d} {i!r}")
    assert echo(DF, prompt).data["output"].tolist() == ["one: 001 1", "two: 072 72"]


def test_a_partial_variable_is_no_column() -> None:
    prompt = PromptTemplate.from_template("{tone}: {text}").partial(tone="kindly")
    assert echo(DF, prompt).data["output"].tolist() == ["kindly: one", "kindly: two"]


def test_a_few_shot_template_is_a_prompt() -> None:
    prompt = FewShotPromptTemplate(
        examples=[{"q": "0", "a": "zero"}],
        example_prompt=PromptTemplate.from_template("{q}={a}"),
        suffix="{i}=",
        input_variables=["i"],
    )
    assert echo(DF, prompt).data["output"].tolist() == ["0=zero\n\n1=", "0=zero\n\n72="]


def test_braces_in_values_are_data_for_langchain_too() -> None:
    df = pd.DataFrame({"x": ["{y} {} {{"]})
    assert echo(df, PromptTemplate.from_template("<{x}>")).data["output"][0] == "<{y} {} {{>"


@pytest.mark.parametrize("nulls", ["skip", "empty"])
def test_a_null_is_the_same_in_a_langchain_prompt_as_in_text(nulls: Any) -> None:
    """Rendered as empty text, a null failed under a format specification."""
    df = pd.DataFrame({"i": [None, 1.0], "x": ["a", "b"]})
    text = "{x} {i:.1f} {i} {i!r} {i!s}"
    ours = echo(df, text, nulls=nulls)
    theirs = echo(df, PromptTemplate.from_template(text), nulls=nulls)
    pd.testing.assert_frame_equal(theirs.data, ours.data)
    assert theirs.rows["error"].equals(ours.rows["error"])
    assert ours.rows["status"].tolist() == ["skipped" if nulls == "skip" else "ok", "ok"]


@pytest.mark.parametrize(
    ("template_format", "text"),
    [
        ("jinja2", "{% if flag %}yes{% else %}no{% endif %}{% for a in l %}[{{ a }}]{% endfor %}"),
        ("mustache", "{{#flag}}yes{{/flag}}{{^flag}}no{{/flag}}{{#l}}[{{.}}]{{/l}}"),
    ],
)
def test_templates_with_logic_get_values_that_they_can_reason_about(
    template_format: Any, text: str
) -> None:
    """They got text: False was true, and a list was its letters."""
    df = pd.DataFrame({"flag": [True, False], "l": [["p", "q"], []]})
    prompt = PromptTemplate.from_template(text, template_format=template_format)
    assert echo(df, prompt).data["output"].tolist() == ["yes[p][q]", "no"]
    chat = ChatPromptTemplate.from_messages([("human", text)], template_format=template_format)
    assert echo(df, chat).data["output"].tolist() == ["yes[p][q]", "no"]


@pytest.mark.parametrize(
    ("template_format", "text"), [("jinja2", "{{ n }} {{ d }}"), ("mustache", "{{n}} {{d}}")]
)
def test_templates_with_logic_render_numbers_and_dates_like_all_others(
    template_format: Any, text: str
) -> None:
    df = pd.DataFrame({"n": [72.0, 2.5], "d": pd.to_datetime(["2024-03-01"] * 2)})
    prompt = PromptTemplate.from_template(text, template_format=template_format)
    assert echo(df, prompt).data["output"].tolist() == ["72 2024-03-01", "2.5 2024-03-01"]


def test_a_chat_prompts_messages_reach_the_engine() -> None:
    prompt = ChatPromptTemplate.from_messages(
        [("system", "Be kind."), ("human", "{text}?"), ("ai", "Hm."), ("human", "{i}!")]
    )
    engine = Recorder()
    result = hfnb.run(DF, prompt, engine, progress=False)
    assert said(engine.asked[1]) == [
        ("system", "Be kind."),
        ("user", "two?"),
        ("assistant", "Hm."),
        ("user", "72!"),
    ]
    assert {type(text) for _, text in said(engine.asked[0])} == {str}
    assert result.stats.chat


def test_a_system_message_stands_in_front_of_a_chat_prompts_own_messages() -> None:
    """It was dropped."""
    engine = Recorder()
    prompt = ChatPromptTemplate.from_messages([("human", "{text}")])
    hfnb.run(DF, prompt, engine, chat=True, system="Be kind.", progress=False)
    assert said(engine.asked[0]) == [("system", "Be kind."), ("user", "one")]


def test_a_column_of_messages_fills_a_placeholder() -> None:
    df = pd.DataFrame({"history": [[("human", "hi"), AIMessage("ho")], []], "x": ["a", "b"]})
    prompt = ChatPromptTemplate.from_messages([MessagesPlaceholder("history"), ("human", "{x}")])
    engine = Recorder()
    result = hfnb.run(df, prompt, engine, progress=False)
    assert result.stats.ok == 2
    assert said(engine.asked[0]) == [("user", "hi"), ("assistant", "ho"), ("user", "a")]
    assert said(engine.asked[1]) == [("user", "b")]


def test_a_template_that_fails_fails_its_row() -> None:
    df = pd.DataFrame({"x": ["a", 5]})
    result = echo(df, PromptTemplate.from_template("{x:d}"))
    assert result.rows["status"].tolist() == ["error", "ok"]
    assert result.rows["error"][0].startswith("The prompt failed: ValueError")
    assert isinstance(result.exception(0).__cause__, ValueError)


@pytest.mark.parametrize(
    "prompt",
    [
        PromptTemplate.from_template("{nope}"),
        ChatPromptTemplate.from_template("{nope}"),
        PromptTemplate.from_template("{nope}") | model(),
    ],
)
def test_a_langchain_prompts_unknown_column_is_an_error(prompt: Any) -> None:
    with pytest.raises(TemplateError, match="no column 'nope'"):
        hfnb.run(DF, prompt, progress=False)


@pytest.mark.parametrize("kind", [PromptTemplate, ChatPromptTemplate])
def test_a_langchain_prompt_without_a_variable_is_an_error(kind: Any) -> None:
    with pytest.raises(TemplateError, match="has no variable"):
        echo(DF, kind.from_template("no column"))


def test_a_chain_runs_its_own_model_and_parser() -> None:
    llm = model(lambda prompt: f"{prompt}! more")
    chain = PROMPT | llm.bind(stop=["!"]) | StrOutputParser()
    result = echo_chain(DF, chain, into="said")
    assert result.data["said"].tolist() == ["n 1", "n 72"]
    assert result.data["said"].dtype == "string"
    assert result.rows["finish_reason"].tolist() == ["stop", "stop"]


def test_options_of_the_run_win_over_those_bound_in_the_chain() -> None:
    engine = Recorder()
    llm = hfnb.HuggingFacePipeline(engine=engine, pipeline_kwargs={"max_new_tokens": 1})
    echo_chain(DF, PROMPT | llm.bind(max_new_tokens=2, stop=["a"]), stop=["b"])
    assert engine.generation.get("max_new_tokens") == 2
    assert engine.generation.stop == ("b",)


@pytest.mark.parametrize("bound", [{"skip_prompt": True}, {"return_full_text": False}])
def test_asking_for_the_new_text_alone_is_what_a_run_does_anyway(bound: dict[str, Any]) -> None:
    """`prompt | llm.bind(skip_prompt=True)` stands in LangChain's own documentation."""
    chain = PROMPT | model(lambda p: "new").bind(**bound)
    assert echo_chain(DF, chain).data["output"].tolist() == ["new", "new"]


def test_pipeline_kwargs_bound_in_a_chain_are_generation_options() -> None:
    chain = PROMPT | model().bind(pipeline_kwargs={"max_new_tokens": 1})
    assert echo_chain(DF, chain).data["output"].tolist() == ["n", "n"]


def test_an_unknown_option_bound_in_a_chain_is_an_error() -> None:
    with pytest.raises(OptionError, match="Did you mean 'max_new_tokens'"):
        echo_chain(DF, PROMPT | model().bind(max_new_token=1))


@pytest.mark.parametrize(
    "chain",
    [
        (PROMPT | model() | StrOutputParser()).with_config(tags=["t"]),
        PROMPT.with_config(tags=["t"]) | model().with_config(tags=["t"]) | StrOutputParser(),
        PROMPT | (model() | StrOutputParser()).with_config(run_name="n"),
        (PROMPT | model().bind(stop=["x"]).with_config(tags=["t"])).with_config(tags=["u"]),
    ],
)
def test_a_chain_with_a_configuration_is_a_chain(chain: Any) -> None:
    """`with_config` hid the chain, and the model in it."""
    assert echo_chain(DF, chain).data["output"].tolist() == ["n 1", "n 72"]


def test_options_bound_to_a_whole_chain_are_an_error_that_says_where_they_belong() -> None:
    chain = (PROMPT | model()).bind(stop=["x"])
    with pytest.raises(TemplateError, match=r"prompt \| llm\.bind\(stop=\.\.\.\)"):
        echo_chain(DF, chain)


def test_a_json_parser_gives_objects_and_fails_its_row_alone() -> None:
    llm = model(lambda prompt: '{"a": 1}' if prompt == "n 1" else "no json")
    result = echo_chain(DF, PROMPT | llm | JsonOutputParser())
    assert result.data["output"].dtype == object
    assert result.data["output"].tolist() == [{"a": 1}, None]
    assert result.rows["status"].tolist() == ["ok", "error"]
    assert result.rows["error"][1].startswith("The chain failed on the model's text 'no json'")
    assert result.exception(1).__cause__ is not None
    assert "a: 1" in repr(result)


@pytest.mark.parametrize("value", [None, [1, 2], {"a": [1]}, 5, (1,), pd.Series([1, 2]), pd.NA])
def test_a_parser_may_return_anything(value: Any) -> None:
    chain = PROMPT | model() | RunnableLambda(lambda text: value if text == "n 1" else text)
    result = echo_chain(DF, chain)
    assert result.rows["status"].tolist() == ["ok", "ok"]
    outputs = result.data["output"].tolist()
    assert outputs[0] is (pd.NA if value is None else value)
    assert outputs[1] == "n 72"
    assert isinstance(repr(result) + result._repr_html_(), str)


def test_a_failing_parser_is_raised_where_that_is_asked_for() -> None:
    chain = PROMPT | model() | JsonOutputParser()
    with pytest.raises(hfnb.HfnbError, match="The chain failed") as caught:
        echo_chain(DF, chain, on_error="raise")
    assert caught.value.result.rows["status"].tolist() == ["error", "cancelled"]


def test_a_function_in_front_gets_the_rows_values() -> None:
    """It got text, and `72 * 2` was '7272'."""

    def doubled(row: Any) -> dict[str, Any]:
        return {"i": row["i"] * 2}

    result = echo_chain(DF, RunnableLambda(doubled) | PROMPT | model())
    assert result.data["output"].tolist() == ["n 2", "n 144"]


def test_assigned_values_join_the_columns() -> None:
    chain = (
        RunnablePassthrough.assign(twice=lambda row: row["i"] * 2)
        | PromptTemplate.from_template("{i} {twice}")
        | model()
    )
    df = DF.assign(i=[1.0, 72.0])
    assert echo_chain(df, chain).data["output"].tolist() == ["1 2", "72 144"]


def test_a_dictionary_in_front_renames_columns() -> None:
    chain = {"i": operator.itemgetter("text")} | PROMPT | model()
    assert echo_chain(DF, chain).data["output"].tolist() == ["n one", "n two"]


def test_a_function_between_prompt_and_model_is_kept() -> None:
    chain = PROMPT | (lambda value: value.to_string().upper()) | model()
    assert echo_chain(DF, chain).data["output"].tolist() == ["N 1", "N 72"]


def test_a_function_may_make_the_messages() -> None:
    engine = Recorder()
    llm = hfnb.HuggingFacePipeline(engine=engine)
    echo_chain(DF, PROMPT | (lambda value: [HumanMessage(value.to_string())]) | llm)
    assert said(engine.asked[0]) == [("user", "n 1")]


def test_a_step_that_fails_before_the_model_fails_its_row() -> None:
    def refuse_one(value: Any) -> Any:
        if value.to_string() == "n 1":
            raise KeyError("one")
        return value

    result = echo_chain(DF, PROMPT | refuse_one | model())
    assert result.rows["status"].tolist() == ["error", "ok"]
    assert "KeyError: 'one'" in result.rows["error"][0]


def test_a_step_that_makes_no_text_fails_its_row() -> None:
    result = echo_chain(DF, PROMPT | (lambda value: 5) | model())
    assert result.rows["error"][0].endswith("a model takes text or messages, not int")


def test_a_chat_prompt_in_a_chain_sends_messages() -> None:
    engine = Recorder()
    chain = ChatPromptTemplate.from_template("{i}") | hfnb.HuggingFacePipeline(engine=engine)
    echo_chain(DF, chain)
    assert [said(each) for each in engine.asked] == [[("user", "1")], [("user", "72")]]


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        (PROMPT | StrOutputParser(), "this one holds 0"),
        (PROMPT | model() | model(), "this one holds 2"),
        (PROMPT | model().with_retry(), "with_retry or with_fallbacks is not seen"),
        (model() | StrOutputParser(), "no prompt before its model"),
        (RunnablePassthrough() | model(), "does not say which columns"),
    ],
)
def test_a_chain_of_another_shape_is_a_clear_error(chain: Any, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        echo_chain(DF, chain)


def test_a_chain_brings_its_own_model() -> None:
    with pytest.raises(OptionError, match="leave llm out"):
        hfnb.run(DF, PROMPT | model(), hfnb.EchoEngine(), progress=False)


def test_a_bare_model_is_no_prompt() -> None:
    with pytest.raises(TemplateError, match="not HuggingFacePipeline"):
        hfnb.run(DF, model(), progress=False)
