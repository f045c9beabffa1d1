"""Run some rows of a result again."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hfnb.engines.base import Engine
from hfnb.errors import ModelError, OptionError, closest
from hfnb.frame.model import engine_of
from hfnb.frame.progress import display_for
from hfnb.frame.result import RunResult, follow

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline

_WHICH = ("failed", "truncated")


def retry(
    result: RunResult,
    which: str | Sequence[int],
    *,
    llm: HuggingFacePipeline | Engine | str | None,
    progress: Any,
    wait: bool,
    options: dict[str, Any],
) -> RunResult:
    """Return a new result in which some rows were run again; see `RunResult.retry`."""
    before = result._run
    if before.running:
        raise OptionError("The run goes on: wait for its end, or cancel it, and then retry.")
    again = _positions(result, which)
    generation = before.job.generation.merge(**options)
    display = display_for(progress)
    job = dataclasses.replace(before.job, generation=generation)
    engine = _engine(result, llm) if again else before.engine
    if engine is None:  # and no row to run
        return result
    note = {
        "rows": len(again),
        "which": which if isinstance(which, str) else "chosen",
        "options": options,
        "model": engine.info.model,
    }
    new = RunResult(before.again(job, engine, again), result._model, (*result._history, note))
    return follow(new, display, wait=wait)


def _positions(result: RunResult, which: str | Sequence[int]) -> list[int]:
    """Return the positions of the rows to run again, in order."""
    store = result._run.store
    if isinstance(which, str):
        if which == "failed":
            return sorted([*store.where("error").tolist(), *store.where("cancelled").tolist()])
        if which == "truncated":
            return [int(at) for at in store.where_cut_off()]
        raise OptionError(
            f"which={which!r} is unknown.{closest(which, _WHICH)} Use 'failed' (rows that failed "
            "or were not reached), 'truncated' (rows that max_new_tokens cut off), or positions."
        )
    chosen = np.asarray(which)
    if chosen.dtype == bool and len(chosen) == store.size:
        return [int(at) for at in np.flatnonzero(chosen)]
    try:
        return sorted({range(store.size)[int(each)] for each in chosen})
    except (IndexError, TypeError, ValueError) as error:
        raise OptionError(
            f"which names rows by their positions, 0 to {store.size - 1:,}; not {which!r}."
        ) from error


def _engine(result: RunResult, llm: HuggingFacePipeline | Engine | str | None) -> Any:
    if llm is not None:
        return engine_of(llm)
    engine = result._run.engine
    if engine is not None:
        return engine
    if result._model is not None:
        return engine_of(result._model)
    raise ModelError(
        "The model of this run is not in memory any more. Give it: result.retry(llm=llm)."
    )
