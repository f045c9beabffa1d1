"""A choice among labels: what they may be, and the grammar that holds an answer to one of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

from hfnb.errors import OptionError
from hfnb.spec import Grammar


def check_labels(labels: Iterable[Any], what: str = "A choice") -> tuple[str, ...]:
    """Return labels as they can be chosen from.

    Raises:
        OptionError: There are fewer than two, or one is no text, is empty, or is there twice.
    """
    found = tuple(labels)
    for each in found:
        if not isinstance(each, str):
            raise OptionError(
                f"{what} is among texts, and {each!r} is of type {type(each).__name__}. Write "
                f"{str(each)!r}, or use a schema with a field for it: {{'value': int}}."
            )
        if not each.strip() or each != each.strip():
            raise OptionError(
                f"{what} is among texts without white space around them; not {each!r}."
            )
    twice = next((each for each in found if found.count(each) > 1), None)
    if twice is not None:
        raise OptionError(f"{what} has the label {twice!r} twice.")
    if len(found) < 2:
        raise OptionError(f"{what} needs at least two labels; there is {listed(found) or 'none'}.")
    return found


def check_apart(labels: Sequence[str]) -> None:
    """Check that no label is how another one begins.

    Raises:
        OptionError: Which one it is.
    """
    ordered = sorted(labels)
    for one, other in itertools.pairwise(ordered):
        if other.startswith(one):
            raise OptionError(
                f"The label {one!r} is how {other!r} begins, so that a model which has written "
                f"{one!r} has not decided yet. Choose other words, or use a field of an object, "
                "where quotes end each label: schema={'label': Literal[...]}."
            )


def labels_grammar(labels: Sequence[str]) -> Grammar:
    """Return the grammar of one of some labels.

    A space may come first: after "Answer:" many models have no other way to begin a word.
    """
    return Grammar("ebnf", f'root ::= " "? ({" | ".join(map(quoted, labels))})')


def quoted(text: str) -> str:
    """Return a text as a literal of an EBNF grammar."""
    escaped = json.dumps(text, ensure_ascii=False)[1:-1]
    plain = (c if ord(c) >= 32 else f"\\x{ord(c):02x}" for c in escaped)
    return f'"{"".join(plain)}"'


def listed(labels: Sequence[str]) -> str:
    """Return labels as a person writes them."""
    return ", ".join(map(repr, labels))
