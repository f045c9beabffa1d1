r"""Regular expressions as grammars take them: what they match, Python's ``re`` matches too.

A grammar writes the whole text by the pattern, so that anchors at its ends say nothing new. Classes
such as ``\W`` are those of Unicode in Python and of ASCII in a grammar: here they become what is
in both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from hfnb.errors import OptionError

_PIECE = re.compile(
    r"(?P<escape>\\(?:u\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.))"
    r"|(?P<set>\[\^?\]?(?:\\.|[^\]\\])*\])"
    r"|(?P<special>\(\?(?!:)[^)]?)"
    r"|(?P<open>\((?:\?:)?)"
    r"|(?P<repeat>[*+?]|\{\d*,?\d*\})(?P<greed>[?+]?)"
    r"|(?P<other>.)",
    re.DOTALL,
)
_NO_SPACE = r"[!-~\u00a1-\u167f\u1681-\u1fff\u2030-\u205e\u2060-\u2fff\u3001-\ud7ff\ue000-\uf8ff]"
_CLASSES = {"W": r"[ -/:-@\[-\^`{-~]", "D": "[ -/:-~]", "S": _NO_SPACE, "s": r"[ \t\r\n]"}
"""What a class matches for certain, where Python and grammars differ."""
CHARACTER = "[ -\ud7ff\ue000-\U0010ffff]"
"""Any whole character of a JSON string: half of a surrogate pair would count as several."""
_SPACES = r" \t\r\n"
_CODE = r"(?:\\(?:u\{[0-9a-fA-F]+\}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|.)|[^\\])"
_MEMBER = re.compile(rf"{_CODE}(?:-{_CODE})?", re.DOTALL)
_UNKNOWN = re.compile(r"[1-9AbBZpPkgGX]")
"""Escapes that say something on the text around them, or that only some know."""


def grammar_pattern(pattern: str) -> str:
    """Return a pattern for a grammar; what matches all of it, matches the given one.

    Raises:
        OptionError: It is no regular expression, or asks for what no grammar has.

    Example:
        >>> grammar_pattern("^[A-Z]{2}$"), grammar_pattern("^a|b$")
        ('[A-Z]{2}', 'a|b')
    """
    check_pattern(pattern)
    return "".join(_pieces(pattern))


def check_pattern(pattern: str) -> None:
    """Check that a pattern is one.

    Raises:
        OptionError: What is wrong with it.
    """
    try:
        re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise OptionError(
            f"The pattern {pattern!r} is no regular expression that Python knows: {error}."
        ) from error


def _pieces(pattern: str) -> Iterator[str]:
    depth, first = 0, True
    for at in _PIECE.finditer(pattern):
        piece = at[0]
        if at["special"]:
            raise _no_grammar(pattern, f"{piece!r}, which looks around or has a name or a flag")
        if at["escape"] and _UNKNOWN.fullmatch(piece[1:2]):
            raise _no_grammar(pattern, f"{piece!r}")
        if at["escape"]:
            yield _CLASSES.get(piece[1:], piece)
        elif at["set"]:
            yield _checked_set(piece, pattern)
        elif piece == ".":
            yield CHARACTER
        elif at["repeat"]:
            if at["greed"] == "+":
                raise _no_grammar(pattern, f"the possessive {piece!r}")
            yield at["repeat"]  # how greedy it is, changes nothing of what matches
        elif piece == "^":
            if depth or not first:
                raise _no_grammar(pattern, "a '^' that is not at its beginning")
        elif piece == "$":
            if depth or pattern[at.end() : at.end() + 1] not in ("", "|"):
                raise _no_grammar(pattern, "a '$' that is not at its end")
        else:
            depth += (1 if at["open"] else 0) - (piece == ")")
            yield piece
        first = piece == "|" and not depth


def _checked_set(piece: str, pattern: str) -> str:
    """Return a set of characters, unless Python's is another one."""
    inside = re.sub(r"\\\\", "", piece)
    if re.search(r"\\[WDS]", inside) or (piece[1] == "^" and re.search(r"\\[wds]", inside)):
        raise _no_grammar(pattern, f"the set {piece!r}, in which a class is left out")
    begin = 2 if piece[1] == "^" else 1
    members = [_SPACES if at[0] == r"\s" else at[0] for at in _MEMBER.finditer(piece[begin:-1])]
    members = [rf"\{each}" if each in ("-", "]", "^") else each for each in members]
    # xgrammar reads the code of a character, \xe9, and a digit behind it as one number.
    members.sort(key=lambda each: ord(each[0]) > 127 or bool(re.match(r"\\[ux]", each)))
    if begin == 2:
        members.append(r"\ud800-\udfff")  # halves of surrogate pairs, which are no characters
    return f"{piece[:begin]}{''.join(members)}]"


def _no_grammar(pattern: str, what: str) -> OptionError:
    return OptionError(
        f"The schema asks for what an answer can't be held to: the pattern {pattern!r} has {what}."
    )
