"""`hfnb.preview`: what a run will be like, before it is started."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import psutil

from hfnb import hardware
from hfnb.engines.base import Chat, Engine, Prompt
from hfnb.errors import OptionError
from hfnb.frame import preview_show
from hfnb.frame.chunks import is_source
from hfnb.frame.excerpt import Excerpt, excerpt_of
from hfnb.frame.forecast import Forecast, Workload, forecast_of, new_tokens_of
from hfnb.frame.identity import repeats
from hfnb.frame.job import Job
from hfnb.frame.prepare import check, check_limit, with_model
from hfnb.frame.probe import Probe, spread
from hfnb.frame.progress import Progress, display_for
from hfnb.frame.prompts import take_apart
from hfnb.frame.result import RunResult
from hfnb.frame.sample import Sample, Sampled, look
from hfnb.measure import device_memory
from hfnb.show import size

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline

_FIRST_ROWS = 256
"""About as many rows are computed first, which are the longest."""
_CUT_OFF = 0.5
"""The share of outputs that max_new_tokens has cut off, from which on a note says so."""


@dataclasses.dataclass(frozen=True)
class Preview:
    """What a run will be like. Printed or shown in a notebook, it is one look at all of it."""

    prompts: tuple[str, ...]
    """The prompts of the shown rows, as the model gets them."""
    outputs: RunResult
    """The shown rows, really run: typical ones, from short prompts to long ones."""
    rows: int
    """The frame's rows, or the first ``limit`` of them."""
    null: int
    """Rows with a null in a column of the prompt."""
    duplicates: int
    """Rows with the values of an earlier one in the prompt's columns."""
    too_long: int
    """Rows with more tokens than the model takes."""
    unusable: int
    """Rows whose prompts are empty or can't be rendered."""
    in_journal: int
    """Rows whose answers the journal has, those of this preview among them."""
    exact: bool
    """Whether `too_long`, `unusable` and `in_journal` were counted on all rows, not on a sample."""
    is_excerpt: bool
    """Whether only rows from all over a file were read, so that all counts stand for more."""
    looked_at: int
    """Rows whose prompts were rendered and counted."""
    lengths: tuple[int, ...]
    """The tokens of these prompts."""
    most_tokens: int | None
    """The most tokens of a prompt that is neither refused nor shortened; ``None``: any number."""
    forecast: Forecast | None
    """The time and the memory of the run; ``None`` if no row was answered."""
    free_bytes: int
    """The memory that this process may still take."""
    notes: tuple[str, ...]
    """What to know or to do before the run."""
    took_s: float
    """Seconds that the preview took, without loading the model."""

    def lines(self) -> list[tuple[str, str]]:
        """Return what a person wants to read: a label and its text each."""
        return preview_show.lines(self)

    def __repr__(self) -> str:
        """Return the figures, and the shown rows with their prompts and outputs, as text."""
        return preview_show.as_text(self)

    def _repr_html_(self) -> str:
        return preview_show.as_html(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


def preview(
    df: Any,
    prompt: Any,
    llm: HuggingFacePipeline | Engine | str | None = None,
    n: int = 3,
    *,
    budget_s: float = 4.0,
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
    **options: Any,
) -> Preview:
    """Show what `hfnb.run` would do with the same arguments, before the time is spent.

    A few typical rows are really run. More of them, as many as ``budget_s`` allows, are run in
    batches to measure what a row costs when many are computed together; the forecast is made of
    that. What was computed is kept in the journal, as in a run, so that the run does not compute
    it again. The forecast is for this machine as it is now, with whatever else runs on it.

    Args:
        df: A table in memory, or parquet files, of which 4,096 rows from all over them are read.
            As in `hfnb.run`, like all that is not described here.
        prompt: As in `hfnb.run`.
        llm: As in `hfnb.run`. Load it first: a model given by its name is loaded by each call.
        n: How many rows to run and show, from short prompts to long ones.
        budget_s: Seconds to measure for, beyond the shown rows; 0 for the shown rows alone.
        into: The name of the output column.
        schema: What answers are held to.
        nested: What becomes of a field's own fields.
        raw_text: Whether the model's text is kept too.
        probabilities: Whether each label gets its probability.
        describe_schema: Whether the model is told about the schema.
        chat: Whether texts go through the model's chat template.
        system: A system message in front of each prompt.
        nulls: What to do with nulls.
        too_long: What to do with prompts that are too long.
        on_error: Taken for the sake of the same arguments; here a row that fails is shown.
        journal: Where finished rows are kept, and looked for.
        batch_size: The most rows computed together.
        limit: Only the first rows, this many.
        overwrite: Whether ``into`` may be a column that is there.
        progress: As in `hfnb.run`.
        wait: Taken for the sake of the same arguments; a preview is always waited for.
        out: Taken likewise; a preview writes no parts, and does not look for any.
        part_rows: Taken likewise.
        **options: Generation options, as in `hfnb.run`.

    Returns:
        A `Preview`: show it, or read its fields.

    Raises:
        TemplateError: The prompt does not fit the frame's columns.
        OptionError: An option's name or value is wrong.
        ModelError: The model can't be found, read or run.

    Example:
        >>> import hfnb, pandas as pd
        >>> llm = hfnb.load("hfnb/numbers-fr")
        >>> df = pd.DataFrame({"i": range(10_000)})
        >>> look = hfnb.preview(df, "What is the number {i} in french?", llm)
        >>> look.forecast.seconds.likely < 3600
        True
    """
    del wait, out, part_rows
    _check_preview(n, budget_s)
    excerpt = _excerpt(df, prompt, limit)
    if excerpt is not None:
        df, limit = excerpt.frame, None
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
        others=("n", "budget_s"),
    )
    display = display_for(progress)
    job, engine = with_model(checked)
    began = time.perf_counter()
    start = int(psutil.Process().memory_info().rss), device_memory()
    sample = look(job, engine, None if excerpt is None else excerpt.rows)
    shown = _typical(sample, n)
    probe = Probe(dataclasses.replace(job, on_error="keep"), engine, display)
    try:
        outputs = probe.run([each.at for each in shown])
        probe.fill(
            [each for each in sample.usable if not each.known and each not in shown], budget_s
        )
    finally:
        probe.close()
    left = _left(sample, probe)
    forecast = _forecast(sample, probe, job, left, excerpt, *start)
    return Preview(
        prompts=tuple(_as_sent(each.prompt, engine) for each in shown),
        outputs=outputs,
        rows=sample.rows,
        null=sample.null,
        duplicates=sample.duplicates,
        too_long=sample.scaled(sample.too_long),
        unusable=sample.scaled(sample.unusable),
        in_journal=sample.scaled(len(sample.usable)) - left if sample.keeps else 0,
        exact=sample.exact,
        is_excerpt=sample.part < 1,
        looked_at=sample.looked_at,
        lengths=sample.lengths,
        most_tokens=sample.most_tokens,
        forecast=forecast,
        free_bytes=hardware.memory_free(),
        notes=tuple(_notes(sample, probe, forecast, job)),
        took_s=time.perf_counter() - began,
    )


