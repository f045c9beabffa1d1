"""Grammars: whatever the logits are, a finished text is what the grammar says."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
)

from hfnb.engines import torch_grammar
from hfnb.engines.torch_grammar import (
    CompiledGrammar,
    RowGrammar,
    compile_grammar,
    mask_logits,
    unpack,
)
from hfnb.engines.torch_model import TorchModel, wrap
from hfnb.errors import EngineError, MissingExtraError, ModelError, OptionError
from hfnb.spec import Grammar
from tests.needs import require
from tests.tiny_models import TEXT

require("structured")

Models = Callable[[str], TorchModel]
NAMES = ["llama", "qwen3", "gpt2", "t5"]
PARCEL = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "late": {"type": "boolean"},
        "days": {"type": "integer", "minimum": 0, "maximum": 30},
        "tags": {"type": "array", "items": {"enum": ["new", "old", "é"]}, "maxItems": 3},
        "note": {"anyOf": [{"type": "string", "pattern": '^[^a]{1,4}"?$'}, {"type": "null"}]},
    },
    "required": ["name", "late", "days", "tags"],
}
LIST = {
    "$defs": {
        "node": {
            "type": "object",
            "properties": {
                "value": {"type": "number"},
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
            },
            "required": ["value", "next"],
        }
    },
    "$ref": "#/$defs/node",
}
FREE = {"type": "object", "additionalProperties": {"type": ["string", "integer"]}}
ARITHMETIC = """root ::= term (("+" | "-" | "*") term)*
term ::= [1-9] [0-9]{0,2} | "(" root ")"
"""
TOOL = {
    "type": "structural_tag",
    "format": {
        "type": "triggered_tags",
        "triggers": ["<tool>"],
        "tags": [
            {
                "begin": "<tool>",
                "content": {"type": "json_schema", "json_schema": PARCEL},
                "end": "</tool>",
            }
        ],
        "at_least_one": True,
        "stop_after_first": True,
    },
}


@pytest.fixture(scope="session")
def loaded(tiny_model: Callable[[str], Path]) -> Models:
    @cache
    def get(name: str) -> TorchModel:
        folder = tiny_model(name)
        family = AutoModelForSeq2SeqLM if name == "t5" else AutoModelForCausalLM
        task = "text2text-generation" if name == "t5" else "text-generation"
        return wrap(
            family.from_pretrained(folder), AutoTokenizer.from_pretrained(folder), name, task
        )

    return get


def of_schema(schema: Any) -> Grammar:
    return Grammar("json_schema", json.dumps(schema))


def write(
    model: TorchModel,
    compiled: CompiledGrammar,
    *,
    rows: int = 8,
    steps: int = 400,
    eos: frozenset[int] | None = None,
    eos_push: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """Write texts from random logits; return those that ended, and check every step.

    Args:
        eos_push: Added to the logits of the tokens that end a row.
    """
    ends = model.eos_ids if eos is None else eos
    special = set(model.tokenizer.all_special_ids) - ends
    generator = torch.Generator().manual_seed(seed)
    states = [compiled.matcher() for _ in range(rows)]
    ids: list[list[int]] = [[] for _ in range(rows)]
    ended = []
    for _ in range(steps):
        going = [i for i, state in enumerate(states) if i not in ended]
        if not going:
            break
        logits = torch.randn(len(going), compiled.width + 5, generator=generator) * 4
        logits[:, sorted(ends)] += eos_push
        masked = mask_logits(logits, [states[i] for i in going])
        assert masked is logits
        assert not masked.isnan().any()
        for i, scores in zip(going, masked, strict=True):
            state = states[i]
            assert state.problem is None
            allowed = set((scores > -torch.inf).nonzero().flatten().tolist())
            assert allowed
            assert not allowed & special
            assert (allowed >= ends) == bool(allowed & ends) == state.complete
            assert state.finished == (allowed == ends)
            token = int(scores.argmax())
            assert token < len(model.tokenizer)
            state.accept(token)
            assert state.problem is None
            if token in ends:
                assert state.finished
                ended.append(i)
            else:
                ids[i].append(token)
    texts = [
        model.tokenizer.decode(
            ids[i], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        for i in ended
    ]
    # Random bytes make half a surrogate pair, three characters in the place of one.
    return [text for text in texts if "\ufffd" not in text]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("schema", [PARCEL, LIST, FREE], ids=["parcel", "list", "free"])
def test_json_is_valid_whatever_the_model_says(schema: Any, name: str, loaded: Models) -> None:
    model = loaded(name)
    compiled = compile_grammar(model, of_schema(schema), model.eos_ids)
    assert compiled.unenforced == ()
    texts = write(model, compiled, rows=16)
    assert len(texts) >= 4
    for text in texts:
        jsonschema.validate(json.loads(text), schema)
        assert "\n" not in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "pattern", [r"[A-Z]{2}-\d{4}", r"(yes|no|maybe)", r"[^\n]{3,9}\.", r"é+[à-ü]?", r".{0,5}"]
)
def test_a_text_matches_its_regular_expression(pattern: str, name: str, loaded: Models) -> None:
    model = loaded(name)
    compiled = compile_grammar(model, Grammar("regex", pattern), model.eos_ids)
    texts = write(model, compiled, rows=16, eos_push=3.0)
    assert len(texts) >= 8
    for text in texts:
        assert re.fullmatch(pattern, text, flags=re.DOTALL)


@pytest.mark.parametrize("name", NAMES)
def test_an_ebnf_is_followed(name: str, loaded: Models) -> None:
    model = loaded(name)
    compiled = compile_grammar(model, Grammar("ebnf", ARITHMETIC), model.eos_ids)
    texts = write(model, compiled, eos_push=6.0)
    assert len(texts) >= 4
    for text in texts:
        eval(text)  # of digits, brackets and + - *
        assert re.fullmatch(r"[\d()+*-]+", text)


@pytest.mark.parametrize("name", NAMES)
def test_a_structural_tag_leaves_the_text_free_up_to_its_trigger(name: str, loaded: Models) -> None:
    model = loaded(name)
    compiled = compile_grammar(model, Grammar("structural_tag", json.dumps(TOOL)), model.eos_ids)
    texts = write(model, compiled, eos_push=50.0)
    assert len(texts) >= 4
    for text in texts:
        found = re.fullmatch(r"<tool>(.*)</tool>", text, flags=re.DOTALL)
        assert found
        jsonschema.validate(json.loads(found[1]), PARCEL)
        assert not re.search(r"\s\s\s", re.sub(r'"[^"]*"', "", found[1]))


def test_a_structural_tag_may_name_special_tokens_and_no_other_may_come(loaded: Models) -> None:
    model = loaded("qwen3")
    (start,) = set(model.tokenizer.all_special_ids) - model.eos_ids - {model.pad_id}
    for token in ("<|im_start|>", start):
        tag = {
            "type": "structural_tag",
            "format": {
                "type": "sequence",
                "elements": [
                    {"type": "token", "token": token},
                    {"type": "regex", "pattern": "[a-c]{3}"},
                ],
            },
        }
        grammar = Grammar("structural_tag", json.dumps(tag))
        row = compile_grammar(model, grammar, model.eos_ids).matcher()
        assert allowed_of(row) == [start]
        row.accept(start)
        assert start not in allowed_of(row)
        assert row.problem is None
    free = {"type": "structural_tag", "format": {"type": "any_text"}}
    anything = Grammar("structural_tag", json.dumps(free))
    row = compile_grammar(model, anything, model.eos_ids).matcher()
    assert len(allowed_of(row)) > 300
    assert not {start, model.pad_id} & set(allowed_of(row))


def allowed_of(row: RowGrammar) -> list[int]:
    found: list[int] = unpack(row.mask().unsqueeze(0), row.width)[0].nonzero().flatten().tolist()
    return found


@pytest.mark.parametrize("field", ["minLength", "maxLength"])
def test_strings_of_bounded_length_hold_no_control_characters(field: str, loaded: Models) -> None:
    """xgrammar's own grammar lets them through, and then the text is no JSON."""
    model = loaded("gpt2")
    bounded = {"type": "string", "minLength": 2, "maxLength": 6, field: 4}
    compiled = compile_grammar(model, of_schema(bounded), model.eos_ids)
    texts = write(model, compiled, rows=64)
    assert len(texts) == 64
    for text in texts:
        jsonschema.validate(json.loads(text), bounded)


