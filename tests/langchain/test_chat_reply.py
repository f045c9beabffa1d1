"""The parser of answers: however the text is cut into pieces, the same comes out."""

from __future__ import annotations

import json
import time
from itertools import groupby, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hfnb.chat.reply import ReplyParser, parse_reply
from hfnb.chat.tool_calls import Piece

TOOLS = {"add", "f"}
ADD = '{"name": "add", "arguments": {"a": 1}}'
ADD_LLAMA = '{"name": "add", "parameters": {"a": 1}}'
CALL = ("call", '{"a": 1}', "add")
EMPTY = ("call", "{}", "f")

Simple = tuple[str, ...]

REPLIES: list[tuple[str, list[Simple]]] = [
    ("hello", [("content", "hello")]),
    ("  hi \n", [("content", "  hi \n")]),
    ("   ", [("content", "   ")]),
    # reasoning
    ("<think>a b</think>\n\nthe answer", [("reasoning", "a b"), ("content", "the answer")]),
    ("\n<think>\na\n</think>\nb", [("reasoning", "a"), ("content", "b")]),
    ("<think>cut off", [("reasoning", "cut off")]),
    ("<think>\n\n</think>\n\nb", [("content", "b")]),
    ("a <think>b</think>", [("content", "a <think>b</think>")]),
    (f"<think>x</think>\n<tool_call>{ADD}</tool_call>", [("reasoning", "x"), CALL]),
    (
        f"<think><tool_call>{ADD}</tool_call></think>b",
        [("reasoning", f"<tool_call>{ADD}</tool_call>"), ("content", "b")],
    ),
    # Hermes and Qwen
    (f"<tool_call>\n{ADD}\n</tool_call>", [CALL]),
    (
        f'Let me. \n<tool_call>\n{ADD}\n</tool_call>\n<tool_call>{{"name":"f"}}</tool_call>\n',
        [("content", "Let me."), CALL, EMPTY],
    ),
    (f"<tool_call>{ADD}</tool_call>\n\nDone. ", [CALL, ("content", "Done.")]),
    (f"<tool_call>{ADD}", [CALL]),
    (f"<tool_call>{ADD}</tool_ca", [CALL]),
    (f'<tool_call>[{ADD}, {{"name": "f"}}]</tool_call>', [CALL, EMPTY]),
    ('<tool_call>{"name": "f", "arguments": "{}"}</tool_call>', [EMPTY]),
    ('<tool_call>{"name": "f", "arguments": null}</tool_call>', [EMPTY]),
    (
        '<tool_call>{"name": "add", "arguments": {"a": "</tool_call>"}}</tool_call>',
        [("call", '{"a": "</tool_call>"}', "add")],
    ),
    (
        '<tool_call>{"name": "add", "arguments": {"a": "x\ny"}}</tool_call>',
        [("call", '{"a": "x\\ny"}', "add")],
    ),
    ('<tool_call>{"name": "other", "arguments": {}}</tool_call>', [("call", "{}", "other")]),
    (
        '<tool_call>{"name": "add", "arguments": {"a": 1}</tool_call> more',
        [("invalid", '<tool_call>{"name": "add", "arguments": {"a": 1}'), ("content", "more")],
    ),
    ('<tool_call>{"name": "add", "argu', [("invalid", '<tool_call>{"name": "add", "argu')]),
    (
        '<tool_call>{"name": "add</tool_call> then <tool_call>{"name": "f"}</tool_call>',
        [("invalid", '<tool_call>{"name": "add'), ("content", "then"), EMPTY],
    ),
    (
        '<tool_call>{"name": "f", "arguments": [1]}</tool_call>',
        [("invalid", '<tool_call>{"name": "f", "arguments": [1]}')],
    ),
    ("<tool_call>nope</tool_call>x", [("invalid", "<tool_call>nope"), ("content", "x")]),
    ("<tool_call>", [("invalid", "<tool_call>")]),
    (
        "<tool_call><function=add>\n<parameter=a>\n1\n</parameter>\n</function>\n</tool_call>",
        [CALL],
    ),
    # Llama
    (ADD_LLAMA, [CALL]),
    (f'{ADD_LLAMA}; {{"name": "f", "parameters": {{}}}}', [CALL, EMPTY]),
    (f'<|python_tag|>{ADD_LLAMA};{{"name": "f"}}', [CALL, EMPTY]),
    (f'{{"type": "function", {ADD_LLAMA[1:]}', [CALL]),
    (f'{{"type": "function", "function": {ADD}}}', [CALL]),
    ('{"name": "Bob", "age": 3}', [("content", '{"name": "Bob", "age": 3}')]),
    ('{"a": {"name": "add"}}', [("content", '{"a": {"name": "add"}}')]),
    ('{"name": "add", "param', [("invalid", '<|python_tag|>{"name": "add", "param')]),
    ("<|python_tag|>print(1)", [("invalid", "<|python_tag|>print(1)")]),
    ("[1, 2]", [("content", "[1, 2]")]),
    ("[", [("content", "[")]),
    # Mistral
    (f'[TOOL_CALLS][{ADD}, {{"name": "f", "arguments": {{}}, "id": "123456789"}}]', [CALL, EMPTY]),
    (f"[TOOL_CALLS] [{ADD}]", [CALL]),
    ('[TOOL_CALLS]add[ARGS]{"a": 1}[TOOL_CALLS]f[CALL_ID]123456789[ARGS] {}', [CALL, EMPTY]),
    (
        'Hm.[TOOL_CALLS]add[ARGS]{"a": "[ARGS]"}',
        [("content", "Hm."), ("call", '{"a": "[ARGS]"}', "add")],
    ),
    (f"[{ADD}]", [CALL]),
    ('[TOOL_CALLS] [{"name": "ad', [("invalid", '[TOOL_CALLS][{"name": "ad')]),
    ("[TOOL_CALLS]add[AR", [("invalid", "[TOOL_CALLS]add[AR")]),
    ("[TOOL_CALLS]add[ARGS]x", [("invalid", "[TOOL_CALLS]add[ARGS]x")]),
    # text that only begins like something
    ("a < b <tool", [("content", "a < b <tool")]),
    ("[TOOL", [("content", "[TOOL")]),
    ("<thinking>", [("content", "<thinking>")]),
    ("use </tool_call> so", [("content", "use </tool_call> so")]),
]


