"""Tab completion in the magics: tables, options, their values, and columns in a prompt's braces."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from IPython.core.completer import (
    CompletionContext,
    SimpleCompletion,
    SimpleMatcherResult,
    context_matcher,
)

from hfnb import hub, hub_fetch, session
from hfnb.errors import HfnbError
from hfnb.frame.tables import columns_of
from hfnb.magics.arguments import OF_CELL, OF_LOAD, Option, option_name
from hfnb.magics.comparing import OF_COMPARE, WORD, is_compare
from hfnb.magics.line import COMMANDS
from hfnb.magics.schema import is_schema
from hfnb.magics.words import Word, split
from hfnb.variables import is_model, tables

if TYPE_CHECKING:
    from hfnb.magics.magic import HfnbMagics

_CELL = re.compile(r"\s*%%hfnb(?=\s|$)(.*)", re.DOTALL)
_LINE = re.compile(r"\s*(?:\w+\s*=\s*)?%hfnb(?=\s|$)(.*)", re.DOTALL)
_LAST_WORD = re.compile(r"\S*$")
_IN_BRACES = re.compile(r"(?<!\{)(?:\{\{)*\{([^{}:!\n]*)$")
_NAME = re.compile(r"\w+")
_TEXT = re.compile(r"[^\s{}]*$")
_PATH = (".", "/", "~")
_DEVICES = {
    "pytorch": ("auto", "cpu", "cuda", "cuda:0", "mps", "xpu"),
    "openvino": ("AUTO", "CPU", "GPU", "NPU"),
}


class Completion:
    """Completes the magics of one shell.

    Where it is in charge, and has something to offer, IPython's own names and files stay out.

    Args:
        magics: The magics, for the user's variables.
    """

    def __init__(self, magics: HfnbMagics) -> None:
        self._magics = magics

    @context_matcher(priority=200, identifier="hfnb.magics")  # type: ignore[untyped-decorator]
    def match(self, context: CompletionContext) -> SimpleMatcherResult:
        """Return what may stand where the cursor is; see IPython's matchers, version 2."""
        before = context.text_until_cursor
        first, _, _ = context.full_text.lstrip("\n").partition("\n")
        cell = _CELL.match(first)
        if cell and context.cursor_line > 0 and first != context.line_with_cursor:
            return self._in_prompt(before, cell[1])
        if found := _CELL.match(before):
            return _result(found[1], self._of_cell(found[1]))
        if found := _LINE.match(before):
            return _result(found[1], self._of_line(found[1]))
        return {"completions": [], "suppress": False}

    def _in_prompt(self, before: str, line: str) -> SimpleMatcherResult:
        """Columns inside of braces; elsewhere the word as it is, since a prompt is no Python."""
        found = _IN_BRACES.search(before)
        if found is None:
            word = _TEXT.search(before)
            text = word[0] if word else ""
            return _offer([text] if text else [], text, "text")
        fields = self._fields(line)
        fitting = [name for name in fields if name.startswith(found[1])]
        return _offer(fitting or fields or list(filter(None, [found[1]])), found[1], "column")

    def _fields(self, line: str) -> list[str]:
        """Return what may stand in the braces of a prompt: columns, and values of ``--var``."""
        try:
            words = split(line)
            words = words[1:] if is_compare(words, self._magics.names) else words
            # Tab computes nothing: df.head(2) is taken to have the columns of df.
            name = _NAME.match(words[0].text) if words else None
            table = tables(self._magics.names).get(name[0]) if name else None
            columns = [] if table is None else columns_of(table)
        except HfnbError:
            return []
        named = [
            words[at + 1].text.partition("=")[0]
            for at, word in enumerate(words[:-1])
            if word.raw == "--var"
        ]
        every = [each for each in columns if isinstance(each, str)] + named
        return [each for each in every if each and not set(each) & set("{}:!")]

    def _columns(self, words: list[str]) -> list[str]:
        """Return the columns of the first word's table that can be written without quotes."""
        table = tables(self._magics.names).get(words[0])
        columns = [] if table is None else columns_of(table)
        return [each for each in columns if isinstance(each, str) and each.isidentifier()]

    def _of_cell(self, text: str) -> Iterable[str]:
        words, word = _words(text)
        if words and is_compare(split(text), self._magics.names):
            return self._of_compare(words[1:], word)
        if (option := _open_option(words, OF_CELL)) is not None:
            return self._values(option, words, word)
        if word.startswith("-") or _has_other(words, OF_CELL):
            return _left(OF_CELL, words)
        named = tables(self._magics.names)
        return [*named, *(word for word in (WORD,) if word not in named and not words)]

    def _of_compare(self, words: list[str], word: str) -> Iterable[str]:
        if (option := _open_option(words, OF_COMPARE)) is not None:
            return self._values(option, words, word)
        if word.startswith("-"):
            return _left(OF_COMPARE, words)
        if not _has_other(words, OF_COMPARE):
            return tables(self._magics.names)
        if "," in word:
            return _of_candidate(word)
        return [*self._held(), *_models(word)]

    def _held(self) -> list[str]:
        """Return the variables that hold models."""
        names = list(self._magics.names.items())
        return [name for name, value in names if name[0] != "_" and is_model(value)]

    def _of_line(self, text: str) -> Iterable[str]:
        words, word = _words(text)
        if not words:
            return COMMANDS
        command, rest = words[0], words[1:]
        if command == "load":
            if (option := _open_option(rest, OF_LOAD)) is not None:
                return self._values(option, rest, word)
            if word.startswith("-") or _has_other(rest, OF_LOAD):
                return _left(OF_LOAD, rest)
            return _models(word)
        if rest:
            return []
        if command == "panel":
            return tables(self._magics.names)
        if command == "unload":
            return dict.fromkeys(each.model for each in session.loaded())
        return ["options"] if command == "help" else []

    def _values(self, option: Option, words: list[str], word: str) -> Iterable[str]:
        """Return what may stand behind an option."""
        if option.choices:
            return option.choices
        names = self._magics.names
        if option.key == "model":
            return [*self._held(), *_models(word)]
        if option.key == "schema":
            return [name for name, value in list(names.items()) if is_schema(name, value)]
        if option.key == "device":
            return _DEVICES.get(_value_of("--backend", words), _DEVICES["pytorch"])
        if option.key == "reference":
            return self._columns(words)
        if option.key == "var":
            return [name for name, value in list(names.items()) if _is_plain(name, value)]
        return []


