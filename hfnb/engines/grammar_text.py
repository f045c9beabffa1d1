"""Grammars of all kinds as plain EBNF, in words that xgrammar's older versions read, too.

OpenVINO GenAI carries such an older one. PyTorch's engine takes JSON schemas so, too: xgrammar's
own automaton for a pattern ``a(xb+)?`` also lets ``abb`` through, and halves of characters, where
its plain rules for the same pattern do not.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator

from hfnb.engines.grammar_schema import need_xgrammar, reason_of, safe_schema, safe_tag
from hfnb.errors import OptionError
from hfnb.spec import Grammar

_PIECE = re.compile(
    r'(?P<text>"(?:[^"\\]|\\.)*")|\[(?P<set>(?:[^\]\\]|\\.)*)\]|\{(?P<least>\d+), -1\}'
    r"|(?P<name>[A-Za-z_]\w*)"
)
"""The pieces of a grammar as xgrammar writes it, as far as they matter here."""
_DIGIT = re.compile(r"^(\w+) ::= \(\(\[0-9\]\)\)$", re.MULTILINE)
"""Rules of one digit, of which xgrammar makes numbers."""
_REGEX = re.compile(r'^(\w+) ::= Regex\(("(?:[^"\\]|\\.)*"), json_string=true\)$', re.MULTILINE)
_OF_JSON = ((0, 0x1F), (0x22, 0x22), (0x5C, 0x5C))
"""What can't stand in a JSON string as it is: control characters, the quote, the backslash."""
_ESCAPED = {"n": 10, "t": 9, "r": 13, "f": 12, "v": 11, "a": 7, "b": 8, "0": 0, "e": 27}
_CHARACTER = re.compile(
    r"\\x([0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})|\\(.)|(.)", re.DOTALL
)


@functools.lru_cache(maxsize=32)
def grammar_text(grammar: Grammar) -> str:
    """Return a grammar as an EBNF, which xgrammar makes of any kind.

    In JSON no number has digits without end: an integer has up to 18, so that 64 bits hold it, a
    fraction up to 17, and an exponent 2. Given a JSON schema itself, GenAI allows free white space,
    too; an undecided model writes either for ever.

    Raises:
        MissingExtraError: xgrammar is not installed.
        OptionError: The grammar can't be compiled.
    """
    need_xgrammar()
    import xgrammar

    try:
        if grammar.kind == "ebnf":
            xgrammar.Grammar.from_ebnf(grammar.text)
            return grammar.text
        if grammar.kind == "json_schema":
            schema = json.dumps(safe_schema(json.loads(grammar.text), set()))
            made = xgrammar.Grammar.from_json_schema(schema, any_whitespace=False)
        elif grammar.kind == "regex":
            made = xgrammar.Grammar.from_regex(grammar.text)
        else:
            tag = json.dumps(safe_tag(json.loads(grammar.text), set()))
            made = xgrammar.Grammar.from_structural_tag(tag)
        return _REGEX.sub(_rules_of, _open_ends(_with_fewer_digits(str(made))))
    except (RuntimeError, ValueError, TypeError, RecursionError) as error:
        raise OptionError(
            f"The {grammar.kind.replace('_', ' ')} can't be compiled: {reason_of(error)}"
        ) from error


def check_grammar(grammar: Grammar) -> None:
    """Check that a grammar can be compiled, and holds an answer to all that a JSON schema says.

    Raises:
        MissingExtraError: xgrammar is not installed.
        OptionError: Why it can't.
    """
    need_xgrammar("A schema")
    grammar_text(grammar)
    unenforced: set[str] = set()
    if grammar.kind == "json_schema":
        safe_schema(json.loads(grammar.text), unenforced)
    if unenforced:
        names = ", ".join(sorted(unenforced))
        raise OptionError(f"The schema asks for what an answer can't be held to: {names}.")


def _with_fewer_digits(text: str) -> str:
    """Return the rules of JSON with an end to the digits of its numbers."""
    digits = "|".join(map(re.escape, _DIGIT.findall(text))) or "(?!)"
    without_end = re.compile(rf"\b({digits})\{{(\d+), -1\}}")

    def bounded(line: str) -> str:
        if "Regex(" in line:  # a pattern says itself how long it is
            return line
        most = 2 if "[eE]" in line else 17
        line = without_end.sub(lambda at: f"{at[1]}{{{at[2]}, {max(int(at[2]), most)}}}", line)
        return line.replace("[0-9]*", "hfnb_digit{0, 17}")

    return "\n".join(["hfnb_digit ::= [0-9]", *map(bounded, text.splitlines())])


def _open_ends(text: str) -> str:
    """Write a repetition without end as ``{2,}``, where the package writes ``{2, -1}``."""
    return _PIECE.sub(lambda at: f"{{{at['least']},}}" if at["least"] else at[0], text)


def _rules_of(found: re.Match[str]) -> str:
    """Return plain rules for a pattern within a JSON string, for which GenAI has no word.

    Characters that JSON would have to escape are left out.
    """
    import xgrammar

    name, pattern = found[1], "".join(map(chr, _codes(found[2][1:-1])))

    def plain(piece: re.Match[str]) -> str:
        if piece["name"]:
            return f"{name}_of_{piece['name']}"
        if piece["set"] is not None:
            return _json_set(piece["set"], pattern)
        codes = _codes((piece["text"] or "")[1:-1])
        if any(low <= code <= high for code in codes for low, high in _OF_JSON):
            raise _not_in_json(pattern)
        return piece[0]

    rules = _PIECE.sub(plain, _open_ends(str(xgrammar.Grammar.from_regex(pattern))))
    return f"{name} ::= {name}_of_root\n{rules}"


def _codes(text: str) -> Iterator[int]:
    """Yield the characters that a piece of a grammar stands for."""
    for at in _CHARACTER.finditer(text):
        code = at[1] or at[2] or at[3]
        if code:
            yield int(code, 16)
        elif at[4]:
            yield _ESCAPED.get(at[4], ord(at[4]))
        else:
            yield ord(at[5])


def _json_set(inside: str, pattern: str) -> str:
    """Return a set of characters without those that JSON has to escape."""
    if inside.startswith("^"):
        return f'[{inside}\\"\\\\\\0-\\x1f]'
    parts = [at[0] for at in _CHARACTER.finditer(inside)]
    ranges, at = list[tuple[int, int]](), 0
    while at < len(parts):
        (low,) = _codes(parts[at])
        high = low
        if at + 2 < len(parts) and parts[at + 1] == "-":
            (high,) = _codes(parts[at + 2])
            at += 2
        ranges.append((low, high))
        at += 1
    for low, high in _OF_JSON:
        ranges = [
            part
            for first, last in ranges
            for part in ((first, min(last, low - 1)), (max(first, high + 1), last))
            if part[0] <= part[1]
        ]
    if not ranges:
        raise _not_in_json(pattern)
    return "[" + "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in ranges) + "]"


def _not_in_json(pattern: str) -> ValueError:
    return ValueError(
        f"The pattern {pattern!r} asks for a quotation mark, a backslash or a control character, "
        "which can't stand in a JSON string as it is."
    )
