"""The next state after an event. Pure: nothing is read, loaded or drawn here."""

from __future__ import annotations

from dataclasses import replace

from hfnb.errors import HfnbError
from hfnb.panel import events as on
from hfnb.panel.choices import why_not_load
from hfnb.panel.examples import with_example
from hfnb.panel.generation import options_of, problem_of
from hfnb.panel.reduce_compare import reduce_compare
from hfnb.panel.schema import schema_of
from hfnb.panel.state import (
    AUTO,
    InUse,
    Loading,
    Look,
    Point,
    Recipe,
    Running,
    SchemaField,
    State,
)
from hfnb.show import size

PAGE_ROWS = 10
"""Rows of the result on one page."""
_MOST_POINTS = 240


def reduce(state: State, event: on.Event) -> State:
    """Return the state after an event.

    Example:
        >>> reduce(State(), on.Chosen("model", "gpt2")).choice.model
        'gpt2'
    """
    match event:
        case on.Chosen():
            return _chosen(state, event)
        case on.Asked() | on.Typed() | on.ColumnAdded() | on.Moved():
            return _asked(state, event)
        case on.FieldAdded() | on.FieldRemoved() | on.FieldSet():
            return _fields(state, event)
        case on.LoadPressed():
            return _load(state, anyway=event.anyway)
        case on.UnloadPressed():
            return _unload(state)
        case on.RefreshPressed():
            return replace(state, refreshed=state.refreshed + 1)
        case on.RunPressed():
            return _run(state, event.limit)
        case on.AgainPressed():
            return _again(state, failed=event.failed)
        case on.StopPressed():
            if state.running is None:
                return state
            return replace(state, running=replace(state.running, stopping=True))
        case (
            on.Filtered()
            | on.Turned()
            | on.RowPicked()
            | on.RowRead()
            | on.AnswerEdited()
            | on.ExamplePressed()
        ):
            return _looked(state, event)
        case on.Folded():
            opened = state.open | {event.name} if event.is_open else state.open - {event.name}
            return replace(state, open=opened)
        case (
            on.TabPicked()
            | on.CandidateAdded()
            | on.CandidateRemoved()
            | on.CompareSet()
            | on.ComparePressed()
            | on.CompareStopped()
            | on.UsePressed()
            | on.CompareTold()
            | on.Compared()
        ):
            return reduce_compare(state, event)
        case _:
            return _told(state, event)


