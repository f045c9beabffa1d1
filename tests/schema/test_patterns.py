"""Patterns for grammars: what they match, Python matches too."""

from __future__ import annotations

import re

import pytest

from hfnb.errors import OptionError
from hfnb.schema.formats import FORMATS
from hfnb.schema.patterns import grammar_pattern


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("^[A-Z]{2}$", "[A-Z]{2}"),
        ("^a|b$", "a|b"),
        ("(?:a|b)+?", "(?:a|b)+"),
        (r"\$\^", r"\$\^"),
        ("[é1-]", r"[1\-é]"),
        (r"[\s]", r"[ \t\r\n]"),
        ("[^]a]", r"[^\]a\ud800-\udfff]"),
    ],
)
def test_anchors_go_and_the_rest_stays(pattern: str, expected: str) -> None:
    assert grammar_pattern(pattern) == expected


@pytest.mark.parametrize("pattern", [r"\W", r"\D", r"\S", r"\s", ".", r"[\d_-]", "[^a]"])
def test_a_class_matches_nothing_that_python_does_not(pattern: str) -> None:
    made = re.compile(grammar_pattern(pattern))
    for code in [*range(32, 0x3100), *range(0xD7FF, 0x11000, 7)]:
        if made.fullmatch(chr(code)):
            assert re.fullmatch(pattern, chr(code))


@pytest.mark.parametrize(
    "pattern",
    [r"a\b", r"(a)\1", "(?=a)", "(?!a)", "(?<!a)b", "(?P<n>a)", "(?i)a", "a^b", "a$b", "(^a)",
     r"[\W]", r"[^\w]", "a++", r"\Aa", "(a"],
)  # fmt: skip
def test_what_grammars_have_not_is_refused(pattern: str) -> None:
    with pytest.raises(OptionError, match="pattern"):
        grammar_pattern(pattern)


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("date", ["2024-02-29", "2000-02-29", "0001-01-01", "9999-12-31", "2023-04-30"],
         ["2023-02-29", "1900-02-29", "2023-04-31", "0000-01-01", "2023-13-01"]),
        ("date-time", ["2024-02-29T23:59:59Z", "2023-01-31T00:00:00.25+05:30"],
         ["2023-02-29T00:00:00Z", "2024-01-01T24:00:00Z", "2024-01-01T00:00:00"]),
        ("email", ["a.b@c.org"], ["a@b", "@c.org"]),
        ("ipv4", ["127.0.0.1", "255.255.255.0"], ["256.0.0.1", "01.2.3.4"]),
        ("uuid", ["123e4567-e89b-12d3-a456-426614174000"], ["123e4567"]),
    ],
)  # fmt: skip
def test_formats_are_what_they_are_named(name: str, right: list[str], wrong: list[str]) -> None:
    pattern = re.compile(FORMATS[name])
    assert all(pattern.fullmatch(each) for each in right)
    assert not any(pattern.fullmatch(each) for each in wrong)
