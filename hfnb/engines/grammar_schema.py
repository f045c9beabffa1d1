"""JSON schemas as xgrammar follows them without breaking the JSON that it writes.

xgrammar's own way with lengths, patterns and some formats of strings can write characters that JSON
would have to escape, and its structural tags allow white space without end. Here schemas are
rewritten so that neither happens, and the keywords that nothing enforces are named.
"""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from typing import Any

from hfnb.errors import MissingExtraError
from hfnb.options import is_whole

_LONGEST = 128
"""The longest minLength or maxLength of a JSON schema that is enforced, in characters."""
_POINTER = "(/([^/~]|~[01])*)*"
_SAFE_FORMATS = {
    "email": r"[A-Za-z0-9_+-]+(\.[A-Za-z0-9_+-]+)*@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+",
    "json-pointer": _POINTER,
    "relative-json-pointer": f"(0|[1-9][0-9]*)(#|{_POINTER})",
}
"""Formats in which xgrammar writes what a JSON string must escape, as patterns that need none."""
_INSTANCES = frozenset({"const", "default", "enum", "examples"})
"""Keywords of a JSON schema whose values are no schemas."""
_UNENFORCED = frozenset(
    {
        "contains", "dependentRequired", "dependentSchemas", "if", "maxContains", "minContains",
        "not", "uniqueItems",
    }
)  # fmt: skip


def need_xgrammar(what: str = "A grammar for the answer") -> None:
    """Raise `MissingExtraError` where the package that holds answers to a grammar is missing."""
    try:
        importlib.import_module("xgrammar")
    except ImportError as error:
        raise MissingExtraError(
            f'{what} needs the package xgrammar. Install it with: pip install "hfnb[structured]"'
        ) from error


def safe_tag(value: Any, unenforced: set[str]) -> Any:
    """Return a structural tag whose JSON has no white space without end."""
    if isinstance(value, list):
        return [safe_tag(each, unenforced) for each in value]
    if not isinstance(value, dict):
        return value
    if "json_schema" in value:
        schema = safe_schema(value["json_schema"], unenforced)
        limit = {"max_whitespace_cnt": 1} if value.get("type") == "json_schema" else {}
        return {**limit, **value, "json_schema": schema}
    return {name: safe_tag(each, unenforced) for name, each in value.items()}


def safe_schema(schema: Any, unenforced: set[str], *, names: bool = False) -> Any:
    """Return a schema whose strings are JSON: xgrammar's patterns and formats may break them.

    Lengths become patterns: xgrammar's own grammar for them lets control characters through, and
    is slow, 0.1 s a row and step with 150,000 tokens. A length beyond `_LONGEST` is left out, since
    compiling it takes many seconds. The keywords that nothing enforces are added to
    ``unenforced``.

    Args:
        schema: A schema, or what stands for one.
        unenforced: Gets the names of keywords.
        names: The keys are names of properties or definitions, not keywords.
    """
    if isinstance(schema, list):
        return [safe_schema(each, unenforced) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if not names:
        unenforced.update(_passed_over(schema))
        schema = _without_lengths(schema, unenforced)
    safe = {}
    for key, value in schema.items():
        if names:
            safe[key] = safe_schema(value, unenforced)
        elif key in _INSTANCES:
            safe[key] = value
        elif key == "pattern" and isinstance(value, str):
            safe[key] = _safe_pattern(value)
        elif key == "format" and str(value) in _SAFE_FORMATS and "pattern" not in schema:
            safe["pattern"] = _SAFE_FORMATS[value]
        elif key == "patternProperties" and isinstance(value, dict):
            safe[key] = {
                _safe_pattern(pattern): safe_schema(each, unenforced)
                for pattern, each in value.items()
            }
        else:
            of_names = key in ("properties", "$defs", "definitions")
            safe[key] = safe_schema(value, unenforced, names=of_names)
    return safe


def _passed_over(schema: dict[str, Any]) -> Iterator[str]:
    """Yield the keywords of one schema, its parts not counted, that xgrammar does not enforce."""
    yield from _UNENFORCED & set(schema)
    if "multipleOf" in schema and schema.get("type") != "integer":
        yield "multipleOf"
    if len(schema.get("allOf") or ()) > 1:
        yield "allOf"
    if "oneOf" in schema:
        yield "oneOf"  # it is read as anyOf
    if "pattern" in schema or "format" in schema:
        yield from {"minLength", "maxLength"} & set(schema)
    if "$ref" in schema:
        yield from {"minimum", "maximum", "minLength", "maxLength", "required"} & set(schema)
    if "type" not in schema and "$ref" not in schema:
        yield from {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} & set(schema)
    required, known = schema.get("required"), schema.get("properties")
    if isinstance(required, list) and not set(required) <= set(known or ()):
        yield "required"


def _without_lengths(schema: dict[str, Any], unenforced: set[str]) -> dict[str, Any]:
    """Return a schema in which a pattern says how long a string may be."""
    bounds = {name: schema[name] for name in ("minLength", "maxLength") if name in schema}
    if not bounds or "pattern" in schema or "format" in schema:
        return schema
    if not all(is_whole(bound) and bound >= 0 for bound in bounds.values()):
        return schema  # compiling says what is wrong
    long = {name for name, bound in bounds.items() if bound > _LONGEST}
    unenforced |= long
    rest = {name: value for name, value in schema.items() if name not in bounds}
    if long == set(bounds):
        return rest
    least = 0 if "minLength" in long else bounds.get("minLength", 0)
    most = "" if "maxLength" in long else bounds.get("maxLength", "")
    return {**rest, "pattern": f".{{{least},{most}}}"}


def _safe_pattern(pattern: str) -> str:
    """Return a pattern as xgrammar takes it without breaking the string in which it stands.

    Where it can, xgrammar leaves characters out that JSON would have to escape; where it can't, it
    writes them as they are. It can't with letters beyond ASCII, but it can with their codes.

    Raises:
        ValueError: The pattern asks for a character that must be escaped.
    """
    import xgrammar

    coded = "".join(c if ord(c) < 128 else rf"\u{{{ord(c):x}}}" for c in pattern)
    alone = xgrammar.Grammar.from_json_schema(json.dumps({"type": "string", "pattern": coded}))
    if "json_string=true" not in str(alone):
        raise ValueError(
            f"The pattern {pattern!r} asks for a quotation mark, a backslash or a control "
            "character, which xgrammar can't write into a JSON string."
        )
    return coded


def reason_of(error: Exception) -> str:
    """Return an error's message without the place in xgrammar's sources that it begins with."""
    text = re.sub(r"^\[\d+:\d+:\d+\] \S+?:\d+: ", "", str(error).strip())
    text = re.sub(r"^Check failed: \(.*?\) is (?:true|false): ", "", text)
    return text.rstrip(".") + "."