@pytest.mark.parametrize(
    "rule",
    [
        *({"pattern": each} for each in (r"^.{3}$", r'[^a"]{2}\s?x', r"[\\x]", "[à-ü]é+", "😀|é1")),
        *({"format": each} for each in ("email", "json-pointer", "date", "uuid", "uri")),
    ],
    ids=str,
)
def test_patterns_and_formats_leave_a_string_json(rule: dict[str, str], loaded: Models) -> None:
    model = loaded("gpt2")
    schema = {
        "type": "object",
        "properties": {"p": {"type": "string", **rule}},
        "required": ["p"],
    }
    texts = write(model, compile_grammar(model, of_schema(schema), model.eos_ids), rows=32)
    assert len(texts) > 4
    for text in texts:
        jsonschema.validate(
            json.loads(text), schema, format_checker=jsonschema.FormatChecker(["email", "uuid"])
        )


def test_what_xgrammar_passes_over_is_named(loaded: Models) -> None:
    model = loaded("gpt2")

    def unenforced(schema: Any) -> tuple[str, ...]:
        return compile_grammar(model, of_schema(schema), model.eos_ids).unenforced

    array = {"type": "array", "items": {"type": "number", "multipleOf": 3}, "uniqueItems": True}
    assert unenforced(array) == ("multipleOf", "uniqueItems")
    assert unenforced({"type": "integer", "multipleOf": 3}) == ()
    assert unenforced({"not": {"type": "string"}}) == ("not",)
    assert unenforced({"allOf": [{"type": "integer"}, {"minimum": 3}]}) == ("allOf", "minimum")
    names = {"type": "object", "properties": {"not": {"type": "integer"}}, "required": ["not"]}
    assert unenforced(names) == ()
    assert unenforced({**names, "required": ["other"]}) == ("required",)
    assert unenforced({"type": "string", "minLength": 1, "maxLength": 9000}) == ("maxLength",)
    assert unenforced({"const": {"not": 1, "pattern": '"'}}) == ()


