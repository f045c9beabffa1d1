"""What `hfnb.run` and `hfnb.preview` are given: checked, and made a job for an engine.

All that can be wrong is found before a model is loaded, but for what only the model can tell.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from hfnb.engines.base import Engine
from hfnb.engines.grammar_text import check_grammar
from hfnb.errors import OptionError, TemplateError, closest
from hfnb.frame.given import Given, read_given
from hfnb.frame.job import Job
from hfnb.frame.model import check_model, decide_chat, load_model
from hfnb.frame.prompts import Parts, take_apart
from hfnb.frame.result import own_copy
from hfnb.frame.structure import Structure, structure_of
from hfnb.frame.template import refuse_nulls
from hfnb.journal_file import default_path
from hfnb.options import split_options
from hfnb.spec import GenerationSpec, check_batch_size

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline

_NULLS = ("skip", "empty", "raise")
_TOO_LONG = ("error", "truncate", "skip")
_ON_ERROR = ("keep", "raise")
_OWN_OPTIONS = """
    df prompt llm into schema nested raw_text probabilities describe_schema chat system nulls
    too_long on_error journal batch_size limit overwrite progress wait out part_rows engine
""".split()


class Checked(NamedTuple):
    """A run's arguments, in which nothing is wrong as far as can be told without its model."""

    job: Job
    """What is to be done; the model's own settings are not in it yet."""
    given: Given
    limit: int | None
    model: HuggingFacePipeline | Engine | str
    options: Mapping[str, Any]
    """The generation options that were given."""
    chat: bool | Literal["auto"] | None
    batch_size: int | Literal["auto"] | None


def check(
    df: Any,
    prompt: Any,
    llm: HuggingFacePipeline | Engine | str | None,
    options: Mapping[str, Any],
    *,
    into: str,
    chat: bool | Literal["auto"] | None,
    system: str | None,
    nulls: str,
    too_long: str,
    on_error: str,
    journal: bool | str | os.PathLike[str],
    batch_size: int | Literal["auto"] | None,
    limit: int | None,
    overwrite: bool,
    schema: Any = None,
    nested: str = "columns",
    raw_text: bool = False,
    probabilities: bool = False,
    describe_schema: bool = False,
    out: str | os.PathLike[str] | None = None,
    others: tuple[str, ...] = (),
    read: Callable[..., Given] = read_given,
) -> Checked:
    """Check the arguments of `hfnb.run`, which says what they are.

    ``others`` are the names of further arguments that the caller takes, and ``read`` finds out what
    was given as rows.

    Raises:
        TemplateError: The prompt or the schema does not fit the frame's columns.
        OptionError: An option's name or value is wrong, or a schema can't be held to.
        MissingExtraError: A package that schemas need is missing.
    """
    parts = take_apart(prompt)
    most = None if limit is None else check_limit(limit)
    given = read(df, parts.source.columns, out=out, limit=most)
    _check_choice("nulls", nulls, _NULLS)
    _check_choice("too_long", too_long, _TOO_LONG)
    _check_choice("on_error", on_error, _ON_ERROR)
    file = _journal_file(journal)
    frame = own_copy(given.frame)
    structure = structure_of(
        schema,
        nested=nested,
        raw_text=raw_text,
        probabilities=probabilities,
        describe_schema=describe_schema,
    )
    if structure is None:
        _check_into(into, frame, overwrite=overwrite)
    else:
        check_fields(structure, into, frame, overwrite=overwrite)
    if nulls == "raise":
        refuse_nulls(frame, parts.source.columns)
    split_options(options, (*_OWN_OPTIONS, *others))
    _check_chat(chat, system)
    told = {**parts.options, **options}
    generation = _held(GenerationSpec.of(**told), structure)
    _check_sequences(generation)
    if batch_size is not None:
        check_batch_size(batch_size)
    if structure is not None:
        _check_structure(structure, parts, generation)
    job = Job(
        frame,
        parts.source,
        generation,
        into=into,
        after=parts.after,
        system=system,
        nulls=nulls,
        too_long=too_long,
        on_error=on_error,
        journal=file,
        given=given.table,
        structure=structure,
    )
    return Checked(job, given, most, check_model(llm, parts), told, chat, batch_size)


def with_model(
    checked: Checked, *, quiet: bool = False, load: bool | None = None
) -> tuple[Job, Engine]:
    """Load the model where only its name is given, and return the whole job and its engine.

    ``quiet`` says nothing while it loads; ``load`` says whether there will be rows, where the job
    does not show it.

    Raises:
        OptionError: The model's own options and the given ones do not go together.
        ModelError: The model can't be found or read, or has no chat template where one is asked.
    """
    job, given, _, model, options, chat, batch_size = checked
    rows_expected = len(job.frame) > 0 if given.source is None else given.source.rows != 0
    load = rows_expected if load is None else load
    engine, settings = load_model(model, load=load, quiet=quiet)
    generation = _held(settings.generation.merge(**options), job.structure)
    _check_sequences(generation)
    if job.structure is not None:
        _check_sampling(job.structure, generation)
    use_chat = decide_chat(settings.chat if chat is None else chat, engine)
    if job.system and not use_chat:
        raise OptionError(
            f"system needs a chat template, and prompts for {engine.info.model!r} are sent as "
            "plain text. Use chat=True with an instruct model, or put the text into the prompt."
        )
    whole = dataclasses.replace(
        job,
        generation=generation,
        chat=use_chat,
        template_options=settings.template_options or {},
        batch_size=settings.batch_size if batch_size is None else batch_size,
    )
    return whole, engine


