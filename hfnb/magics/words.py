"""The words of a magic's line: where they are, and what they say without their quotes."""

from __future__ import annotations

import re
from typing import NamedTuple

from hfnb.errors import OptionError

# A backslash is an ordinary character here: paths of Windows have them, and so has "\n".
_WORD = re.compile(r"""(?:[^\s"']|"[^"]*"|'[^']*')+""")
_QUOTED = re.compile(r"""(["'])(.*?)\1""")


class Word(NamedTuple):
    """One word of a line."""

    raw: str
    """As it was typed, with its quotes."""

    @property
    def text(self) -> str:
        """What it says."""
        return _QUOTED.sub(lambda found: found[2], self.raw)


def split(line: str) -> list[Word]:
    """Split a line at its spaces, but for those in quotes.

    Raises:
        OptionError: A quote is not closed.

    Example:
        >>> [word.text for word in split("df --into answer --stop 'the end'")]
        ['df', '--into', 'answer', '--stop', 'the end']
    """
    if found := re.search(r"""["']""", _WORD.sub("", line)):
        other = '"' if found[0] == "'" else "'"
        raise OptionError(
            f"A {found[0]} is not closed. Put text that has one in it between {other} and {other}."
        )
    return [Word(each) for each in _WORD.findall(line)]