@pytest.mark.parametrize(
    ("kind", "text", "why"),
    [
        ("json_schema", '{"type": "nope"}', "Unsupported type"),
        ("json_schema", '{"type"', "Expecting"),
        ("json_schema", "3", "object or bool"),
        ("json_schema", "false", "cannot accept any value"),
        ("json_schema", '{"$ref": "#/$defs/x"}', "Cannot find field"),
        ("json_schema", '{"type": "string", "pattern": "(?<=a)b"}', "Lookbehind"),
        ("json_schema", r'{"type": "string", "pattern": "a\"b"}', "quotation mark"),
        ("json_schema", r'{"type": "string", "pattern": "\\\\"}', "backslash"),
        ("regex", "a(b", "not closed"),
        ("regex", r"\bword", "Word boundary"),
        ("regex", r"(a)\1", "Backreference"),
        ("ebnf", "root ::= x", "not defined"),
        ("ebnf", 'start ::= "a"', "root"),
        ("ebnf", 'root ::= root "a"', "can't be followed"),
        ("structural_tag", "{", "Expecting"),
        ("structural_tag", '{"type": "structural_tag"}', "format"),
    ],
)
def test_a_grammar_that_cannot_be_compiled_says_what_and_why(
    kind: Any, text: str, why: str, loaded: Models
) -> None:
    model = loaded("llama")
    with pytest.raises(OptionError, match=r"^The (JSON|reg|EBNF|struct)") as caught:
        compile_grammar(model, Grammar(kind, text), model.eos_ids)
    assert why in str(caught.value)
    assert repr(text) in str(caught.value)
    assert ".cc" not in str(caught.value)