def pages(state: State) -> int:
    """Return how many pages the shown rows of the result fill; at least 1."""
    if state.result is None:
        return 1
    failed = 0 if state.progress is None else state.progress.failed
    rows = len(state.result) if state.shown == "all" else failed
    return max(1, -(-rows // PAGE_ROWS))


# -- the model ------------------------------------------------------------------------------------


def _chosen(state: State, event: on.Chosen) -> State:
    choice = replace(state.choice, **{event.field: event.value})
    if event.field == "backend":  # the other one has devices and precisions of its own
        choice = replace(choice, device=AUTO, precision=AUTO)
    if choice == state.choice:
        return state
    return replace(state, choice=choice, memory=None, model_problem="", model_note="")


def _load(state: State, *, anyway: bool) -> State:
    if state.loading is not None or state.unloading:
        return state
    problem = why_not_load(state)
    if not problem and state.comparing.running:
        problem = "Models are being compared: stop that, or wait for its end, and then load."
    if not problem and state.running is not None:
        problem = "A run is under way: stop it, or wait for its end, and then load."
    estimate = None if state.memory is None else state.memory.estimate
    if not problem and not anyway and estimate and estimate.verdict == "does not fit":
        needed = size(max(estimate.total_bytes, estimate.export_bytes))
        problem = (
            f"{estimate.model} needs about {needed}, and {size(estimate.free_bytes)} are free. "
            "Choose a smaller model or precision, unload another, or press Load anyway."
        )
    if problem:
        return replace(state, model_problem=problem)
    loading = Loading(state.choice, anyway)
    return replace(state, loading=loading, model_problem="", model_note="")


def _unload(state: State) -> State:
    if state.running is not None:
        return replace(
            state,
            model_problem="A run uses the model: stop it, or wait for its end, and then unload.",
        )
    if state.in_use is None or state.loading is not None:
        return state
    return replace(state, unloading=True, model_problem="", model_note="")


# -- what is asked --------------------------------------------------------------------------------


def _asked(state: State, event: on.Asked | on.Typed | on.ColumnAdded | on.Moved) -> State:
    asking = state.asking
    match event:
        case on.Typed():
            asking = asking.with_option(event.option, event.text)
            return replace(state, asking=asking, prompt_problem=problem_of(asking), run_problem="")
        case on.ColumnAdded():
            before = asking.prompt
            between = " " if before and not before[-1].isspace() else ""
            asking = replace(asking, prompt=f"{before}{between}{{{event.name}}}")
            return replace(state, asking=asking)
        case on.Moved():
            rows = state.table.rows if state.table is not None else 1
            return replace(state, at=min(max(0, state.at + event.by), max(0, rows - 1)))
    asking = replace(asking, **{event.field: event.value})  # type: ignore[arg-type]
    at = 0 if event.field == "table" else state.at
    return replace(state, asking=asking, at=at, run_problem="")


def _fields(state: State, event: on.FieldAdded | on.FieldRemoved | on.FieldSet) -> State:
    fields = list(state.asking.fields)
    match event:
        case on.FieldAdded():
            fields.append(SchemaField())
        case on.FieldRemoved():
            del fields[event.at : event.at + 1]
        case on.FieldSet():
            if event.at >= len(fields):
                return state  # it was removed meanwhile
            fields[event.at] = fields[event.at]._replace(**{event.part: event.value})
    asking = replace(state.asking, fields=tuple(fields))
    return replace(state, asking=asking, run_problem="")


# -- the run --------------------------------------------------------------------------------------


def _run(state: State, limit: int | None) -> State:
    if state.running is not None:
        return state
    problem = ""
    if state.in_use is None:
        problem = "No model is loaded: choose one above, and press Load."
    elif state.comparing.running:
        problem = "Models are being compared: stop that, or wait for its end, and then run."
    elif state.table is None:
        problem = "There is no table to run: make a DataFrame in a cell, and press Refresh."
    elif not state.asking.prompt.strip():
        problem = "The prompt is empty: write one, with columns in braces."
    try:
        options = options_of(state.asking)
        schema_of(state.asking)
    except HfnbError as error:
        problem = problem or str(error)
    if problem or state.in_use is None:
        return replace(state, run_problem=problem)
    recipe = Recipe(
        asking=state.asking,
        options=options,
        limit=limit,
        model=state.in_use.llm.model_id or "",
        choice=state.in_use.choice,
    )
    return replace(
        state,
        running=Running(recipe),
        progress=None,
        points=(),
        run_problem="",
        shown="all",
        page=0,
        look=None,
    )


def _again(state: State, *, failed: bool) -> State:
    if state.running is not None or state.recipe is None:
        return state
    if state.in_use is None:
        return replace(state, run_problem="No model is loaded: choose one above, and press Load.")
    if failed:
        running = Running(state.recipe, again="failed")
    elif state.look is not None:
        running = Running(state.recipe, again=(state.look.at,))
    else:
        return state
    return replace(state, running=running, points=(), run_problem="")


def _looked(
    state: State,
    event: on.Filtered
    | on.Turned
    | on.RowPicked
    | on.RowRead
    | on.AnswerEdited
    | on.ExamplePressed,
) -> State:
    match event:
        case on.Filtered():
            return replace(state, shown=event.shown, page=0, look=None)
        case on.Turned():
            page = min(max(0, state.page + event.by), pages(state) - 1)
            return replace(state, page=page, look=None)
        case on.RowPicked():
            return replace(state, look=None if event.at is None else Look(event.at))
        case on.RowRead():
            if state.look is None or event.at != state.look.at:
                return state
            return replace(state, look=Look(event.at, event.asked, event.answer))
        case on.AnswerEdited():
            if state.look is None:
                return state
            return replace(state, look=replace(state.look, answer=event.text))
    if state.look is None or not state.look.answer.strip():
        return replace(state, run_problem="Write the right answer first: it becomes the example.")
    prompt = with_example(state.asking.prompt, state.look.asked, state.look.answer)
    return replace(state, asking=replace(state.asking, prompt=prompt), run_problem="")


# -- news from the workers ------------------------------------------------------------------------


def _told(state: State, event: on.Event) -> State:
    match event:
        case on.Found():
            return replace(state, here=event.entries)
        case on.Searched():
            if event.query != state.choice.model:
                return state  # somebody has typed on meanwhile
            return replace(state, on_hub=event.entries, hub_note=event.note)
        case on.DevicesFound():
            return replace(state, devices=event.devices)
        case on.Estimated():
            return replace(state, memory=event.memory) if event.choice == state.choice else state
        case on.Stepped():
            if state.loading is None:
                return state
            return replace(state, loading=replace(state.loading, step=event.step))
        case on.Loaded():
            choice = state.choice if state.loading is None else state.loading.choice
            return replace(state, loading=None, in_use=InUse(event.llm, choice, event.took_s))
        case on.LoadFailed():
            return replace(state, loading=None, model_problem=event.problem)
        case on.Unloaded():
            return replace(state, unloading=False, in_use=None, model_note=event.note)
        case on.OtherInUse():
            return _in_use(state, event)
        case on.TablesFound():
            return _tables(state, event)
        case on.PromptRendered():
            return replace(state, rendered=event.rendered)
        case on.RunBegan():
            return replace(state, result=event.result, recipe=event.recipe, seen=state.seen + 1)
        case on.Seen():
            points = _thinned((*state.points, event.point))
            return replace(state, progress=event.progress, points=points, seen=state.seen + 1)
        case on.RunEnded():
            result = state.result if event.result is None else event.result
            progress = state.progress if event.result is None else event.result.progress()
            return replace(
                state,
                running=None,
                result=result,
                progress=progress,
                run_problem=event.problem,
                seen=state.seen + 1,
            )
        case on.Failed():
            return replace(state, run_problem=event.problem)
    return state


def _in_use(state: State, event: on.OtherInUse) -> State:
    if event.llm is None:
        return replace(state, in_use=None)
    if state.in_use is not None and state.in_use.llm is event.llm:
        return state
    return replace(state, in_use=InUse(event.llm), model_problem="", model_note="")


def _tables(state: State, event: on.TablesFound) -> State:
    asking = state.asking
    if not asking.table and event.tables:
        asking = replace(asking, table=event.tables[0].name)
    state = replace(state, tables=event.tables, asking=asking)
    rows = state.table.rows if state.table is not None else 1
    return replace(state, at=min(state.at, max(0, rows - 1)))


def _thinned(points: tuple[Point, ...]) -> tuple[Point, ...]:
    """Return points that are not too many: then every other one, and the last."""
    return points if len(points) <= _MOST_POINTS else (*points[:-1:2], points[-1])