def merged(pieces: list[Piece]) -> list[Simple]:
    """Join the pieces of one text, and leave out the words of errors."""
    joined: list[Simple] = []
    for kind, group in groupby(pieces, key=lambda piece: piece.kind):
        if kind in ("content", "reasoning"):
            joined.append((kind, "".join(piece.text for piece in group)))
        else:
            joined += [tuple(filter(None, piece[:3])) for piece in group]
    return joined


def fed(pieces: list[str], *, tools: set[str] | None = TOOLS, opened: bool = False) -> list[Simple]:
    parser = ReplyParser(tools=tools, opened=opened)
    found = [piece for text in pieces for piece in parser.feed(text)]
    return merged(found + parser.finish())


@pytest.mark.parametrize(("text", "expected"), REPLIES, ids=[text[:40] for text, _ in REPLIES])
def test_an_answer_is_taken_apart_however_it_arrives(text: str, expected: list[Simple]) -> None:
    assert merged(parse_reply(text, tools=TOOLS)) == expected
    for size in range(1, 6):
        assert fed([text[at : at + size] for at in range(0, len(text), size)]) == expected
    for at in range(len(text) + 1):
        for to in range(at, len(text) + 1):
            assert fed([text[:at], text[at:to], text[to:]]) == expected


FRAGMENTS = [
    "<think>", "</think>", "<tool_call>", "</tool_call>", "<|python_tag|>", "[TOOL_CALLS]",
    "[ARGS]", "[CALL_ID]", ADD, ADD_LLAMA, '{"name": "f"}', "{", "}", "[", "]", '"', "\\", ";",
    " ", "\n", "a",
    '{"a": 1}', "add", "<function=add>", "<", "é", '{"name": "add", ',
]  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12), st.data(), st.booleans(), st.booleans())
def test_where_a_text_is_cut_never_matters(
    fragments: list[str], data: st.DataObject, opened: bool, with_tools: bool
) -> None:
    text = "".join(fragments)
    tools = TOOLS if with_tools else None
    places = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=8)))
    cuts = [0, *places, len(text)]
    pieces = [text[a:b] for a, b in pairwise(cuts)]
    whole = merged(parse_reply(text, tools=tools, opened=opened))
    assert fed(pieces, tools=tools, opened=opened) == whole
    assert fed(list(text), tools=tools, opened=opened) == whole


