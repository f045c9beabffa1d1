"""The options of the magics: their names, what they take, and how a line is read."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from hfnb.errors import OptionError, closest, listing
from hfnb.escapes import unescape
from hfnb.frame.elsewhere import ENGINES
from hfnb.magics.words import Word
from hfnb.options import CALL_OPTIONS
from hfnb.spec import BACKENDS, DTYPES, TASKS


def literal(text: str) -> Any:
    """Return the number, the flag or the list that a text says, else the text itself.

    Example:
        >>> literal("64"), literal("[1, 2]"), literal("true"), literal("auto")
        (64, [1, 2], True, 'auto')
    """
    try:
        return ast.literal_eval(text.capitalize() if text in ("true", "false", "none") else text)
    except (ValueError, SyntaxError):
        return text


class Option(NamedTuple):
    """One option of a magic."""

    key: str
    """The argument that it gives."""
    help: str
    value: str = ""
    """What to put behind its name; nothing for a flag."""
    choices: tuple[str, ...] = ()
    flag: bool = True
    """What a flag says."""
    many: bool = False
    """Whether it may be given several times."""
    read: Callable[[str], Any] = literal


def _of_call(name: str) -> Option:
    if name in _FLAGS:
        return Option(name, _HELP.get(name, ""))
    if name == "stop":
        return Option(name, _HELP[name], "TEXT", many=True, read=unescape)
    choices = ("error", "value") if name == "truncation" else ()
    read = literal if name not in ("src_lang", "tgt_lang", "truncation") else str
    return Option(name, _HELP.get(name, ""), "VALUE", choices, read=read)


_FLAGS = ("do_sample", "renormalize_logits", "remove_invalid_values", "token_healing")
_HELP = {
    "max_new_tokens": "the most tokens of an answer",
    "temperature": "0 takes the likeliest token; above 0 samples",
    "top_p": "sample among the likeliest tokens that have this share together",
    "top_k": "sample among so many of the likeliest tokens",
    "seed": "makes sampling repeat",
    "stop": r"ends an answer where this text comes; \n is the end of a line",
    "repetition_penalty": "above 1 makes words that were there less likely",
    "num_beams": "how many beams look for the likeliest answer",
    "truncation": "what is done with a prompt that is too long",
    "src_lang": "the language of the prompt",
    "tgt_lang": "the language of the answer",
}

GENERATING: dict[str, Option] = {
    f"--{name.replace('_', '-')}": _of_call(name)
    for name in sorted(CALL_OPTIONS, key=lambda name: (name not in _HELP, name))
}
"""How to generate, by transformers' names."""

LOADING: dict[str, Option] = {
    "--task": Option("task", "what the model does", "TASK", TASKS, read=str),
    "--backend": Option("backend", "what runs it", "BACKEND", BACKENDS, read=str),
    "--device": Option("device", "where it runs", "DEVICE", read=str),
    "--device-map": Option("device_map", "how it is spread over devices", "MAP"),
    "--dtype": Option("dtype", "what it computes in", "DTYPE", DTYPES, read=str),
    "--weight-format": Option(
        *("weight_format", "how its weights are kept", "FORMAT"),
        ("fp32", "fp16", "bf16", "int8", "int4"),
        read=str,
    ),
    "--revision": Option("revision", "its branch, tag or commit on the Hub", "NAME", read=str),
    "--reproducible": Option("reproducible", "OpenVINO answers as PyTorch does in float32"),
    "--trust-remote-code": Option("trust_remote_code", "run Python code that comes with it"),
    "--allow-pickle": Option("allow_pickle", "load pickled weights, which can run code"),
}
"""How to load a model."""

RUNNING: dict[str, Option] = {
    "--into": Option("into", "the column of the answers", "NAME", read=str),
    "--schema": Option(
        *("schema", "typed columns: a variable, or 'tone: good|bad, stars: int'", "SCHEMA"),
        read=str,
    ),
    "--nested": Option(*("nested", "fields of fields", "WHAT", ("columns", "objects")), read=str),
    "--raw-text": Option("raw_text", "keep the text of answers beside a schema's columns"),
    "--probabilities": Option("probabilities", "a column for each label's probability"),
    "--describe-schema": Option("describe_schema", "tell the model about the schema"),
    "--model": Option(
        "model", "a model's name, its folder, or a variable that holds one", "MODEL", read=str
    ),
    "-o": Option("output", "keep the result's table in a variable", "NAME", read=str),
    "--var": Option(
        *("var", "a Python variable, or NAME=EXPRESSION, for the prompt", "NAME"),
        many=True,
        read=str,
    ),
    "--limit": Option("limit", "only the first rows, this many", "N"),
    "--sample": Option("sample", "only some rows, drawn at random: the same each time", "N"),
    "--system": Option("system", "a system message", "TEXT", read=unescape),
    "--chat": Option("chat", "send prompts through the chat template"),
    "--no-chat": Option("chat", "send prompts as plain text", flag=False),
    "--quiet": Option("quiet", "show neither progress nor the result"),
    "--batch-size": Option("batch_size", "the most rows computed together", "N"),
    "--overwrite": Option("overwrite", "replace a column that is there"),
    "--nulls": Option("nulls", "rows with a null", "WHAT", ("skip", "empty", "raise"), read=str),
    "--too-long": Option(
        *("too_long", "prompts that are too long", "WHAT", ("error", "truncate", "skip")), read=str
    ),
    "--on-error": Option("on_error", "rows that fail", "WHAT", ("keep", "raise"), read=str),
    "--journal": Option("journal", "another file for finished rows", "FILE", read=str),
    "--no-journal": Option("journal", "keep no finished rows", flag=False),
    "--engine": Option(
        "engine", "where it runs: this machine, or a Ray cluster", "WHERE", ENGINES, read=str
    ),
}
"""What is run, and how it is shown."""

