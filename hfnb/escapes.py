r"""Ends of lines and tabs as a person types them where a line is all there is: ``\n``, ``\t``."""

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