def _excerpt(df: Any, prompt: Any, limit: int | None) -> Excerpt | None:
    """Read rows of files; ``None`` for a table in memory."""
    if isinstance(df, (str, os.PathLike)):
        most = None if limit is None else check_limit(limit)
        return excerpt_of(df, take_apart(prompt).source.columns, most)
    if is_source(df):
        raise OptionError(
            "hfnb.preview would use up what can be read only once. Give it one of the frames, or "
            "a parquet file."
        )
    return None


def _check_preview(n: object, budget_s: object) -> None:
    if not isinstance(n, (int, np.integer)) or isinstance(n, bool) or n < 1:
        raise OptionError(f"n is a number of rows to run, 1 or more; not {n!r}.")
    if (
        not isinstance(budget_s, (int, float, np.number))
        or isinstance(budget_s, bool)
        or not 0 <= float(budget_s) < math.inf
    ):
        raise OptionError(f"budget_s is a number of seconds, 0 or more; not {budget_s!r}.")


def _typical(sample: Sample, n: int) -> list[Sampled]:
    """Return so many rows, evenly spread over the lengths of the prompts."""
    rows = sorted(sample.usable, key=lambda row: (row.tokens, row.at))
    return [rows[i] for i in spread(len(rows), n)]


def _as_sent(prompt: Prompt, engine: Engine) -> str:
    return engine.render(prompt) if isinstance(prompt, Chat) else prompt


