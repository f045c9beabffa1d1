"""What ``--schema`` says: a variable, fields or labels in words, or an expression of Python."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from hfnb.errors import OptionError, closest
from hfnb.magics.namespace import evaluate
from hfnb.schema.editor import read_inline
from hfnb.schema.types import is_type


def schema_of(text: str, names: Mapping[str, Any]) -> Any:
    """Return what ``schema=`` of `hfnb.run` takes.

    Args:
        text: A variable's name; ``tone: good|bad, stars: int``; ``good, bad``; JSON; or an
            expression in braces, brackets or parentheses, or with a call.
        names: The user's variables.

    Raises:
        OptionError: There is no such variable, with the closest; or it can't be read.
    """
    if text.isidentifier():
        if text in names:
            return names[text]
        if text in _BUILT_IN:
            return _BUILT_IN[text]
        mine = [name for name, value in list(names.items()) if is_schema(name, value)]
        raise OptionError(
            f"There is no variable {text!r} for --schema.{closest(text, mine)} Give a variable "
            "that holds a schema, or write it: --schema 'tone: good|bad, stars: int'."
        )
    if text.startswith("{") or re.fullmatch(r"[\w.]+[\[(].*[\])]", text):
        try:
            return json.loads(text)
        except ValueError:
            return evaluate(text, names)
    return read_inline(text)


_BUILT_IN = {"str": str, "int": int, "float": float, "bool": bool}


def is_schema(name: str, value: object) -> bool:
    """Whether a variable may be meant as a schema."""
    if name.startswith("_") or name == "In":  # the history of cells, which is a list of texts
        return False
    if isinstance(value, (list, tuple)):
        return len(value) > 1 and all(isinstance(each, str) for each in value)
    if isinstance(value, dict):
        return bool(value) and all(isinstance(each, str) for each in value)
    try:
        return isinstance(value, re.Pattern) or is_type(value)
    except Exception:  # the value's own code runs here, for every variable that Tab looks at
        return False