OF_CELL = {**RUNNING, **GENERATING, **LOADING}
OF_LOAD = {
    **LOADING,
    **{name: RUNNING[name] for name in ("--chat", "--no-chat", "--batch-size")},
    **GENERATING,
}


class Arguments(NamedTuple):
    """What a line says."""

    words: list[Word]
    """Those that belong to no option."""
    given: dict[str, Any]
    """The options' values, by argument."""

    def take(self, options: Mapping[str, Option]) -> dict[str, Any]:
        """Return those of the values that belong to some options."""
        keys = {option.key for option in options.values()}
        return {key: value for key, value in self.given.items() if key in keys}


def option_name(word: Word) -> str:
    """Return an option's name as the tables have it; empty if the word is none."""
    name = word.raw.partition("=")[0]
    if not name.startswith("--"):
        return name if re.fullmatch("-[a-z]", name) else ""
    return name.replace("_", "-")


def read_arguments(words: Sequence[Word], options: Mapping[str, Option]) -> Arguments:
    """Read the words of a line.

    Args:
        words: From `hfnb.magics.words.split`.
        options: The options that may be there.

    Raises:
        OptionError: An option is unknown (with the closest one), is given twice, has no value, or
            one that it can't have.
    """
    others: list[Word] = []
    given: dict[str, Any] = {}
    names: dict[str, str] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        name = option_name(word)
        if not name:
            others.append(word)
            continue
        option = options.get(name)
        if option is None:
            raise OptionError(f"Unknown option {name}.{closest(name, options)}")
        if option.key in names and not option.many:
            before = names[option.key]
            raise OptionError(
                f"{name} is given twice." if before == name else f"Give {before} or {name}."
            )
        names[option.key] = name
        value = _value(word, name, option, rest)
        if option.many:
            given.setdefault(option.key, []).append(value)
        else:
            given[option.key] = value
    return Arguments(others, given)


def _value(word: Word, name: str, option: Option, rest: list[Word]) -> Any:
    _, assigned, behind = word.raw.partition("=")
    if not option.value:
        if assigned:
            raise OptionError(f"{name} takes no value.")
        return option.flag
    if assigned:
        found = Word(behind)
    elif rest and not option_name(rest[0]):
        found = rest.pop(0)
    else:
        raise OptionError(f"{name} needs a value: {name} {option.value}.")
    # An expression of Python keeps its quotes; see `hfnb.magics.prompt`.
    text = found.raw if option.key == "var" else found.text
    if option.choices and option.key not in ("task", "backend", "dtype"):  # those have aliases
        _check_choice(name, text, option.choices)
    return option.read(text)


def _check_choice(name: str, text: str, choices: tuple[str, ...]) -> None:
    if text not in choices:
        raise OptionError(
            f"{name} is one of {listing(choices)}; not {text!r}.{closest(text, choices)}"
        )


_AT_FIRST = re.compile(r"[a-z_]+(?= )")
_IN_PYTHON = re.compile(r"\b([a-z_]+)=(\.\.\.|True|False|'[^' ]*'|[\w.]+)")


def in_options(message: str) -> str:
    """Return a message in which arguments of Python are the options of a line.

    Example:
        >>> in_options("Choose another name (into=...), or pass overwrite=True.")
        'Choose another name (--into NAME), or pass --overwrite.'
        >>> in_options("max_new_tokens is a whole number.")
        '--max-new-tokens is a whole number.'
    """
    by_key: dict[str, str] = {}
    for name, option in OF_CELL.items():
        by_key.setdefault(option.key, name)

    def written(found: re.Match[str]) -> str:
        key, value = found[1], found[2].strip("'")
        name = by_key.get(key)
        if name is None:
            return found[0]
        if value == "...":
            return f"{name} {OF_CELL[name].value}".rstrip()
        if value in ("True", "False"):
            for other, option in OF_CELL.items():
                if option.key == key and not option.value and option.flag is (value == "True"):
                    return other
        return f"{name} {value}"

    first = _AT_FIRST.match(message)
    if first is not None and first[0] in by_key:
        message = by_key[first[0]] + message[first.end() :]
    return _IN_PYTHON.sub(written, message)
