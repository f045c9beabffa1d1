"""Tool calls as models write them: where their JSON ends, and what it says."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

_IN_STRING = re.compile(r'\\.?|"', re.DOTALL)
_OUTSIDE = re.compile(r'["{}\[\]<]')
_XML_NAME = re.compile(r"<function=([^>\s]+)\s*>")
_XML_ARGUMENT = re.compile(r"<parameter=([^>\s]+)\s*>\n?(.*?)\n?</parameter>", re.DOTALL)


class Piece(NamedTuple):
    """A part of an answer."""

    kind: Literal["content", "reasoning", "call", "invalid"]
    text: str
    """Text; of a call its arguments as JSON, of an invalid one what the model wrote."""
    name: str = ""
    error: str = ""


class JsonEnd:
    """Finds where a JSON object or list ends, however often the text has grown."""

    def __init__(self, start: int = 0) -> None:
        self._at = start
        self._depth = 0
        self._quoted = False

    def end(self, text: str) -> int | None:
        """Return the place after the value; ``-1 - place`` where a tag breaks in; else ``None``."""
        while found := (_IN_STRING if self._quoted else _OUTSIDE).search(text, self._at):
            mark = found.group()
            if mark[0] == "\\":
                if len(mark) < 2:
                    return None
            elif mark == '"':
                self._quoted = not self._quoted
            elif mark == "<":
                return -1 - found.start()
            else:
                self._depth += 1 if mark in "{[" else -1
            self._at = found.end()
            if self._depth <= 0 and not self._quoted:
                return self._at
        self._at = len(text)
        return None


def loads(text: str) -> Any:
    """Read JSON in which strings may hold line breaks, as small models write them."""
    try:
        return json.loads(text, strict=False)
    except RecursionError as error:
        raise ValueError("The JSON is nested too deeply.") from error


def _dumps(arguments: dict[str, Any]) -> str:
    try:
        return json.dumps(arguments, ensure_ascii=False)
    except RecursionError as error:
        raise ValueError("The JSON is nested too deeply.") from error


def call_of(value: Any) -> Piece:
    """Return a call from what the model wrote as JSON."""
    if isinstance(value, dict) and isinstance(value.get("function"), dict):
        value = value["function"]
    name = (value.get("name") or value.get("function")) if isinstance(value, dict) else None
    if not isinstance(name, str):
        raise ValueError('A tool call is an object with "name" and "arguments".')
    arguments = value.get("arguments", value.get("parameters"))
    if isinstance(arguments, str):
        arguments = loads(arguments) if arguments.strip() else {}
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        raise ValueError(f"The arguments of {name!r} are no object.")
    return Piece("call", _dumps(arguments), name)


def calls_of(text: str) -> list[Piece]:
    """Return the call, or the list of calls, that a text in JSON is.

    Raises:
        ValueError: It is no JSON, or no call.
    """
    value = loads(text)
    return [call_of(each) for each in (value if isinstance(value, list) else [value])]


def xml_call(text: str, schemas: Mapping[str, Any]) -> Piece | None:
    """Read a call as Qwen's coding models write it: ``<function=name><parameter=...>``."""
    name = _XML_NAME.search(text)
    if name is None:
        return None
    properties = schemas.get(name.group(1), {}).get("properties", {})
    arguments: dict[str, Any] = {}
    for key, value in _XML_ARGUMENT.findall(text):
        arguments[key] = value
        if properties.get(key, {}).get("type") != "string":
            try:
                arguments[key] = loads(value)
            except ValueError:
                continue
    try:
        return Piece("call", _dumps(arguments), name.group(1))
    except ValueError:
        return None
