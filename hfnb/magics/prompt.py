"""The prompt in a cell: its columns, and the Python variables that it was given."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from typing import Any

from hfnb.errors import OptionError, TemplateError, closest, listing
from hfnb.escapes import escape_braces
from hfnb.frame.template import Template
from hfnb.magics.namespace import evaluate
from hfnb.magics.words import Word


def prompt_of(cell: str) -> str:
    """Return a cell's text without empty lines around it.

    Raises:
        OptionError: There is none.
    """
    text = cell.strip("\r\n")
    if not text.strip():
        raise OptionError(
            "The cell has no prompt. Write it below the first line, with columns in braces, such "
            "as: What is the number {i} in french?"
        )
    return text


def values_of(given: Sequence[str], names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of ``--var NAME`` and ``--var NAME=EXPRESSION``.

    Raises:
        OptionError: A variable is not there, with the closest one, or an expression is wrong.
    """
    values: dict[str, Any] = {}
    for raw in given:
        word = raw if not raw.startswith(("'", '"')) else Word(raw).text
        name, assigned, expression = (part.strip() for part in word.partition("="))
        if not name.isidentifier():
            raise OptionError(f"--var takes a name, or NAME=EXPRESSION; not {word!r}.")
        if name in values:
            raise OptionError(f"--var {name} is given twice.")
        if not assigned and name not in names:
            mine = [each for each in names if not each.startswith("_")]
            raise OptionError(f"There is no variable {name!r}.{closest(name, mine)}")
        values[name] = evaluate(expression, names) if assigned else names[name]
    return values


def fill(prompt: str, values: Mapping[str, Any]) -> str:
    """Put values into a prompt, and leave its other braces as they are.

    Raises:
        OptionError: The prompt does not ask for one of the values.
        TemplateError: A value can't be formatted so.

    Example:
        >>> fill("Say {i} in a {tone} tone, {{please}}.", {"tone": "{kind}"})
        'Say {i} in a {{kind}} tone, {{please}}.'
    """
    if not values:
        return prompt
    asked = Template(prompt).columns
    for name in values:
        if name not in asked:
            raise OptionError(
                f"The prompt has no {{{name}}} for --var {name}.{closest(name, asked)} "
                f"It has {listing(f'{{{each}}}' for each in asked)}."
            )
    parts: list[str] = []
    for text, field, spec, conversion in string.Formatter().parse(prompt):
        parts.append(escape_braces(text))
        if field is None:
            continue
        if field in values:
            parts.append(escape_braces(_formatted(field, values[field], spec or "", conversion)))
        else:
            end = (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            parts.append(f"{{{field}{end}}}")
    return "".join(parts)


def check_fields(
    prompt: str, columns: Sequence[Any], values: Mapping[str, Any], names: Mapping[str, Any]
) -> None:
    """Say what a name in braces is that is not a column, or is one twice.

    Raises:
        OptionError: It is a column and a value, or a variable that was not given.
    """
    for name in values:
        if name in columns:
            raise OptionError(
                f"{{{name}}} is a column of the table, and --var {name} is given too. Use another "
                f"name for the value: --var my_{name}={name}."
            )
    for name in Template(prompt).columns:
        if name not in columns and name not in values and name in names:
            raise OptionError(
                f"The table has no column {name!r}.{closest(name, columns)} To use the variable "
                f"of that name, add --var {name} to the first line."
            )


def _formatted(name: str, value: Any, spec: str, conversion: str | None) -> str:
    formatter = string.Formatter()
    try:
        text: str = formatter.format_field(formatter.convert_field(value, conversion), spec)
    except Exception as error:  # the value's own code runs here
        raise TemplateError(f"{{{name}}} can't format its value: {error}.") from error
    return text