def _words(text: str) -> tuple[list[str], str]:
    """Return the words before the one that the cursor is in, and that one."""
    last = _LAST_WORD.search(text)
    word = last[0] if last else ""
    return text[: len(text) - len(word)].split(), word


def _open_option(words: list[str], options: Mapping[str, Option]) -> Option | None:
    """Return the option whose value comes next."""
    option = options.get(option_name(Word(words[-1]))) if words else None
    return option if option is not None and option.value and "=" not in words[-1] else None


def _has_other(words: list[str], options: Mapping[str, Option]) -> bool:
    """Whether there is a word already that belongs to no option."""
    return any(
        not option_name(Word(word)) and _open_option(words[:at], options) is None
        for at, word in enumerate(words)
    )


def _left(options: Mapping[str, Option], words: list[str]) -> list[str]:
    """Return the names of the options that may still be given."""
    given = {option_name(Word(word)) for word in words}
    keys = {options[name].key for name in given if name in options and not options[name].many}
    return [name for name, option in options.items() if option.key not in keys]


def _of_candidate(word: str) -> list[str]:
    """Return what a word with a model and a comma may become: options, and behind "=" values."""
    before, _, last = word.rpartition(",")
    told = dict(each.partition("=")[::2] for each in before.split(",")[1:])
    name, assigned, _ = last.partition("=")
    if not assigned:
        names = dict.fromkeys(option.key for option in OF_LOAD.values())
        return [f"{before},{each}=" for each in names if each not in told]
    options = {option.key: option for option in OF_LOAD.values()}
    option = options.get(name.replace("-", "_"))
    if option is None:
        return []
    values: Iterable[str] = option.choices
    if option.key == "device":
        values = _DEVICES.get(told.get("backend", ""), _DEVICES["pytorch"])
    elif not option.value:
        values = ("true", "false")
    return [f"{before},{name}={value}" for value in values]


def _value_of(name: str, words: list[str]) -> str:
    return next((value for word, value in pairwise(words) if word == name), "")


def _is_plain(name: str, value: object) -> bool:
    """Whether a variable may be meant for a prompt: one of the user's own, and no table or code."""
    return not name.startswith("_") and isinstance(value, (str, int, float))


def _models(word: str) -> list[str]:
    """Return the names of models that are on this machine, or folders where a path is typed."""
    if word.startswith(_PATH):
        return _folders(word)
    names = [*hub.packaged(), *(each.model for each in session.loaded()), *hub_fetch.cached()]
    return list(dict.fromkeys(names))


def _folders(word: str) -> list[str]:
    """Return the folders whose paths begin so."""
    above, _, begin = word.rpartition("/")
    try:
        found = sorted(Path(f"{above}/" if above or word else ".").expanduser().iterdir())
        names = [each.name for each in found if each.name.startswith(begin) and each.is_dir()]
    except (OSError, RuntimeError, ValueError):  # no such folder, or no such user
        return []
    return [f"{above}/{name}/" for name in names]


def _result(text: str, names: Iterable[str]) -> SimpleMatcherResult:
    if not text:
        return {"completions": [], "suppress": False}
    word = _LAST_WORD.search(text)
    typed = word[0] if word else ""
    fitting = [name for name in names if name.startswith(typed)]
    return _offer(fitting or ([typed] if typed else []), typed, "magic")


def _offer(names: Iterable[str], typed: str, kind: str) -> SimpleMatcherResult:
    """Offer names in their order, and let no other matcher add its own.

    A word that nothing fits is offered as it is: IPython listens to ``suppress`` only where there
    is something to offer.
    """
    return {
        "completions": [SimpleCompletion(text=name, type=kind) for name in names],
        "matched_fragment": typed,
        "suppress": True,
        "ordered": True,
    }
