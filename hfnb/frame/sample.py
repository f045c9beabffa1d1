"""A look at a frame before it is run: nulls, duplicates, and the prompts of a sample of its rows.

Nulls and duplicates are counted on all rows, column by column. Prompts are rendered, and their
tokens counted, for a random sample, so that a look at a large frame takes no longer than at a
small one.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hfnb.engines.base import Engine, Prompt
from hfnb.engines.limits import prompt_room
from hfnb.errors import HfnbError
from hfnb.frame.cells import column_values, text_of
from hfnb.frame.identity import context_key, context_of, prompt_key, repeats
from hfnb.frame.job import Job
from hfnb.frame.journaling import RunJournal
from hfnb.frame.template import Skipped

_MOST = 2_000
"""Rows in a sample, at most."""
_LEAST = 8
"""Rows in a sample, however long each takes, if there are so many."""
_PATIENCE_S = 1.0
"""How long rendering and counting tokens may take, once there are enough rows."""
_SEED = 20_240_501
"""So that the same frame gives the same sample."""

_Positions = np.ndarray[Any, np.dtype[np.intp]]


@dataclasses.dataclass(frozen=True)
class Sampled:
    """One row of a sample that the model can answer."""

    at: int
    """Its position in the frame."""
    prompt: Prompt
    tokens: int
    """The prompt's tokens; where it is made shorter, those that are left."""
    known: bool = False
    """Whether the journal has its answer."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """What a look at a frame shows. Counts of rows that were not all looked at are scaled up."""

    rows: int
    null: int
    """Rows with a null in a column of the prompt."""
    duplicates: int
    """Rows with the same values as an earlier one in the prompt's columns."""
    looked_at: int
    """Rows whose prompts were rendered."""
    distinct: int
    """Rows that have a prompt of their own: neither skipped as null nor duplicates, if these are
    computed once."""
    lengths: tuple[int, ...]
    """The tokens of the rendered prompts, over-long ones among them."""
    too_long: int
    """Rendered prompts that are too long for the model."""
    unusable: int
    """Rendered rows without a usable prompt: empty, or with an error."""
    problem: str
    """What was wrong with the first of these."""
    usable: tuple[Sampled, ...]
    """The rows that the model can answer, in random order."""
    most_tokens: int | None
    """The most tokens of a prompt that is neither refused nor shortened; ``None``: any number."""
    row_s: float
    """Seconds that making a prompt and looking it up took."""
    keeps: bool
    """Whether what is computed is kept in the journal."""
    part: float
    """The share of the rows that are in the frame; below 1 if it is an excerpt."""

    @property
    def exact(self) -> bool:
        """Whether all rows were looked at."""
        return self.looked_at == self.distinct and self.part == 1

    def scaled(self, count: int) -> int:
        """Return how many of all rows a count of rendered rows stands for."""
        return round(count * self.distinct / self.looked_at / self.part) if self.looked_at else 0


def look(job: Job, engine: Engine, rows: int | None = None) -> Sample:
    """Look at a job's frame.

    Args:
        job: What a run would do.
        engine: The model.
        rows: The rows that the frame stands for, if it is an excerpt of more.
    """
    frame, columns = job.frame, list(job.source.columns)
    null = frame[columns].isna().any(axis=1).to_numpy(dtype=bool)
    repeated = _repeated(frame[columns])
    left_out = null if job.nulls != "empty" else np.zeros(len(frame), dtype=bool)
    once = repeats(job.generation)
    own = np.flatnonzero(~(left_out | repeated) if once else ~left_out)
    began = time.perf_counter()
    sorted_rows = _Sorted(job, engine)
    looked_at = 0
    for prompt in _prompts(job, _drawn(own)):
        sorted_rows.take(*prompt)
        looked_at += 1
        if looked_at >= _LEAST and time.perf_counter() - began > _PATIENCE_S:
            break
    usable, keeps = _with_journal(sorted_rows.usable, job, engine)
    took = time.perf_counter() - began
    part = len(frame) / rows if rows else 1.0
    return Sample(
        rows=len(frame) if rows is None else rows,
        null=round(int(null.sum()) / part),
        duplicates=round(int((repeated & ~left_out).sum()) / part),
        looked_at=looked_at,
        distinct=len(own),
        lengths=tuple(sorted_rows.lengths),
        too_long=sorted_rows.too_long,
        unusable=sorted_rows.unusable,
        problem=sorted_rows.problem,
        usable=usable,
        most_tokens=sorted_rows.most_tokens,
        row_s=took / looked_at if looked_at else 0.0,
        keeps=keeps,
        part=part,
    )


