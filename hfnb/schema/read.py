"""Read a schema in any of its forms: types, fields, JSON schemas, labels, regular expressions."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import typing
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from hfnb.errors import OptionError, closest, listing
from hfnb.schema.document import need_jsonschema, read_document
from hfnb.schema.fields import Column, columns_of
from hfnb.schema.labels import check_apart, check_labels, labels_grammar, listed
from hfnb.schema.patterns import grammar_pattern
from hfnb.schema.plain import Union, Values
from hfnb.schema.types import adapter_of, document_of, is_type, of_document, of_fields
from hfnb.schema.written import json_of
from hfnb.spec import Grammar

FORMS = (
    "a pydantic class, a TypedDict, a dataclass, a type such as int or Literal['a', 'b'], a "
    "dictionary of fields and their types, a JSON schema, a list of labels, or a regular expression"
)
"""What a schema may be, for messages."""
_KEYWORDS = frozenset(
    """
    $schema $id $ref $defs type properties required additionalProperties items prefixItems enum
    const anyOf oneOf allOf not pattern format minimum maximum minLength maxLength minItems maxItems
    if then else title description
    """.split()
)
"""By these a dictionary is known as a JSON schema."""
_WORDS = {
    "str": str, "string": str, "text": str, "int": int, "integer": int, "float": float,
    "number": float, "bool": bool, "boolean": bool,
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Schema:
    """What answers are to be; make one with `read_schema`.

    Two that were read from equal forms ask for the same grammar.
    """

    form: Literal["json", "labels", "regex"]
    grammar: Grammar
    """What holds an answer to it."""
    union: Union = ()
    """What the value may be, where an answer is JSON."""
    labels: tuple[str, ...] = ()
    """What is chosen from, where an answer is one of some labels."""
    pattern: str = ""
    """What an answer matches, where it is text of a form."""
    document: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The JSON schema as it was given, or as pydantic makes it of a type."""
    given: Any = dataclasses.field(default=None, compare=False, repr=False)
    """The schema as it was given, of which another process reads it again."""
    adapter: Any = dataclasses.field(default=None, compare=False)
    """pydantic's adapter, where it was given as a type."""

    def columns(self, *, flat: bool = True) -> tuple[Column, ...]:
        """Return the columns of an answer; see `hfnb.schema.fields.columns_of`.

        Raises:
            OptionError: Two of them would have one name.
        """
        if self.form == "labels":
            return (Column((), "category", self.labels),)
        if self.form == "regex":
            return (Column((), "string"),)
        return columns_of(self.union, flat=flat)

    @functools.cached_property
    def plain(self) -> dict[str, Any]:
        """The JSON schema that an answer is held to: plain words, and nothing wider."""
        return json.loads(self.grammar.text) if self.form == "json" else {}

    def __reduce__(self) -> Any:
        """Pickle as what was given: pydantic's adapters can't be pickled."""
        return read_schema, (self.given,)

    @functools.cached_property
    def validator(self) -> Any:
        """What checks a value against the JSON schema as it was given."""
        from jsonschema import Draft202012Validator

        return Draft202012Validator(dict(self.document))


def read_schema(schema: Any) -> Schema:
    """Read a schema in any of its forms.

    Args:
        schema: A pydantic class, a TypedDict, a dataclass or any other type that pydantic knows;
            a dictionary of fields and their types (``{"tone": ["good", "bad"], "score": float}``);
            a JSON schema; labels to choose from; a regular expression, as text or compiled.

    Raises:
        OptionError: It is none of these, can't be satisfied, is recursive, or asks for what no
            grammar can hold an answer to.
        MissingExtraError: The package jsonschema is missing.

    Example:
        >>> read_schema(["good", "bad"]).labels
        ('good', 'bad')
    """
    if isinstance(schema, Schema):
        return schema
    return dataclasses.replace(_read(schema), given=schema)


def _read(schema: Any) -> Schema:
    if isinstance(schema, (str, re.Pattern)):
        return _of_pattern(schema)
    if is_type(schema):
        return _of_type(schema)
    if isinstance(schema, Mapping):
        if is_document(schema):
            return _of_document(schema)
        return _of_type(_type_of_fields(schema, ()))
    if isinstance(schema, Iterable) and not isinstance(schema, bytes):
        return _of_labels(check_labels(schema))
    raise OptionError(f"A schema is {FORMS}; not {schema!r}.")