def _left(sample: Sample, probe: Probe) -> int:
    """Return how many rows a run would have to compute after this preview."""
    unknown = sample.scaled(sum(not row.known for row in sample.usable))
    return max(0, unknown - probe.computed) if sample.keeps else unknown


def _forecast(
    sample: Sample,
    probe: Probe,
    job: Job,
    left: int,
    excerpt: Excerpt | None,
    memory: int,
    device: int | None,
) -> Forecast | None:
    """Return what a run would take; ``None`` where nothing was measured that would tell."""
    if left and not any(each.whole for each in probe.waves):
        return None
    lengths = sorted((row.tokens for row in sample.usable if not row.known), reverse=True) or [0]
    first = lengths[: max(1, round(len(lengths) * min(1.0, _FIRST_ROWS / max(left, 1))))]
    counts = probe.new_tokens or [0]
    load = Workload(
        rows=left,
        prompt_tokens=sum(lengths) / len(lengths),
        longest_prompts=sum(first) / len(first),
        new_tokens=new_tokens_of(counts),
        longest=max(counts),
        most_rows=job.batch_size if isinstance(job.batch_size, int) else None,
        held_rows=left if excerpt is None else excerpt.held_rows,
        row_bytes=2 * probe.text_bytes + (0 if excerpt is None else 2 * excerpt.row_bytes),
    )
    return forecast_of(
        probe.waves,
        load,
        memory=memory,
        device=device,
        # What need not be computed is rendered and looked up all the same.
        other_s=(sample.rows - left) * sample.row_s,
    )


def _notes(sample: Sample, probe: Probe, forecast: Forecast | None, job: Job) -> Iterator[str]:
    """Say what to know or to do before the run."""
    answered = len(probe.new_tokens)
    if answered and probe.cut_off / answered >= _CUT_OFF:
        most = max(probe.new_tokens)
        yield (
            f"{probe.cut_off:,} of {answered:,} outputs were cut off by max_new_tokens={most:,}: "
            "they are not complete, and the time grows with it. Raise it, or use stop=..., if "
            "the answers should end by themselves."
        )
    if sample.too_long and job.too_long == "error":
        yield (
            "Rows that are too long will fail. too_long='truncate' shortens them, too_long='skip' "
            "leaves them out."
        )
    if sample.problem:
        yield f"A row without a usable prompt: {sample.problem}"
    if forecast is None:
        yield _why_no_forecast(sample, probe)
        return
    used = int(psutil.Process().memory_info().rss)
    if forecast.memory.likely - used > (free := hardware.memory_free()):
        yield (
            f"The run may need {size(round(forecast.memory.likely) - used)} more memory, and "
            f"{size(free)} is free: use a smaller batch_size, or limit=... for a part of the rows."
        )
    if forecast.waves and not forecast.batch_is_known:
        yield (
            "The rows that were measured do not show how many will be computed together, so the "
            "time is known roughly. A larger budget_s, such as "
            f"{max(10, math.ceil(4 * forecast.measured_s))}, tells more."
        )
    if not repeats(job.generation):
        yield (
            "Sampling without a seed is not kept in the journal: a run that is interrupted begins "
            "anew. Pass seed=... to change that."
        )


def _why_no_forecast(sample: Sample, probe: Probe) -> str:
    if not sample.usable:
        return "No row has a prompt that the model can answer, so there is no forecast."
    if probe.new_tokens:
        return (
            "The shown rows came from the journal and nothing else was computed, so there is no "
            "forecast. Raise budget_s."
        )
    return "None of the rows that were tried was answered, so there is no forecast."