def test_a_grammar_is_compiled_once_for_a_model(loaded: Models) -> None:
    model = loaded("llama")
    grammar = Grammar("regex", "[a-z]+")
    once = compile_grammar(model, grammar, model.eos_ids)
    assert compile_grammar(model, grammar, sorted(model.eos_ids)) is once
    assert compile_grammar(model, grammar, [300]) is not once
    assert compile_grammar(loaded("gpt2"), grammar, model.eos_ids) is not once


def test_every_token_that_ends_a_row_ends_it_and_is_no_text(loaded: Models) -> None:
    model = loaded("llama")
    (letter,) = model.tokenizer.encode("e", add_special_tokens=False)
    ends = frozenset({*model.eos_ids, letter})
    compiled = compile_grammar(model, Grammar("regex", "[a-z]{2,40}"), ends)
    texts = write(model, compiled, eos=ends, rows=32, eos_push=2.0)
    assert len(texts) == 32
    assert all(re.fullmatch("[a-z]{2,40}", text) for text in texts)
    row = compiled.matcher()
    assert letter not in allowed_of(row)
    for token in model.tokenizer.encode("the", add_special_tokens=False)[:3]:
        row.accept(token if token != letter else model.tokenizer.convert_tokens_to_ids("a"))
    assert set(allowed_of(row)) >= ends
    row.accept(letter)
    assert row.problem is None
    assert row.finished
    assert allowed_of(row) == sorted(ends)


def test_a_model_without_eos_ends_where_nothing_may_follow(loaded: Models) -> None:
    model = loaded("llama")
    row = compile_grammar(model, Grammar("regex", "(no|yes)"), []).matcher()
    for token in model.tokenizer.encode("no", add_special_tokens=False):
        assert not row.finished
        row.accept(token)
    assert row.finished
    assert row.problem is None


def test_a_row_begins_again(loaded: Models) -> None:
    model = loaded("gpt2")
    row = compile_grammar(model, Grammar("regex", "one[0-9]"), model.eos_ids).matcher()
    first = row.mask().clone()
    for token in model.tokenizer.encode("one"):
        row.accept(token)
    assert not torch.equal(row.mask(), first)
    row.accept(model.tokenizer.encode("x")[0])
    assert isinstance(row.problem, EngineError)
    row.reset()
    assert row.problem is None
    assert torch.equal(row.mask(), first)
    for token in [*model.tokenizer.encode("one7"), *model.eos_ids]:
        row.accept(token)
    assert row.finished
    row.reset()
    assert not row.finished
    assert torch.equal(row.mask(), first)


def test_a_dead_end_is_noticed_and_has_no_nan(loaded: Models) -> None:
    """No vocabulary of bytes has one: this one has letters alone, and the grammar asks for more."""
    model = words({"ab": 2, "c": 3, "a": 4})
    compiled = compile_grammar(model, Grammar("regex", "a(b7|c)"), model.eos_ids)
    row, other = compiled.matcher(), compiled.matcher()
    row.accept(2)
    assert row.problem is None
    logits = torch.randn(3, compiled.width)
    before = logits.clone()
    mask_logits(logits, [row, None, other])
    assert isinstance(row.problem, EngineError)
    assert "can't go on" in str(row.problem)
    assert torch.equal(logits[:2], before[:2])
    assert (logits[2] > -torch.inf).nonzero().flatten().tolist() == [2, 4]
    assert other.problem is None
    with pytest.raises(OptionError, match="no token of the model's vocabulary can begin it"):
        compile_grammar(model, of_schema({"type": "object"}), model.eos_ids)


def test_a_token_that_other_options_left_alone_is_noticed(loaded: Models) -> None:
    model = loaded("gpt2")
    row = compile_grammar(model, Grammar("regex", "[0-9]+"), model.eos_ids).matcher()
    logits = torch.full((1, 512), -torch.inf)
    scores = mask_logits(logits, [row])
    assert row.problem is None
    row.accept(int(scores.argmax()))
    assert "may not follow" in str(row.problem)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("wider", [0, 1, 19, 64])