class _Sorted:
    """Sorts rendered rows by what will become of them."""

    def __init__(self, job: Job, engine: Engine) -> None:
        info = engine.info
        self._engine = engine
        self._options = engine.options_in_force(job.generation)
        self._context, self._shared = info.context_length, info.task == "text-generation"
        self._shortens = job.too_long == "truncate" or job.generation.get("truncation") == "value"
        self.most_tokens = _most_tokens(self._options, self._context, shared=self._shared)
        if self._shortens:
            self.most_tokens = prompt_room(self._options, self._context, shared=self._shared)
        self.usable: list[Sampled] = []
        self.lengths: list[int] = []
        self.too_long = 0
        self.unusable = 0
        self.problem = ""

    def take(self, at: int, prompt: Prompt | Skipped | HfnbError) -> None:
        """Take a row's prompt, or why it has none."""
        if isinstance(prompt, (Skipped, HfnbError)):
            self._leave_out(prompt)
            return
        try:
            tokens = self._engine.count_tokens(prompt)
        except HfnbError as error:  # messages that the chat template refuses
            self._leave_out(error)
            return
        self.lengths.append(tokens)
        if self.most_tokens is not None and tokens > self.most_tokens:
            self.too_long += 1
            if not self._shortens:
                return
        if self._shortens and self.most_tokens is not None:
            tokens = min(tokens, self.most_tokens)
        self.usable.append(Sampled(at, prompt, tokens))

    def _leave_out(self, why: Skipped | HfnbError) -> None:
        self.unusable += 1
        self.problem = self.problem or (why.reason if isinstance(why, Skipped) else str(why))


def _most_tokens(options: dict[str, Any], context: int | None, *, shared: bool) -> int | None:
    """Return the most tokens of a prompt that `hfnb.engines.limits.new_token_limit` takes."""
    limits = [] if context is None else [context - 1 if shared else context]
    if "max_length" in options and "max_new_tokens" not in options and shared:
        limits.append(int(options["max_length"]) - 1)
    return min(limits, default=None)


def _repeated(frame: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows have the values of an earlier one."""
    try:
        return frame.duplicated().to_numpy()
    except TypeError:  # lists and the like have no hash
        texts = {
            name: [text_of(value) for value in column_values(frame[name])] for name in frame.columns
        }
        return pd.DataFrame(texts, index=frame.index).duplicated().to_numpy()


def _drawn(positions: _Positions) -> _Positions:
    """Return a random sample of positions, in random order, the same each time."""
    random = np.random.default_rng(_SEED)
    return random.choice(positions, size=min(_MOST, len(positions)), replace=False)


def _prompts(job: Job, positions: _Positions) -> Iterator[tuple[int, Prompt | Skipped | HfnbError]]:
    frame = job.frame[list(job.source.columns)].iloc[positions]
    rows = job.source.rows(frame, job.nulls)
    for at, rendered in zip(positions.tolist(), rows, strict=True):
        if rendered == "":
            yield at, Skipped("the prompt is empty")
        elif isinstance(rendered, (Skipped, HfnbError)):
            yield at, rendered
        else:
            yield at, job.prompt_for(rendered)


def _with_journal(
    rows: list[Sampled], job: Job, engine: Engine
) -> tuple[tuple[Sampled, ...], bool]:
    """Return rows with a note of those that the journal has, and whether there is one."""
    context = None
    if job.journal is not None and rows:
        context = context_of(engine, engine.fingerprint, job.generation)
    if context is None or job.journal is None:
        return tuple(rows), False
    keys = [prompt_key(row.prompt) for row in rows]
    journal = RunJournal(job.journal, context, context_key(context))
    try:
        found = journal.find([key for key in keys if key is not None])
    finally:
        journal.close()
    noted = (replace(row, known=key in found) for row, key in zip(rows, keys, strict=True))
    return tuple(noted), True
