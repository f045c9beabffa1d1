"""Read a JSON schema: references, combinations and keywords, into what a value may be.

Draft 2020-12, and of the ones before it what means the same there. What a grammar can't hold an
answer to is refused with its reason; a keyword that says nothing on validity is a remark.
"""

from __future__ import annotations

import importlib
import itertools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from hfnb.errors import MissingExtraError, OptionError
from hfnb.options import is_whole
from hfnb.schema.meet import apart, both, same
from hfnb.schema.patterns import check_pattern
from hfnb.schema.plain import (
    ANY,
    Alternative,
    Array,
    Number,
    Object,
    Simple,
    Text,
    Union,
    Values,
    refused,
)
from hfnb.schema.written import json_of

_REFUSED = {
    "not": "'not' says what an answer is not",
    "contains": "'contains' says what some item of an array is",
    "dependentRequired": "'dependentRequired' makes one property depend on another",
    "dependentSchemas": "'dependentSchemas' makes the schema depend on a property",
    "dependencies": "'dependencies' makes one property depend on another",
    "$dynamicRef": "'$dynamicRef' is a reference that its surroundings decide",
    "$recursiveRef": "'$recursiveRef' is a reference that its surroundings decide",
}
"""Keywords that no grammar enforces, and what they say."""
_IN_PLACE = frozenset("allOf anyOf oneOf $ref if then else".split())
_DRAFTS = re.compile(r"https?://json-schema\.org/(draft/(2019-09|2020-12)|draft-0[67])/schema#?")
_MOST = 5_000
"""Parts of a schema, references resolved; more are refused."""
_MOST_UNIQUE = 8
"""Values of which an array may have each once; there are two to the power of this such arrays."""
_TYPES = ("null", "boolean", "number", "string", "array", "object")


def read_document(document: Mapping[str, Any] | bool) -> Union:
    """Return what a value may be by a JSON schema.

    Raises:
        OptionError: It is no JSON schema, can't be satisfied, is recursive, or asks for what no
            grammar can hold an answer to.
        MissingExtraError: The package jsonschema is missing.
    """
    need_jsonschema()
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import SchemaError
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    try:
        plain = json.loads(json.dumps(document))
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionError(f"The schema is not JSON: {error}.") from error
    _check_draft(plain)
    try:
        Draft202012Validator.check_schema(plain)
    except SchemaError as error:
        place = "".join(f"[{each!r}]" for each in error.absolute_path)
        where = f" At {place}:" if place else ""
        raise OptionError(f"This is no valid JSON schema.{where} {error.message}.") from error
    resource = DRAFT202012.create_resource(plain)
    registry: Registry[Any] = Registry()
    resolver = registry.resolver_with_root(resource)
    union = _Reading().read(plain, resolver)
    if json_of(union) is None:
        raise OptionError("Nothing satisfies the schema: its parts exclude one another.")
    return union


def need_jsonschema() -> None:
    """Raise `MissingExtraError` where the package that reads JSON schemas is missing."""
    try:
        importlib.import_module("jsonschema")
    except ImportError as error:
        raise MissingExtraError(
            'A schema needs the package jsonschema. Install it with: pip install "hfnb[structured]"'
        ) from error


def _check_draft(document: Any) -> None:
    if isinstance(document, dict) and "$schema" in document:
        draft = document["$schema"]
        if not isinstance(draft, str) or not _DRAFTS.fullmatch(draft):
            raise OptionError(
                f"The schema is of the dialect {draft!r}. hfnb reads JSON Schema, draft 2020-12: "
                "'https://json-schema.org/draft/2020-12/schema'."
            )


