"""Python's types as JSON schemas: those that pydantic reads, and typing's own TypedDict."""

from __future__ import annotations

import functools
import operator
import sys
import types
import typing
from collections.abc import Mapping
from typing import Any

from hfnb.errors import OptionError


def is_type(value: object) -> bool:
    """Whether a value is a type, or says one as ``Literal["a"]`` and ``list[str]`` do."""
    return (
        isinstance(value, type)
        or value is Any
        or typing.get_origin(value) is not None
        or isinstance(value, (types.UnionType, typing.NewType, typing.TypeVar))
    )


def adapter_of(kind: Any) -> Any:
    """Return pydantic's adapter of a type.

    Raises:
        OptionError: pydantic makes no JSON schema of it.
    """
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(_for_pydantic(kind))
    except Exception as error:  # pydantic has many, and types run code of their own
        raise _unreadable(kind, error) from error


def document_of(kind: Any, adapter: Any = None) -> dict[str, Any]:
    """Return the JSON schema of a type.

    Raises:
        OptionError: pydantic makes none of it.
    """
    adapter = adapter_of(kind) if adapter is None else adapter
    try:
        document: dict[str, Any] = adapter.json_schema()
    except Exception as error:
        raise _unreadable(kind, error) from error
    return document


def _unreadable(kind: Any, error: Exception) -> OptionError:
    said = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    name = getattr(kind, "__name__", repr(kind))
    return OptionError(
        f"No JSON schema can be made of the type {name}: {said}. Use str, int, float, bool, date, "
        "datetime, Literal, Enum, list, TypedDict, a dataclass or a pydantic class."
    )


def _for_pydantic(kind: Any) -> Any:
    """Return a type in which typing's TypedDicts are those of typing_extensions.

    Below Python 3.12 pydantic takes no others, since they don't keep which keys are required.
    """
    if sys.version_info >= (3, 12):
        return kind
    return _modern(kind)


def _modern(kind: Any) -> Any:
    if isinstance(kind, type) and type(kind) is typing._TypedDictMeta:  # type: ignore[attr-defined]
        from typing_extensions import TypedDict

        hints = typing.get_type_hints(kind, include_extras=True)
        required: frozenset[str] = kind.__required_keys__  # type: ignore[attr-defined]
        fields = {
            name: _modern(each) if name in required else typing.NotRequired[_modern(_bare(each))]
            for name, each in hints.items()
        }
        make: Any = TypedDict
        made = make(kind.__name__, fields)
        made.__doc__ = kind.__doc__
        return made
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is None or origin is typing.Literal or not inner:
        return kind
    if origin is typing.Annotated:
        return typing.Annotated[(_modern(inner[0]), *inner[1:])]
    changed = tuple(_modern(each) for each in inner)
    if changed == inner:
        return kind
    if origin in (typing.Union, types.UnionType):
        return functools.reduce(operator.or_, changed)
    return origin[changed]


def _bare(kind: Any) -> Any:
    """Return what stands inside of Required or NotRequired."""
    outer = typing.get_origin(kind)
    return typing.get_args(kind)[0] if outer in (typing.Required, typing.NotRequired) else kind


def of_fields(fields: Mapping[str, Any], name: str = "Answer") -> Any:
    """Return the type of an object with these fields, by their types; all of them are required."""
    from typing_extensions import TypedDict

    make: Any = TypedDict
    return make(name, {key: _for_pydantic(kind) for key, kind in fields.items()})


def of_document(document: Mapping[str, Any]) -> Any:
    """Return a type for a value of a JSON schema, as a field beside others."""
    from pydantic import WithJsonSchema

    return typing.Annotated[Any, WithJsonSchema(dict(document))]
