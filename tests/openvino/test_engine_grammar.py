"""Output of a given form with OpenVINO: the grammars that PyTorch's engine takes, in its words."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import jsonschema
import pytest

from hfnb.chat.tools import call_grammar
from hfnb.engines.base import Completion, Request
from hfnb.errors import OptionError
from hfnb.spec import GenerationSpec, Grammar
from tests.needs import require
from tests.openvino.engines import engine

require("openvino")
require("structured")

PROMPTS = ["What is 3 times 4?", "Jo is 3 years old.", "a"]
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 6},
        "age": {"type": "integer", "minimum": 3, "maximum": 99},
        "tags": {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 1, "maxItems": 3},
        "code": {"type": "string", "pattern": "^[A-Zé]{2}\\d?.{0,2}$"},
        "day": {"type": "string", "format": "date"},
    },
    "required": ["name", "age", "tags", "code", "day"],
    "additionalProperties": False,
}


def answers(kind: Any, text: str, **options: Any) -> list[Completion]:
    spec = GenerationSpec.of(**{"max_new_tokens": 120, **options})
    spec = dataclasses.replace(spec, grammar=Grammar(kind, text))
    requests = [Request(row, prompt) for row, prompt in enumerate(PROMPTS)]
    done: Any = engine("tool_caller").generate(requests, spec)
    found = sorted(done, key=lambda each: each.row)
    assert [each.error for each in found] == [None] * len(PROMPTS)
    return found


def test_a_json_schema_is_kept_without_free_white_space() -> None:
    for options in ({}, {"temperature": 1.5, "seed": 2}):
        for each in answers("json_schema", json.dumps(PERSON), **options):
            assert each.text is not None
            jsonschema.validate(json.loads(each.text), PERSON)
            assert each.finish_reason == "eos"
            assert json.dumps(json.loads(each.text), ensure_ascii=False) == each.text


def test_repetitions_without_end_are_taken() -> None:
    """The package writes them ``{0, -1}``, which the xgrammar within GenAI does not read."""
    schema = {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1}
    for each in answers("json_schema", json.dumps(schema), temperature=2.0, seed=1):
        assert each.text is not None
        assert each.text.startswith('["')
    for each in answers("regex", "(yes|no) [0-9]{2,}!", temperature=2.0, seed=1):
        assert each.text is not None
        assert re.fullmatch("(yes|no) [0-9]{2,}!?", each.text)


def test_a_pattern_that_breaks_json_is_refused() -> None:
    schema = {"type": "string", "pattern": 'a"b'}
    with pytest.raises(OptionError, match="quotation mark"):
        answers("json_schema", json.dumps(schema))


@pytest.mark.parametrize(
    ("kind", "text"),
    [("regex", "["), ("ebnf", 'root ::= "a" | nope'), ("json_schema", "{"), ("regex", "(?=a)b")],
)
def test_what_cannot_be_compiled_is_refused_before_any_row(kind: str, text: str) -> None:
    with pytest.raises(OptionError, match="can't be compiled"):
        answers(kind, text)


def test_an_ebnf_is_kept() -> None:
    found = answers("ebnf", 'root ::= "<" [a-c]{2} ">"')
    assert all(re.fullmatch("<[a-c]{2}>", each.text or "") for each in found)


@pytest.mark.parametrize("choice", ["any", "add"])
@pytest.mark.parametrize("written", ["hermes", "llama", "mistral list", "mistral args", "qwen xml"])
def test_forced_tool_calls_are_kept_in_every_form(written: Any, choice: str) -> None:
    parameters = {
        "type": "object",
        "properties": {"a": {"enum": [1, 2]}, "s": {"type": "string", "maxLength": 3}},
        "required": ["a", "s"],
    }
    tools = [
        {"type": "function", "function": {"name": "add", "parameters": parameters}},
        {"type": "function", "function": {"name": "now"}},
    ]
    grammar = call_grammar(tools, choice, written, several=False)
    for each in answers(grammar.kind, grammar.text):
        assert each.finish_reason == "eos"
        assert "add" in (each.text or "") or (choice == "any" and "now" in (each.text or ""))


def test_a_tool_call_may_come_after_reasoning() -> None:
    tools = [{"type": "function", "function": {"name": "now"}}]
    grammar = call_grammar(tools, "any", "hermes", opened=True)
    answers(grammar.kind, grammar.text)


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_a_grammar_and_beams_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="num_beams: leave one of them out"):
        answers("regex", "a", num_beams=2)
