r"""What a person types for what can't stand as itself: ``\n`` in a line, ``{{`` in a prompt."""

from __future__ import annotations

import re

_ESCAPE = re.compile(r"\\([ntr\\])")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}
_UNPRINTED = {text: f"\\{letter}" for letter, text in _ESCAPES.items()}


def unescape(text: str) -> str:
    r"""Return a text in which the two characters ``\n`` are one, the end of a line.

    Example:
        >>> unescape(r"one\ttwo\n")
        'one\ttwo\n'
    """
    return _ESCAPE.sub(lambda found: _ESCAPES[found[1]], text)


def escape(text: str) -> str:
    r"""Return what `unescape` makes the text of.

    Example:
        >>> print(escape("one\ttwo\n"))
        one\ttwo\n
    """
    return "".join(_UNPRINTED.get(each, each) for each in text)


def escape_braces(text: str) -> str:
    """Return a text in which braces stand for themselves when it is part of a prompt.

    Example:
        >>> escape_braces("{i}")
        '{{i}}'
    """
    return text.replace("{", "{{").replace("}", "}}")