@given(st.text(max_size=60))
def test_without_tools_and_reasoning_the_text_stays_as_it_is(text: str) -> None:
    if not text.lstrip().startswith("<think>"):
        assert merged(parse_reply(text)) == ([("content", text)] if text else [])


def test_an_answer_that_begins_inside_of_the_reasoning() -> None:
    assert fed(["so ", "it is</thi", "nk>\n\n4"], opened=True) == [
        ("reasoning", "so it is"),
        ("content", "4"),
    ]
    assert fed(["<think>a</think>b"], opened=True) == [("reasoning", "a"), ("content", "b")]
    assert fed(["never ending "], opened=True) == [("reasoning", "never ending")]


def test_content_is_given_as_soon_as_it_is_known() -> None:
    parser = ReplyParser(tools=TOOLS)
    assert parser.feed("Let me") == [Piece("content", "Let me")]
    assert parser.feed(" see.") == [Piece("content", " see.")]
    assert parser.feed(" <tool") == []
    assert parser.feed("box> ") == [Piece("content", " <toolbox>")]
    assert parser.feed("<tool_call>{") == []
    assert parser.feed('"name": "f"') == []
    assert parser.feed("}") == [Piece("call", "{}", "f")]
    assert ReplyParser(tools=TOOLS).feed('{"answer": ') == [Piece("content", '{"answer":')]


def test_an_invalid_call_says_what_is_wrong() -> None:
    (piece,) = parse_reply('<tool_call>{"name": 3}</tool_call>', tools=TOOLS)
    assert 'an object with "name"' in piece.error
    (piece,) = parse_reply("<tool_call>" + '{"name":' * 5000 + "</tool_call>", tools=TOOLS)
    assert piece.kind == "invalid"
    deep = "[" * 100_000 + "]" * 100_000
    (piece,) = parse_reply(f'<tool_call>{{"name": "f", "arguments": {deep}}}', tools=TOOLS)
    assert piece.kind == "invalid"


def test_arguments_that_are_no_json_are_read_by_the_tools_schema() -> None:
    written = (
        "<tool_call><function=add>\n<parameter=a>\n01\n</parameter>\n<parameter=b>\n[1, 2]\n"
        "</parameter>\n</function></tool_call>"
    )
    schema = {"properties": {"a": {"type": "string"}, "b": {"type": "array"}}}
    (piece,) = parse_reply(written, tools=TOOLS, schemas={"add": schema})
    assert json.loads(piece.text) == {"a": "01", "b": [1, 2]}


def test_the_time_for_a_long_call_grows_as_its_length() -> None:
    """Each character is looked at once: a call of 200 000 characters takes no minutes."""
    text = '<tool_call>{"name": "f", "arguments": {"text": "' + "word " * 40_000 + '"}}</tool_call>'
    parser = ReplyParser(tools=TOOLS)
    began = time.process_time()
    found = [piece for at in range(0, len(text), 4) for piece in parser.feed(text[at : at + 4])]
    assert [piece.name for piece in found] == ["f"]
    assert time.process_time() - began < 20
