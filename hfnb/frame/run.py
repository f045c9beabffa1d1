"""`hfnb.run`: check what it was given, load if need be, run, and keep the result."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, overload

from hfnb.engines.base import Engine
from hfnb.errors import OptionError
from hfnb.frame.elsewhere import CLUSTER_OPTIONS, place_of
from hfnb.frame.folders import check_part_rows
from hfnb.frame.given import read_given
from hfnb.frame.nulls_in_files import refuse_nulls_in
from hfnb.frame.parquet_files import ParquetFiles
from hfnb.frame.prepare import check, with_model
from hfnb.frame.progress import Progress, display_for
from hfnb.frame.result import RunResult, follow, follow_parts
from hfnb.frame.retry_parts import repeatable
from hfnb.frame.runner import Run
from hfnb.frame.stream import stream

if TYPE_CHECKING:
    from hfnb.frame.parts_result import PartsResult
    from hfnb.llm import HuggingFacePipeline


@overload
def run(
    df: Any,
    prompt: Any,
    llm: HuggingFacePipeline | Engine | str | None = None,
    *,
    out: None = None,
    **options: Any,
) -> RunResult: ...
@overload
def run(
    df: Any,
    prompt: Any,
    llm: HuggingFacePipeline | Engine | str | None = None,
    *,
    out: str | os.PathLike[str],
    **options: Any,
) -> PartsResult: ...
def run(
    df: Any,
    prompt: Any,
    llm: HuggingFacePipeline | Engine | str | None = None,
    *,
    into: str = "output",
    schema: Any = None,
    nested: Literal["columns", "objects"] = "columns",
    raw_text: bool = False,
    probabilities: bool = False,
    describe_schema: bool = False,
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
    engine: Literal["local", "ray"] = "local",
    **options: Any,
) -> Any:
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
        schema: What answers are held to while they are written, so that each becomes typed columns
            of its own: a pydantic class, a TypedDict, a dataclass, a type; a dictionary of fields,
            such as ``{"tone": ["good", "bad"], "score": float}``; a JSON schema; a list of labels
            or a regular expression, for one column. An answer that ``max_new_tokens`` cuts off is
            the row's error. Needs ``pip install "hfnb[structured]"``.
        nested: Fields of a field: ``"columns"`` named ``a.b``, or ``"objects"`` in one column.
        raw_text: Keep the model's text too, in a column named after ``into`` with ``_text``.
        probabilities: Where the schema is a choice among labels: a column for each label's
            probability by the model. The likeliest label is the answer.
        describe_schema: Tell the model about the schema, with the prompt.
        chat: Send each text as a user message through the model's chat template: ``True``,
            ``False``, or ``"auto"`` for where the model has one. ``None`` does what ``llm`` does.
        system: A system message in front of each prompt; needs a chat template.
        nulls: For a row with None, NaN, NaT or pandas.NA in one of the prompt's columns:
            ``"skip"`` it, render it as ``"empty"`` text, or ``"raise"`` before anything runs. With
            ``out``, files are checked as a whole too, but frames, and all rows on a cluster, part
            by part before each runs.
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
        engine: ``"local"`` is this machine. ``"ray"`` runs on a Ray cluster, with one copy of the
            model a worker; a local Ray is started where there is none. It also takes a Ray
            ``Dataset``, and parquet in object stores (``"s3://..."``). Its further arguments have
            Ray's names: ``address`` (``"auto"``, ``"ray://host:10001"``), ``concurrency`` (workers:
            a number, or the fewest and the most), ``num_cpus`` and ``num_gpus`` of each worker,
            ``preserve_order`` (of a Dataset that is returned) and ``runtime_env``. Needs
            ``pip install "hfnb[ray]"``.
        **options: Every generation option by its transformers name (``max_new_tokens``,
            ``temperature``, ``top_p``, ...), ``stop`` and ``seed``. They win over what ``llm``
            was loaded with.

    Returns:
        A `RunResult` with ``data`` (a table of the kind that ``df`` is), ``rows``, ``errors`` and
        ``stats``; with ``out`` a `PartsResult`, whose ``data`` and ``rows`` stay on disk. With
        ``engine="ray"`` and without ``out``, rows that are not in memory give a result whose
        ``data`` is a Ray ``Dataset``.

    Raises:
        TemplateError: The prompt or the schema does not fit the frame's columns.
        OptionError: An option's name or value is wrong, or answers can't be held to the schema.
        MissingExtraError: A package that schemas or a cluster need is not installed.
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
    call = {**locals()}  # what `PartsResult.retry` makes again
    call["options"] = dict(options)
    size = check_part_rows(part_rows)
    cluster = {name: options.pop(name) for name in CLUSTER_OPTIONS if name in options}
    place = place_of(engine, cluster, wait=wait)
    checked = check(
        df,
        prompt,
        llm,
        options,
        into=into,
        schema=schema,
        nested=nested,
        raw_text=raw_text,
        probabilities=probabilities,
        describe_schema=describe_schema,
        chat=chat,
        system=system,
        nulls=nulls,
        too_long=too_long,
        on_error=on_error,
        journal=journal,
        batch_size=batch_size,
        limit=limit,
        overwrite=overwrite,
        out=out,
        others=CLUSTER_OPTIONS,
        read=read_given if place is None else place.read,
    )
    if place is not None:
        display = display_for(progress)
        return repeatable(partial(place.run, checked, display, part_rows=size), call)
    source, folder = checked.given.source, checked.given.out
    if source is not None and not wait:
        raise OptionError("wait=False is for a frame in memory: with out, hfnb.run waits.")
    if nulls == "raise" and isinstance(source, ParquetFiles):
        refuse_nulls_in(source, checked.job.source.columns, checked.limit)
    display = display_for(progress)
    job, llm_engine = with_model(checked, quiet=progress is False)
    if source is not None and folder is not None:
        parts = partial(
            stream, source, folder, job, llm_engine, part_rows=size, limit=checked.limit
        )
        return repeatable(partial(follow_parts, parts, display), call)
    model = checked.model
    result = RunResult(Run(job, llm_engine), model=model if isinstance(model, str) else None)
    return follow(result, display, wait=wait)
