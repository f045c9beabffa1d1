"""The next state after an event of the comparison. Pure, as `hfnb.panel.reduce`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from hfnb.errors import HfnbError, listing
from hfnb.panel import events as on
from hfnb.panel.choices import why_not_load
from hfnb.panel.generation import options_of
from hfnb.panel.schema import schema_of
from hfnb.panel.state import Comparing, Loading, State

Event = (
    on.TabPicked
    | on.CandidateAdded
    | on.CandidateRemoved
    | on.CompareSet
    | on.ComparePressed
    | on.CompareStopped
    | on.UsePressed
    | on.CompareTold
    | on.Compared
)


def reduce_compare(state: State, event: Event) -> State:
    """Return the state after an event of the comparison."""
    now = state.comparing
    match event:
        case on.TabPicked():
            return replace(state, tab=event.tab)
        case on.UsePressed():
            if state.loading is not None or state.running is not None or now.running:
                return state
            choice, size = event.candidate.choice, event.candidate.batch_size
            asking = state.asking.with_option("batch_size", size) if size else state.asking
            state = replace(state, choice=choice, asking=asking, memory=None, tab="run")
            return replace(state, loading=Loading(choice))
        case on.CandidateAdded():
            problem = why_not_load(state)
            if not problem and state.choice in now.candidates:
                problem = "It is among the candidates already: choose something else above."
            added = now.candidates if problem else (*now.candidates, state.choice)
            now = replace(now, candidates=added, problem=problem)
        case on.CandidateRemoved():
            kept = (each for at, each in enumerate(now.candidates) if at != event.at)
            now = replace(now, candidates=tuple(kept), problem="")
        case on.CompareSet():
            now = replace(now, problem="", **{event.field: event.value})  # type: ignore[arg-type]
        case on.ComparePressed():
            now = _pressed(state, fastest=event.fastest)
        case on.CompareStopped():
            now = replace(now, stopping=bool(now.running))
        case on.CompareTold():
            now = replace(now, progress=event.progress)
        case on.Compared():
            now = replace(
                now,
                running="",
                stopping=False,
                comparison=event.comparison or now.comparison,
                usable=event.usable or now.usable,
                advice=event.advice,
                problem=event.problem,
            )
    return replace(state, comparing=now)


def rows_of(now: Comparing) -> int | None:
    """Return how many rows are compared on; ``None`` for all.

    Raises:
        ValueError: That is no number of rows.
    """
    text = now.rows.strip()
    if not text:
        return None
    if not text.isdecimal() or int(text) < 1:
        raise ValueError(f"Rows is a number of rows, or empty for all; not {text!r}.")
    return int(text)


def _pressed(state: State, *, fastest: bool) -> Comparing:
    now = state.comparing
    if now.running:
        return now
    problem = ""
    if state.running is not None or state.loading is not None:
        problem = "Wait until nothing runs or loads: it would spoil the figures."
    elif state.table is None or not state.asking.prompt.strip():
        problem = "Choose a DataFrame and write a prompt first."
    elif fastest:
        problem = why_not_load(state)
    elif len(now.candidates) < 2:
        problem = "Add at least two candidates: choose one above, and press Add."
    try:
        rows_of(now)
        options_of(state.asking)
        _check_reference(now, schema_of(state.asking))
    except (HfnbError, ValueError) as error:
        problem = problem or str(error)
    if problem:
        return replace(now, problem=problem)
    running: Literal["recommend", "compare"] = "recommend" if fastest else "compare"
    return replace(now, running=running, stopping=False, progress=None, advice="", problem="")


def _check_reference(now: Comparing, schema: Mapping[str, Any] | None) -> None:
    """Check that it is clear which field the right answers are of.

    Raises:
        ValueError: It is not.
    """
    if schema is None or not now.reference or len(schema) == 1 or now.reference in schema:
        return
    raise ValueError(
        f"The answer has the fields {listing(schema)}, and {now.reference!r} is none of them: "
        "rename the column of right answers after the field that it is of, or use hfnb.compare, "
        "which takes one for each field."
    )