def _of_pattern(pattern: str | re.Pattern[str]) -> Schema:
    text = pattern if isinstance(pattern, str) else pattern.pattern
    if not text:
        raise OptionError("A schema that is a regular expression is not empty.")
    if text in _WORDS:
        raise OptionError(
            f"schema={text!r} is a regular expression, and matches that word alone. For the type "
            f"write schema={_WORDS[text].__name__}, without quotes."
        )
    if isinstance(pattern, re.Pattern) and pattern.flags & ~re.UNICODE:
        flags = re.RegexFlag(pattern.flags & ~re.UNICODE)
        raise OptionError(
            f"The regular expression {text!r} has {flags!r}, which a grammar has not. Write what "
            "it does into the expression, such as [Yy]es for re.IGNORECASE."
        )
    return Schema("regex", Grammar("regex", f" ?({grammar_pattern(text)})"), pattern=text)


def _of_labels(labels: tuple[str, ...]) -> Schema:
    check_apart(labels)
    return Schema("labels", labels_grammar(labels), labels=labels)


def _of_type(kind: Any) -> Schema:
    need_jsonschema()
    adapter = adapter_of(kind)
    return _of_document(document_of(kind, adapter), adapter)


def _of_document(document: Mapping[str, Any], adapter: Any = None) -> Schema:
    union = read_document(document)
    labels = _labels_of(union)
    if labels:
        return dataclasses.replace(_of_labels(labels), document=document, adapter=adapter)
    grammar = Grammar("json_schema", json.dumps(json_of(union)))
    return Schema("json", grammar, union=union, document=document, adapter=adapter)


def _labels_of(union: Union) -> tuple[str, ...]:
    """Return the labels, where a value is one of some that can be told apart without quotes."""
    values = union[0].values if len(union) == 1 and isinstance(union[0], Values) else ()
    try:
        labels = check_labels(values)
        check_apart(labels)
    except OptionError:
        return ()
    return labels


def is_document(schema: Mapping[Any, Any]) -> bool:
    """Whether a dictionary is a JSON schema, and not one of fields and their types."""
    if not schema:
        return True
    if any(_is_field(each) for each in schema.values()):
        return False
    return any(name in _KEYWORDS for name in schema)


def _is_field(value: Any) -> bool:
    """Whether a value can only be the type of a field."""
    return is_type(value) or isinstance(value, re.Pattern)


def _type_of_fields(fields: Mapping[Any, Any], place: tuple[str, ...]) -> Any:
    """Return the type of an object with fields."""
    made: dict[str, Any] = {}
    for name, value in fields.items():
        if not isinstance(name, str) or not name:
            raise OptionError(f"A field's name is text; not {name!r}.")
        made[name] = _type_of_field((*place, name), value)
    return of_fields(made, "_".join(("Answer", *place)))


def _type_of_field(place: tuple[str, ...], value: Any) -> Any:
    name = ".".join(place)
    if is_type(value):
        return value
    if isinstance(value, re.Pattern):
        return of_document({"type": "string", "pattern": value.pattern})
    if isinstance(value, Mapping):
        return of_document(value) if is_document(value) else _type_of_fields(value, place)
    if isinstance(value, str):
        hint = f" Write {_WORDS[value].__name__}, without quotes." if value in _WORDS else ""
        hint = hint or closest(value, _WORDS)
        raise OptionError(
            f"The field {name!r} has the text {value!r} for a type.{hint} A field is a type, a "
            "list of labels, a dictionary of fields, or re.compile(...) for a regular expression."
        )
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        labels = check_labels(value, f"The field {name!r}")
        return typing.Literal[labels]
    raise OptionError(
        f"The field {name!r} is {value!r}. A field is a type, a list of labels, a dictionary of "
        f"fields, or re.compile(...); types are {listing(_WORDS)}, and what pydantic knows."
    )


def described(schema: Schema) -> str:
    """Return what an answer is to be, in words for a model.

    Example:
        >>> described(read_schema(["good", "bad"]))
        "Answer with one of these, and nothing else: 'good', 'bad'"
    """
    if schema.form == "labels":
        return f"Answer with one of these, and nothing else: {listed(schema.labels)}"
    if schema.form == "regex":
        return (
            "Answer with text that matches this regular expression, and nothing else: "
            f"{schema.pattern}"
        )
    document = schema.document if schema.document else schema.plain
    text = json.dumps(document, ensure_ascii=False)
    return f"Answer with JSON by this JSON schema, and nothing else:\n{text}"