def _held(generation: GenerationSpec, structure: Structure | None) -> GenerationSpec:
    """Return how to generate, held to a schema where there is one."""
    if structure is None:
        return generation
    return dataclasses.replace(generation, grammar=structure.grammar)


def _check_structure(structure: Structure, parts: Parts, generation: GenerationSpec) -> None:
    if parts.after is not None:
        raise OptionError(
            "The chain makes something of the model's text, and so does the schema: leave one of "
            "them out."
        )
    _check_sampling(structure, generation)
    if not structure.probabilities:
        check_grammar(structure.grammar)


def _check_sampling(structure: Structure, generation: GenerationSpec) -> None:
    if structure.probabilities and generation.sampling:
        raise OptionError(
            "probabilities=True takes the likeliest label, and temperature="
            f"{generation.temperature:g} draws one at random: leave one of them out."
        )


def check_fields(structure: Structure, into: object, df: pd.DataFrame, *, overwrite: bool) -> None:
    """Check that the columns of a schema have names of their own.

    Raises:
        OptionError: Two of them would have one name.
        TemplateError: One is the name of a column that is there.
    """
    if not isinstance(into, str) or not into:
        raise OptionError(f"into is the name of a column; not {into!r}.")
    fields = [each.name(into) for each in structure.columns]
    named = list(structure.named(into))
    if structure.raw_text and named[-1] in fields:
        raise OptionError(
            f"raw_text=True adds a column {named[-1]!r}, and the schema has a field of that name. "
            "Choose another name (into=...), after which the column is named."
        )
    for name in named:
        if name not in df.columns:
            continue
        if list(df.columns).count(name) > 1:
            raise TemplateError(f"The frame has several columns named {name!r}. Rename them.")
        if not overwrite:
            of_field = any(each.path and each.name(into) == name for each in structure.columns)
            own = "the field of the schema" if of_field else "the output (into=...)"
            raise TemplateError(
                f"The frame has a column {name!r} already, and the schema would make another. "
                f"Rename {own}, or pass overwrite=True to replace the column."
            )


def _check_into(into: object, df: pd.DataFrame, *, overwrite: bool) -> None:
    if not isinstance(into, str) or not into:
        raise OptionError(f"into is the name of a column; not {into!r}.")
    if into in df.columns and not overwrite:
        raise TemplateError(
            f"The frame has a column {into!r} already. Choose another name for the output "
            "(into=...), or pass overwrite=True to replace it."
        )
    if list(df.columns).count(into) > 1:
        raise TemplateError(
            f"The frame has several columns named {into!r}, so which one to replace is not clear. "
            "Rename them, or choose another name for the output (into=...)."
        )


def _journal_file(journal: object) -> Path | None:
    if isinstance(journal, bool):
        return default_path() if journal else None
    if isinstance(journal, (str, os.PathLike)) and os.fspath(journal):
        place = Path(os.fspath(journal)).expanduser()
        if place.is_dir():
            raise OptionError(f"journal={str(journal)!r} is a folder. Name a file in it.")
        return place
    raise OptionError(f"journal is True, False, or the path of a file; not {journal!r}.")


def check_limit(limit: object) -> int:
    """Check how many rows there may be.

    Raises:
        OptionError: It is no such number.
    """
    if isinstance(limit, (int, np.integer)) and not isinstance(limit, bool):
        count = int(limit)
        if count >= 0:
            return count
    raise OptionError(f"limit is a number of rows, 0 or more; not {limit!r}.")


def _check_chat(chat: object, system: object) -> None:
    if chat is not None and chat != "auto" and not isinstance(chat, bool):
        raise OptionError(f"chat is True, False or 'auto'; not {chat!r}.")
    if system is not None and not isinstance(system, str):
        raise OptionError(f"system is the text of a system message; not {system!r}.")
    if system and chat is False:
        raise OptionError("system needs a chat template, and chat=False switches it off.")


def _check_sequences(generation: GenerationSpec) -> None:
    if (generation.get("num_return_sequences") or 1) > 1:
        raise OptionError("A row has one output: hfnb.run needs num_return_sequences=1.")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        shown = ", ".join(map(repr, choices))
        raise OptionError(f"{name}={value!r} is unknown.{closest(value, choices)} Use {shown}.")
