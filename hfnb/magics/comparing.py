"""What a ``%%hfnb compare`` cell does: the same prompt and rows, through several models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hfnb.errors import OptionError
from hfnb.frame.tables import columns_of
from hfnb.magics.arguments import GENERATING, RUNNING, Option, literal, option_name, read_arguments
from hfnb.magics.namespace import sample, table_of
from hfnb.magics.prompt import check_fields, fill, prompt_of, values_of
from hfnb.magics.schema import schema_of
from hfnb.magics.words import Word
from hfnb.variables import is_model

if TYPE_CHECKING:
    from hfnb.comparing.comparison import Comparison

WORD = "compare"
_OWN = {
    "--reference": Option(
        *("reference", "the column with the right answers, or FIELD=COLUMN,... of a schema"),
        "COLUMN",
        read=str,
    ),
    "--repeat": Option("repeat", "rounds; the figures are then medians", "N"),
}
_RUNNING = (
    *("--limit", "--sample", "--var", "--system", "--chat", "--no-chat", "--batch-size"),
    *("--nulls", "--too-long", "--quiet"),
    *("--schema", "--nested", "--probabilities", "--describe-schema"),
)
OF_COMPARE = {**_OWN, **{name: RUNNING[name] for name in _RUNNING}, **GENERATING}


def is_compare(words: Sequence[Word], names: Mapping[str, Any]) -> bool:
    """Whether a cell compares; a table by that name is run as any other."""
    if not words or words[0].text != WORD:
        return False
    return WORD not in names or (len(words) > 1 and not option_name(words[1]))


def compare_cell(words: Sequence[Word], body: str, names: Mapping[str, Any]) -> Comparison:
    """Compare, as a cell says.

    Args:
        words: Those of its first line, ``compare`` left out: a table, candidates, options.
        body: The prompt.
        names: The user's variables.

    Raises:
        HfnbError: Something of it is wrong; it is found before a model is loaded.
        KeyboardInterrupt: As it came, with the partial comparison as its ``result``.
    """
    from hfnb.comparing.compare import compare

    found, given = read_arguments(words, OF_COMPARE)
    if len(found) < 2:
        raise OptionError(
            "Name a table and the models to compare, as in %%hfnb compare df hfnb/numbers-fr "
            "hfnb/numbers-fr,backend=openvino."
        )
    quiet = given.pop("quiet", False)
    prompt, values = prompt_of(body), values_of(given.pop("var", None) or (), names)
    if "schema" in given:
        given["schema"] = schema_of(given["schema"], names)
        given["reference"] = _by_field(given.get("reference"))
    table = table_of(found[0].text, names)
    check_fields(prompt, columns_of(table), values, names)
    if (rows := given.pop("sample", None)) is not None:
        table = sample(table, rows)
    return compare(
        table,
        fill(prompt, values),
        [candidate(each.text, names) for each in found[1:]],
        progress=False if quiet else "auto",
        **given,
    )


def _by_field(reference: str | None) -> Any:
    """Return the columns of right answers by field, where they are given so."""
    if reference is None or "=" not in reference:
        return reference
    pairs = (each.partition("=") for each in reference.split(","))
    return {field.strip(): column.strip() for field, _, column in pairs}


def candidate(text: str, names: Mapping[str, Any]) -> Any:
    """Return what a word stands for: a variable's model, or a model and how it is loaded.

    Raises:
        OptionError: It is not written as it should be.

    Example:
        >>> candidate("gpt2,backend=openvino,weight_format=int8", {})
        {'model': 'gpt2', 'backend': 'openvino', 'weight_format': 'int8'}
    """
    if text.isidentifier() and is_model(names.get(text)):
        return names[text]
    model, *rest = text.split(",")
    options: dict[str, Any] = {"model": model}
    for each in rest:
        name, assigned, value = each.partition("=")
        if not assigned or not value:
            raise OptionError(
                f"{text!r} is no candidate: write MODEL,NAME=VALUE,..., such as "
                "hfnb/numbers-fr,backend=openvino,weight_format=int8."
            )
        options[name.replace("-", "_")] = literal(value)
    return options
