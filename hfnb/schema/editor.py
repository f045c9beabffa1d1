"""Schemas as people type them: rows of a small editor, and one line of text.

    tone: good|bad|mixed, stars: int, day: date, names: list[str], score: float?

A field that ends with a question mark may be null. Labels alone make a choice: ``good, bad``.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Sequence
from typing import Any

from hfnb.errors import OptionError, closest, listing
from hfnb.schema.labels import check_labels

CHOICE = "choice"
"""The type of a field whose value is one of some choices."""
FIELD_TYPES: dict[str, Any] = {
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "date": datetime.date,
    "datetime": datetime.datetime,
    "list[str]": list[str],
    "list[int]": list[int],
    "list[float]": list[float],
}
"""The other types of fields, by what a person picks or types."""
_SPLIT = re.compile(r"\s*,\s*")


def fields_of(rows: Iterable[tuple[str, str, Sequence[str]]]) -> dict[str, Any]:
    """Return what ``schema=`` takes, of the rows of an editor.

    Args:
        rows: For each field its name, its type, one of `FIELD_TYPES` or ``"choice"``, with a
            question mark behind it where the value may be null; and the choices.

    Raises:
        OptionError: There is no field, a name is missing or there twice, a type is unknown, or a
            choice has fewer than two labels.

    Example:
        >>> fields_of([("tone", "choice", ["good", "bad"]), ("stars", "int", [])])
        {'tone': ['good', 'bad'], 'stars': <class 'int'>}
    """
    made: dict[str, Any] = {}
    for number, (name, kind, choices) in enumerate(rows, 1):
        if not name.strip():
            raise OptionError(f"Field {number} has no name.")
        if name.strip() in made:
            raise OptionError(f"There are two fields named {name.strip()!r}.")
        made[name.strip()] = _type_of(name.strip(), kind.strip(), choices)
    if not made:
        raise OptionError("A schema needs at least one field.")
    return made


def read_inline(text: str) -> Any:
    """Return what ``schema=`` takes, of a line of text.

    Raises:
        OptionError: A field has no type, or an unknown one; or there are fewer than two labels.

    Example:
        >>> read_inline("tone: good|bad, stars: int")
        {'tone': ['good', 'bad'], 'stars': <class 'int'>}
        >>> read_inline("good, bad")
        ['good', 'bad']
    """
    parts = _SPLIT.split(text.strip().strip(","))
    if ":" not in text:
        parts = parts if len(parts) > 1 else [each.strip() for each in text.split("|")]
        return list(check_labels(parts))
    rows = []
    for part in parts:
        name, colon, kind = (each.strip() for each in part.partition(":"))
        if not colon or not kind:
            raise OptionError(
                f"The field {part!r} has no type. Write name: type, such as score: float, or "
                "tone: good|bad."
            )
        choices = [each.strip() for each in kind.split("|")] if "|" in kind else []
        rows.append((name, CHOICE if choices else kind, choices))
    return fields_of(rows)


def _type_of(name: str, kind: str, choices: Sequence[str]) -> Any:
    may_be_null = kind.endswith("?")
    kind = kind.removesuffix("?").strip()
    if kind == CHOICE:
        labels = check_labels(choices, f"The field {name!r}")
        return list(labels)
    found = FIELD_TYPES.get(kind)
    if found is None:
        known = [*FIELD_TYPES, CHOICE]
        raise OptionError(
            f"The field {name!r} has the unknown type {kind!r}.{closest(kind, known)} "
            f"Types are {listing(known)}; labels stand between bars: good|bad."
        )
    return found | None if may_be_null else found