class _Reading:
    """Reads one document; it knows which references it is in."""

    def __init__(self) -> None:
        self._inside: list[int] = []
        self._count = 0

    def read(self, schema: Any, resolver: Any) -> Union:
        """Return what a value may be by one part of the document."""
        self._count += 1
        if self._count > _MOST:
            raise OptionError(f"The schema has more than {_MOST:,} parts, references resolved.")
        if schema is True:
            return ANY
        if schema is False:
            return ()
        if "$id" in schema and len(self._inside) > 0:
            from referencing.jsonschema import DRAFT202012

            resolver = resolver.in_subresource(DRAFT202012.create_resource(schema))
        if id(schema) in self._inside:
            raise OptionError(
                "The schema is recursive: a part of it contains itself, so that an answer could "
                "go on for ever. Write the levels out, as many as there may be."
            )
        self._inside.append(id(schema))
        try:
            return self._read(schema, resolver)
        finally:
            self._inside.pop()

    def _read(self, schema: dict[str, Any], resolver: Any) -> Union:
        if len(self._inside) > 1 and "$schema" in schema:
            raise refused("a part of it has a dialect ('$schema') of its own")
        for keyword, why in _REFUSED.items():
            if keyword in schema:
                raise refused(why)
        if "if" in schema and ("then" in schema or "else" in schema):
            raise refused("'if' makes the schema depend on the answer")
        made = self._own(schema, resolver)
        if "enum" in schema:
            made = both(made, (Values(tuple(schema["enum"])),))
        if "const" in schema:
            made = both(made, (Values((schema["const"],)),))
        if "$ref" in schema:
            made = both(made, self._referred(schema["$ref"], resolver))
        for each in schema.get("allOf", ()):
            made = both(made, self.read(each, resolver))
        for keyword in ("anyOf", "oneOf"):
            if keyword in schema:
                choices = [self.read(each, resolver) for each in schema[keyword]]
                if keyword == "oneOf":
                    _check_apart(choices)
                made = both(made, _joined(choices))
        return made

    def _referred(self, reference: str, resolver: Any) -> Union:
        from referencing.exceptions import Unresolvable

        try:
            found = resolver.lookup(reference)
        except (Unresolvable, LookupError, ValueError, TypeError) as error:
            raise OptionError(
                f"The schema refers to {reference!r}, which is not in it. hfnb looks nowhere else."
            ) from error
        return self.read(found.contents, found.resolver)

    def _own(self, schema: dict[str, Any], resolver: Any) -> Union:
        """Return what a schema's own keywords say, each about one type."""
        told = schema.get("type", [*_TYPES])
        types = {told} if isinstance(told, str) else set(told)
        if "number" in types:
            types.discard("integer")
        if _IN_PLACE & set(schema):
            self._check_unevaluated(schema, types)
        readers: dict[str, Callable[[], Alternative]] = {
            "null": lambda: Simple("null"),
            "boolean": lambda: Simple("boolean"),
            "integer": lambda: _number(schema, whole=True),
            "number": lambda: _number(schema, whole=False),
            "string": lambda: _text(schema),
            "array": lambda: self._array(schema, resolver),
            "object": lambda: self._object(schema, resolver),
        }
        return tuple(read() for name, read in readers.items() if name in types)

    def _check_unevaluated(self, schema: dict[str, Any], types: set[str]) -> None:
        for keyword, kind in (("unevaluatedItems", "array"), ("unevaluatedProperties", "object")):
            if kind in types and schema.get(keyword, True) is not True:
                raise refused(f"'{keyword}' stands beside allOf, anyOf, oneOf or a reference")

    def _array(self, schema: dict[str, Any], resolver: Any) -> Array | Values:
        if schema.get("uniqueItems") and schema.get("maxItems", 2) > 1:
            return self._some_of(schema, resolver)
        rest = schema.get("items", schema.get("unevaluatedItems", True))
        return Array(
            tuple(self.read(each, resolver) for each in schema.get("prefixItems", ())),
            None if rest is True else self.read(rest, resolver),
            int(schema.get("minItems", 0)),
            None if "maxItems" not in schema else int(schema["maxItems"]),
        )

    def _some_of(self, schema: dict[str, Any], resolver: Any) -> Values:
        """Return the arrays of some of a few values, each once and in their order."""
        items = self.read(schema.get("items", True), resolver)
        values = items[0].values if len(items) == 1 and isinstance(items[0], Values) else ()
        if not 0 < len(values) <= _MOST_UNIQUE or "prefixItems" in schema:
            raise refused(
                "'uniqueItems' says that no two items of an array are equal, which can be had "
                f"only of items that are among {_MOST_UNIQUE} values or fewer (enum)"
            )
        values = tuple({same(each): each for each in values}.values())
        least, most = int(schema.get("minItems", 0)), int(schema.get("maxItems", len(values)))
        sizes = range(least, min(most, len(values)) + 1)
        return Values(
            tuple(list(each) for size in sizes for each in itertools.combinations(values, size))
        )

    def _object(self, schema: dict[str, Any], resolver: Any) -> Object:
        patterns = schema.get("patternProperties", {})
        for pattern in patterns:
            check_pattern(pattern)
        names: tuple[Union, ...] = ()
        if schema.get("propertyNames", True) is not True:
            names = (self.read(schema["propertyNames"], resolver),)
        rest = schema.get("additionalProperties", schema.get("unevaluatedProperties", True))
        return Object(
            {
                name: self.read(each, resolver)
                for name, each in schema.get("properties", {}).items()
            },
            tuple(dict.fromkeys(schema.get("required", ()))),
            None if rest is True else self.read(rest, resolver),
            tuple((pattern, self.read(each, resolver)) for pattern, each in patterns.items()),
            names,
            int(schema.get("minProperties", 0)),
            None if "maxProperties" not in schema else int(schema["maxProperties"]),
        )


def _joined(choices: list[Union]) -> Union:
    if any(each == ANY for each in choices):
        return ANY
    found: dict[str, Alternative] = {}
    for union in choices:
        for each in union:
            found.setdefault(repr(each), each)
    return tuple(found.values())


def _check_apart(choices: list[Union]) -> None:
    for at, one in enumerate(choices):
        for other in choices[at + 1 :]:
            if not apart(one, other):
                raise refused(
                    "'oneOf' has choices of which several may hold at once. Use anyOf, or let a "
                    "required property have another constant in each"
                )


def _number(schema: dict[str, Any], *, whole: bool) -> Number:
    multiple = schema.get("multipleOf")
    if multiple is not None:
        inverse = 1 / multiple
        if is_whole(multiple) or float(multiple).is_integer():
            multiple, whole = int(multiple), True
        elif whole and inverse.is_integer():
            multiple = None  # each integer is one
        else:
            raise refused(f"a number is to be a multiple of {multiple}, which is no integer")
    return Number(
        whole,
        schema.get("minimum"),
        schema.get("maximum"),
        schema.get("exclusiveMinimum"),
        schema.get("exclusiveMaximum"),
        multiple,
    )


def _text(schema: dict[str, Any]) -> Text:
    pattern = schema.get("pattern")
    if pattern is not None:
        check_pattern(pattern)
    most = schema.get("maxLength")
    return Text(
        int(schema.get("minLength", 0)),
        None if most is None else int(most),
        pattern,
        schema.get("format"),
    )
