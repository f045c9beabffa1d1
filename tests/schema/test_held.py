"""What is accepted is kept: random writers under the grammars of schemas, and jsonschema."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

from hfnb.engines.grammar_text import check_grammar
from hfnb.errors import OptionError
from hfnb.schema.answer import cells_of, read_answer
from hfnb.schema.read import read_schema
from tests.needs import require

require("structured")

SUITE = Path(__file__).parents[1] / "data" / "json-schema-test-suite"
"""JSON Schema's own test suite for draft 2020-12; its licence lies beside it."""
ROWS = 10_000


def finished(schema: Any, count: int, seed: int) -> int:
    """Count the texts that a random writer finishes, all of which must be valid."""
    import jsonschema

    from tests.schema.support import compiled, texts

    read = read_schema(schema)
    check_grammar(read.grammar)
    columns = read.columns()
    done = 0
    for text in texts(compiled(read.grammar), count, seed):
        cells_of(columns, read_answer(read, text))
        if read.form == "json":
            jsonschema.Draft202012Validator(schema).validate(json.loads(text))
        done += 1
    return done


# --- schemas at random ------------------------------------------------------------------------

PATTERNS = ["^[a-c]{2,4}$", "foo", r"\d+", r"^\w+@\w+$", "[^a]b?", "^a|b$", r"(\.[0-9]{1,3})?x",
            "(a|b+)*c", "^.{3}$", r"\s", r"^\D\W$", "[xé\\d_-]{2}"]  # fmt: skip
VALUES = [
    "a",
    'b"q',
    "c\\n",
    "\n",
    "é🎈",
    1,
    1.5,
    -3,
    True,
    None,
    "",
    [1, "x"],
    {"k": [None]},
    1e30,
]


def number(rng: random.Random) -> float:
    return rng.choice(
        [rng.randint(-20, 20), round(rng.uniform(-5, 5), 3), 0, 0.5, -0.25, 1e6, 99.99, 1e-9]
    )


def simple(rng: random.Random) -> dict[str, Any]:
    kind = rng.randrange(7)
    bounds = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
    if kind < 2:
        told = {name: number(rng) for name in bounds if rng.random() < 0.35}
        return {"type": ("integer", "number")[kind], **told}
    if kind == 2:
        lengths = {"minLength": rng.randint(0, 4), "maxLength": rng.randint(2, 9)}
        return {"type": "string", **{k: v for k, v in lengths.items() if rng.random() < 0.6}}
    if kind == 3:
        names = ["date", "date-time", "time", "email", "uuid", "ipv4", "uri", "duration", "none"]
        return {"type": "string", "format": rng.choice(names)}
    if kind == 4:
        return {"type": "string", "pattern": rng.choice(PATTERNS)}
    if kind == 5:
        return {"enum": rng.sample(VALUES, rng.randint(1, 4))}
    return {"type": rng.choice([["integer", "null"], "boolean", "null", ["number", "string"]])}


def anything(rng: random.Random, depth: int) -> dict[str, Any]:
    kind = rng.random()
    if depth == 0 or kind < 0.35:
        return simple(rng)
    if kind < 0.6:
        names = rng.sample(["a", "b", "c d", "é", 'q"x', "n\n"], rng.randint(0, 4))
        made: dict[str, Any] = {
            "type": "object",
            "properties": {name: anything(rng, depth - 1) for name in names},
            "required": [name for name in names if rng.random() < 0.6],
        }
        if rng.random() < 0.3:
            made["additionalProperties"] = rng.choice([True, False, simple(rng)])
        if rng.random() < 0.2:
            made[rng.choice(["minProperties", "maxProperties"])] = rng.randint(0, 3)
        return made
    if kind < 0.75:
        made = {"type": "array", "items": anything(rng, depth - 1)}
        if rng.random() < 0.3:
            made["prefixItems"] = [anything(rng, depth - 1) for _ in range(rng.randint(1, 3))]
        if rng.random() < 0.6:
            made[rng.choice(["minItems", "maxItems"])] = rng.randint(0, 4)
        return made
    names = ["anyOf", "allOf", "oneOf"]
    return {rng.choice(names): [anything(rng, depth - 1) for _ in range(rng.randint(1, 3))]}


def held(seeds: range) -> Counter[str]:
    """Try random schemas; each is refused with a reason, or kept."""
    found: Counter[str] = Counter()
    for seed in seeds:
        rng = random.Random(seed)
        schema = anything(rng, rng.randint(0, 3))
        try:
            done = finished(schema, 3, seed)
        except OptionError:
            found["refused"] += 1
        else:
            found["accepted"] += 1
            found["finished"] += done
    return found


def test_random_schemas_are_refused_or_kept() -> None:
    found = held(range(250))
    assert found["accepted"] > found["refused"] > 10
    assert found["finished"] > 2 * found["accepted"]


# --- the public test suite --------------------------------------------------------------------


def suite() -> list[tuple[str, Any]]:
    return [
        (f"{file.stem}: {group['description']}", group["schema"])
        for file in sorted(SUITE.glob("*.json"))
        for group in json.loads(file.read_text(encoding="utf-8"))
    ]


def accepted() -> list[tuple[str, Any]]:
    """Return the schemas of the suite that are not refused."""
    found = []
    for name, schema in suite():
        try:
            check_grammar(read_schema(schema).grammar)
        except OptionError:
            continue  # with a reason; which, the tests of reading say
        found.append((name, schema))
    return found


def test_the_public_suite_is_accepted_or_refused() -> None:
    assert len(suite()) == 383
    assert len(accepted()) == 216


def test_ten_thousand_rows_over_the_public_suite_are_valid() -> None:
    schemas = accepted()
    done = sum(
        finished(schema, -(-ROWS * 11 // 10 // len(schemas)), seed)
        for seed, (_, schema) in enumerate(schemas)
    )
    assert done >= ROWS
