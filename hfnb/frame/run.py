"""`hfnb.run`: check everything that can be checked, load if need be, run, and keep the result."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from hfnb.engines.base import Engine
from hfnb.errors import OptionError, TemplateError, closest
from hfnb.frame.folders import check_part_rows
from hfnb.frame.given import read_given
from hfnb.frame.job import Job
from hfnb.frame.model import check_model, decide_chat, load_model
from hfnb.frame.progress import Progress, display_for
from hfnb.frame.prompts import take_apart
from hfnb.frame.result import RunResult, follow, follow_parts, own_copy
from hfnb.frame.runner import Run
from hfnb.frame.stream import stream
from hfnb.frame.template import refuse_nulls
from hfnb.journal_file import default_path
from hfnb.options import split_options
from hfnb.spec import GenerationSpec, check_batch_size

if TYPE_CHECKING:
    from hfnb.frame.parts_result import PartsResult
    from hfnb.llm import HuggingFacePipeline

_NULLS = ("skip", "empty", "raise")
_TOO_LONG = ("error", "truncate", "skip")
_ON_ERROR = ("keep", "raise")
_OWN_OPTIONS = """
    df prompt llm into chat system nulls too_long on_error journal batch_size limit overwrite
    progress wait out part_rows
""".split()


def run(
    df: Any,
    prompt: Any,
    llm: HuggingFacePipeline | Engine | str | None = None,
    *,
    into: str = "output",
    chat: bool | Literal["auto"] | None = None,
    system: str | None = None,
    nulls: Literal["skip", "empty", "raise"] = "skip",
    too_long: Literal["error", "truncate", "skip"] = "error",
    on_error: Literal["keep", "raise"] = "keep",
    journal: bool | str | os.PathLike[str] = True,
    batch_size: int | Literal["auto"] | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    progress: bool | Literal["auto"] | Callable[[Progress], Any] = "auto",
    wait: bool = True,
    out: str | os.PathLike[str] | None = None,
    part_rows: int | None = None,
    **options: Any,
) -> RunResult | PartsResult:
    """Run a prompt for every row of a DataFrame.

    What can be wrong with the arguments is found before a model is loaded. A row that fails stays
    in ``result.errors``, and never ends the run. Each row that is finished is kept in a journal on
    disk: after a crash or an interrupt the same call computes only what is missing. Rows with the
    same prompt are computed once. Neither holds for sampling without a seed.

    Args:
        df: The rows: a DataFrame of pandas or polars, a pyarrow Table, or another table that gives
            Arrow data. It is not changed. Or, with ``out``, more rows than memory holds: a parquet
            file, a folder of them, a glob (``"data/*.parquet"``), or an iterator of frames.
        prompt: Text with columns in braces (``"What is {x}?"``), a LangChain ``PromptTemplate``
            or ``ChatPromptTemplate`` whose variables are columns, or a chain with one hfnb model
            (``prompt | llm | parser``).
        llm: From `hfnb.load`; or a model's name, which is then loaded; or any engine. A chain
            brings its own.
        into: The name of the output column.
        chat: Send each text as a user message through the model's chat template: ``True``,
            ``False``, or ``"auto"`` for where the model has one. ``None`` does what ``llm`` does.
        system: A system message in front of each prompt; needs a chat template.
        nulls: For a row with None, NaN, NaT or pandas.NA in one of the prompt's columns:
            ``"skip"`` it, render it as ``"empty"`` text, or ``"raise"`` before anything runs.
        too_long: For a row whose prompt has more tokens than the model takes: ``"error"`` fails it,
            ``"truncate"`` leaves out the middle of its longest text (never of the template), and
            ``"skip"`` skips it.
        on_error: ``"keep"`` a failed row in the result, or ``"raise"`` its error at once; the
            exception then has the partial result as its ``result``.
        journal: ``True`` keeps finished rows in the user's own journal (see `hfnb.journal`), a path
            in a file of your choice, ``False`` nowhere.
        batch_size: The most rows computed together, or ``"auto"``.
        limit: Run only the first rows, this many.
        overwrite: Replace a column that has the name ``into`` already.
        progress: ``True`` or ``False``, or a function that is called with a `Progress`.
        wait: ``False`` returns at once, while the run goes on behind: the result fills up, and has
            ``running``, ``progress()``, ``cancel()`` and ``wait()``.
        out: A folder. The rows are then read and written piece by piece, as parquet files with the
            input's columns and the output. The same call again goes on where it stopped.
        part_rows: The rows of each of these files; by default 32,768, or fewer large ones. The
            rows of at most two parts are computed together.
        **options: Every generation option by its transformers name (``max_new_tokens``,
            ``temperature``, ``top_p``, ...), ``stop`` and ``seed``. They win over what ``llm``
            was loaded with.

    Returns:
        A `RunResult` with ``data`` (a table of the kind that ``df`` is), ``rows``, ``errors`` and
        ``stats``; with ``out`` a `PartsResult`, whose ``data`` and ``rows`` stay on disk.

    Raises:
        TemplateError: The prompt does not fit the frame's columns.
        OptionError: An option's name or value is wrong.
        ModelError: The model can't be found, read or run.
        KeyboardInterrupt: As it came; `hfnb.last_result` has what was finished.

    Example:
        >>> import hfnb, pandas as pd
        >>> llm = hfnb.load("hfnb/numbers-fr")
        >>> df = pd.DataFrame({"i": [1, 72]})
        >>> hfnb.run(df, "What is the number {i} in french?", llm, into="answer").data
            i          answer
        0   1              un
        1  72  soixante-douze
    """
    parts = take_apart(prompt)
    most = None if limit is None else _check_limit(limit)
    size = check_part_rows(part_rows)
    given = read_given(df, parts.source.columns, out=out, limit=most)
    if given.source is not None and not wait:
        raise OptionError("wait=False is for a frame in memory: with out, hfnb.run waits.")
    _check_choice("nulls", nulls, _NULLS)
    _check_choice("too_long", too_long, _TOO_LONG)
    _check_choice("on_error", on_error, _ON_ERROR)
    file = _journal_file(journal)
    frame = own_copy(given.frame)
    _check_into(into, frame, overwrite=overwrite)
    if nulls == "raise":
        refuse_nulls(frame, parts.source.columns)
    split_options(options, _OWN_OPTIONS)
    _check_chat(chat, system)
    _check_sequences(GenerationSpec.of(**{**parts.options, **options}))
    if batch_size is not None:
        check_batch_size(batch_size)
    model = check_model(llm, parts)
    display = display_for(progress)

    rows_expected = len(frame) > 0 if given.source is None else given.source.rows != 0
    engine, settings = load_model(model, load=rows_expected)
    generation = settings.generation.merge(**{**parts.options, **options})
    _check_sequences(generation)
    use_chat = decide_chat(settings.chat if chat is None else chat, engine)
    if system and not use_chat:
        raise OptionError(
            f"system needs a chat template, and prompts for {engine.info.model!r} are sent as "
            "plain text. Use chat=True with an instruct model, or put the text into the prompt."
        )
    job = Job(
        frame,
        parts.source,
        generation,
        into=into,
        after=parts.after,
        chat=use_chat,
        template_options=settings.template_options or {},
        system=system,
        nulls=nulls,
        too_long=too_long,
        on_error=on_error,
        batch_size=settings.batch_size if batch_size is None else batch_size,
        journal=file,
        given=given.table,
    )
    if given.source is not None and given.out is not None:
        return follow_parts(
            partial(stream, given.source, given.out, job, engine, part_rows=size, limit=most),
            display,
        )
    result = RunResult(Run(job, engine), model=model if isinstance(model, str) else None)
    return follow(result, display, wait=wait)


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


def _check_limit(limit: object) -> int:
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