@pytest.mark.parametrize("wide", [4096, 0])
@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def test_the_mask_fits_logits_of_any_type_width_and_device(
    device: str,
    wide: int,
    wider: int,
    dtype: torch.dtype,
    loaded: Models,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch_grammar, "_WIDE", wide)
    model = loaded("qwen3")
    rows = [
        compile_grammar(model, Grammar("regex", pattern), model.eos_ids).matcher()
        for pattern in ("[a-z]+", "[0-9]?", ".*")
    ]
    states: list[RowGrammar | None] = [rows[0], None, rows[1], rows[2]]
    logits = torch.randn(4, 512 + wider, dtype=dtype, device=device)
    expected = logits.clone()
    for i, row in enumerate(states):
        if row is not None:
            allowed = torch.zeros(512 + wider, dtype=torch.bool)
            allowed[allowed_of(row)] = True
            expected[i, ~allowed.to(device)] = -torch.inf
    with torch.inference_mode():
        assert torch.equal(mask_logits(logits, states), expected)
        assert torch.equal(mask_logits(expected.clone(), [None] * 4), expected)


def words(vocabulary: dict[str, int], tokenizer: Tokenizer | None = None) -> Any:
    """Return a model that is a tokenizer and a width, as far as a grammar needs one."""
    if tokenizer is None:
        every = {"<pad>": 0, "</s>": 1, **vocabulary}
        tokenizer = Tokenizer(models.WordLevel(every, unk_token="<pad>"))
        tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="</s>", pad_token="<pad>", unk_token="<pad>"
    )
    width = len(fast)
    head = SimpleNamespace(weight=torch.zeros(width, 1))
    return SimpleNamespace(
        tokenizer=fast,
        name="words",
        model=None,
        in_memory=lambda: SimpleNamespace(get_output_embeddings=lambda: head),
        eos_ids=frozenset({1}),
    )


SPECIAL = ["<pad>", "</s>"]
LINES = [*TEXT.splitlines(), *['{"name": "x y", "late": true, "days": [1, 23], "p": null}'] * 9]


def unigram() -> Tokenizer:
    """Return what T5 has: pieces with a mark for a space, and no bytes to fall back on."""
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=SPECIAL, unk_token="<pad>", show_progress=False
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


def byte_fallback() -> Tokenizer:
    """Return what Llama 2 has: sentencepiece's BPE, with bytes to fall back on."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<pad>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("\u2581", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=[*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256))],
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES, trainer)
    return tokenizer


@pytest.mark.parametrize("make", [unigram, byte_fallback])
def test_sentencepiece_tokenizers_are_read(make: Callable[[], Tokenizer]) -> None:
    model = words({}, make())
    schema = {
        "type": "object",
        "properties": {
            "name": {"enum": ["x y", "  "]},
            "days": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["name", "days"],
    }
    compiled = compile_grammar(model, of_schema(schema), model.eos_ids)
    texts = write(model, compiled, eos_push=50.0)
    assert len(texts) >= 4
    for text in texts:
        jsonschema.validate(json.loads(text), schema)
    spaced = compile_grammar(model, Grammar("regex", "the( number| quick)+"), model.eos_ids)
    for text in write(model, spaced, eos_push=3.0):
        assert re.fullmatch("the( number| quick)+", text)


def test_a_tokenizer_that_cannot_be_read_says_so() -> None:
    pieces = Tokenizer(
        models.WordPiece({"<pad>": 0, "</s>": 1, "the": 2, "##s": 3, "a": 4}, unk_token="<pad>")
    )
    pieces.decoder = decoders.WordPiece()
    model = words({}, pieces)
    with pytest.raises(ModelError, match="can't read the tokenizer of 'words'"):
        compile_grammar(model, Grammar("regex", "a"), model.eos_ids)


def test_without_xgrammar_the_extra_is_named(
    loaded: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xgrammar", None)
    with pytest.raises(MissingExtraError, match=r'pip install "hfnb\[structured\]"'):
        compile_grammar(loaded("llama"), Grammar("regex", "a"), [1])
