"""What a ``%%hfnb`` cell does: read, check, load if need be, run."""

from __future__ import annotations

import inspect
import keyword
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from hfnb import session
from hfnb.errors import OptionError
from hfnb.frame.elsewhere import place_of
from hfnb.frame.prepare import check
from hfnb.frame.run import run
from hfnb.frame.tables import columns_of
from hfnb.magics.arguments import GENERATING, LOADING, OF_CELL, RUNNING, read_arguments
from hfnb.magics.model import Models
from hfnb.magics.namespace import sample, table_of
from hfnb.magics.prompt import check_fields, fill, prompt_of, values_of
from hfnb.magics.schema import schema_of
from hfnb.magics.words import split

if TYPE_CHECKING:
    from hfnb.frame.result import RunResult

_CHECKED = """
    schema nested raw_text probabilities describe_schema chat system nulls too_long on_error journal
    batch_size limit overwrite
""".split()
_DEFAULTS = {name: inspect.signature(run).parameters[name].default for name in _CHECKED}
"""What `hfnb.run` does where nothing is said."""


class Cell(NamedTuple):
    """What a cell asks for, in which nothing is wrong as far as can be told without its model."""

    table: Any
    prompt: str
    model: Any
    """The model, or the name of one that is to be loaded."""
    running: dict[str, Any]
    """The arguments of `hfnb.run`, all of them."""
    generating: dict[str, Any]
    loading: dict[str, Any]
    output: str | None
    """The variable for the result's table."""
    quiet: bool


def read_cell(
    line: str, body: str, names: Mapping[str, Any], models: Models, settings: Mapping[str, Any]
) -> Cell:
    """Read a cell, and find all that can be wrong with it before a model is loaded.

    Args:
        line: The rest of its first line.
        body: The prompt.
        names: The user's variables.
        models: Which models there are.
        settings: What counts where the line says nothing, by argument.

    Raises:
        OptionError: An option, the table or the model is wrong.
        TemplateError: The prompt does not fit the table's columns.
    """
    arguments = read_arguments(split(line), OF_CELL)
    words = arguments.words
    if not words:
        raise OptionError("Which table? Name it first, as in %%hfnb df --into answer.")
    if len(words) > 1:
        raise OptionError(
            f"{words[1].raw!r} belongs to no option, and there is a table already: "
            f"{words[0].raw!r}. Put text with spaces in quotes."
        )
    prompt = prompt_of(body)
    running, loading = arguments.take(RUNNING), arguments.take(LOADING)
    own = {name: running.pop(name, None) for name in ("output", "quiet", "var", "sample", "model")}
    engine = running.pop("engine", "local")
    place_of(engine, {})  # what it needs is there
    _check_output(own["output"])
    if "schema" in running:
        running["schema"] = schema_of(running["schema"], names)
    values = values_of(own["var"] or (), names)
    table = table_of(words[0].text, names)
    check_fields(prompt, columns_of(table), values, names)
    if own["sample"] is not None:
        if "limit" in running:
            raise OptionError("Give --limit or --sample: the first rows, or some at random.")
        table = sample(table, own["sample"])
    told = {name: value for name, value in settings.items() if value is not None}
    default = told.pop("model", "")
    generating = {key: told.pop(key) for key in list(told) if key not in _OWN}
    generating |= arguments.take(GENERATING)
    running = {**_DEFAULTS, **told, **running}
    filled = fill(prompt, values)
    # A name stands for the model here: which one it is, is the last thing to ask for.
    check(table, filled, own["model"] or default, generating, **running)
    return Cell(
        table=table,
        prompt=filled,
        model=models.find(own["model"], loading, names, default),
        running={**running, "engine": engine},
        generating=generating,
        loading=loading,
        output=own["output"],
        quiet=bool(own["quiet"]),
    )


_OWN = {*_DEFAULTS, "into"}


def run_cell(cell: Cell, models: Models) -> RunResult:
    """Load the model where that is still to be done, and run the cell.

    Raises:
        ModelError: The model can't be found, read or run.
        KeyboardInterrupt: As it came, with the partial result as its ``result``.
    """
    llm = cell.model
    if isinstance(llm, str):
        llm = models.load(llm, cell.loading, quiet=cell.quiet)
    session.use(llm)
    progress: Any = False if cell.quiet else "auto"
    result: RunResult = run(
        cell.table, cell.prompt, llm, progress=progress, **cell.running, **cell.generating
    )
    return result


def _check_output(name: str | None) -> None:
    if name is not None and (not name.isidentifier() or keyword.iskeyword(name)):
        raise OptionError(f"-o takes the name of a variable; not {name!r}.")
