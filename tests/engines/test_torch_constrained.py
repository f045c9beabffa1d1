"""Constrained decoding in the loop: what is written is what the grammar asks for, in batches."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from typing import Any

import jsonschema
import pytest

from hfnb.engines.base import Completion, Delta, Request, Work
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import EngineError, OptionError
from hfnb.spec import GenerationSpec, Grammar
from tests.engines.reference import PROMPTS, reference
from tests.needs import require

require("structured")
Engines = Callable[[str], TorchEngine]
SCHEMA = {
    "type": "object",
    "properties": {"label": {"enum": ["pos", "neg", "mixed"]}, "sure": {"type": "boolean"}},
    "required": ["label", "sure"],
    "additionalProperties": False,
}


def asked(
    engine: TorchEngine, grammar: Grammar, *, stream: bool = False, **options: Any
) -> tuple[list[Completion], list[str], Work]:
    spec = dataclasses.replace(GenerationSpec.of(**options), grammar=grammar)
    requests = [Request(row, prompt) for row, prompt in enumerate(PROMPTS)]
    done: dict[int, Completion] = {}
    shown = ["" for _ in PROMPTS]
    work = Work()
    for piece in engine.generate(requests, spec, work=work, stream=stream):
        if isinstance(piece, Delta):
            shown[piece.row] += piece.text
        else:
            done[piece.row] = piece
    return [done[row] for row in range(len(PROMPTS))], shown, work


@pytest.mark.parametrize(
    "options", [{}, {"temperature": 1.5, "seed": 1}, {"no_repeat_ngram_size": 9}], ids=str
)
@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_every_row_of_a_batch_is_of_the_schema(
    name: str, options: dict[str, Any], engine: Engines
) -> None:
    grammar = Grammar("json_schema", json.dumps(SCHEMA))
    done, shown, _ = asked(engine(name), grammar, stream=True, max_new_tokens=60, **options)
    for each, text in zip(done, shown, strict=True):
        assert each.finish_reason == "eos"
        assert each.text == text
        jsonschema.validate(json.loads(each.text or ""), SCHEMA)


def test_an_encoder_decoder_follows_a_grammar_too(engine: Engines) -> None:
    done, _, _ = asked(engine("t5"), Grammar("regex", " ?(one|two|three)"), max_new_tokens=20)
    assert all(re.fullmatch("one|two|three", (each.text or "").strip()) for each in done)


def test_a_row_ends_without_a_pass_that_could_only_end_it(engine: Engines) -> None:
    done, _, work = asked(engine("llama"), Grammar("regex", "[0-9]{3}"), max_new_tokens=20)
    assert {len(each.text or "") for each in done} == {3}
    assert work.forwards == 3 + work.batches - 1


def test_a_grammar_that_other_options_leave_no_way_is_the_rows_error(engine: Engines) -> None:
    gpt2 = engine("gpt2")
    vocabulary = gpt2.loaded.tokenizer.get_vocab()
    digits = sorted(index for token, index in vocabulary.items() if token.strip("Ġ").isdigit())
    done, _, _ = asked(gpt2, Grammar("regex", "[0-9]{3}"), suppress_tokens=digits, max_new_tokens=9)
    assert all(isinstance(each.error, EngineError) for each in done)
    assert "may not follow" in str(done[0].error)


def test_rows_with_and_without_a_grammar_share_a_batch(engine: Engines) -> None:
    from concurrent.futures import ThreadPoolExecutor

    llama = engine("llama")

    def free() -> list[str | None]:
        spec = GenerationSpec.of(max_new_tokens=8)
        requests = [Request(row, prompt) for row, prompt in enumerate(PROMPTS[:4])]
        found = {each.row: each for each in llama.generate(requests, spec)}
        return [each.text for _, each in sorted(found.items()) if isinstance(each, Completion)]

    with ThreadPoolExecutor(2) as pool:
        bound = pool.submit(asked, llama, Grammar("regex", "[a-c]{5}"), max_new_tokens=9)
        plain = pool.submit(free)
        assert plain.result() == [reference(llama, p, max_new_tokens=8) for p in PROMPTS[:4]]
        assert all(re.fullmatch("[a-c]{5}", each.text or "") for each in bound.result()[0])


def test_ways_that_know_no_grammar_say_so(engine: Engines) -> None:
    with pytest.raises(OptionError, match="together with num_beams"):
        asked(engine("llama"), Grammar("regex", "a"), num_beams=2)
