"""What is to be done after a change of the state. Pure: it only says so; `Workers` do it."""

from __future__ import annotations

import dataclasses

from hfnb.panel.choices import may_search, why_not_load
from hfnb.panel.state import Choice, InUse, Loading, Running, State


@dataclasses.dataclass(frozen=True)
class Estimate:
    """Estimate the memory for a choice."""

    choice: Choice


@dataclasses.dataclass(frozen=True)
class Search:
    """Ask the Hub for models."""

    query: str
    task: str


@dataclasses.dataclass(frozen=True)
class Load:
    """Load a model, and let the one before go."""

    loading: Loading
    fits_beside: bool
    """Whether there is memory for both, so that the one before need not go first."""


@dataclasses.dataclass(frozen=True)
class Unload:
    """Give a model's memory back."""

    in_use: InUse


@dataclasses.dataclass(frozen=True)
class LookForTables:
    """Look at the user's variables."""


@dataclasses.dataclass(frozen=True)
class Render:
    """Render one row's prompt."""


@dataclasses.dataclass(frozen=True)
class Start:
    """Start a run."""

    running: Running


@dataclasses.dataclass(frozen=True)
class Stop:
    """End the run."""


@dataclasses.dataclass(frozen=True)
class ReadRow:
    """Read a row of the result."""

    at: int


@dataclasses.dataclass(frozen=True)
class Compare:
    """Measure the candidates, or the ways to run a model."""

    fastest: bool


@dataclasses.dataclass(frozen=True)
class StopComparing:
    """End the comparison."""


Effect = (
    Compare
    | StopComparing
    | Estimate
    | Search
    | Load
    | Unload
    | LookForTables
    | Render
    | Start
    | Stop
    | ReadRow
)


def due(before: State, after: State) -> list[Effect]:
    """Return what has to be done since the state has changed.

    Example:
        >>> due(State(), dataclasses.replace(State(), refreshed=1))
        [LookForTables()]
    """
    effects: list[Effect] = []
    choice = after.choice
    if _memory(after) != _memory(before) and not after.is_in_memory and not why_not_load(after):
        effects.append(Estimate(choice))
    named = (choice.model, choice.task) != (before.choice.model, before.choice.task)
    here = any(each.name == choice.model for each in after.here)
    if named and not here and may_search(choice.model):
        effects.append(Search(choice.model, choice.task))
    if after.loading is not None and before.loading is None:
        estimate = None if after.memory is None else after.memory.estimate
        fits = estimate is not None and estimate.verdict == "fits"
        effects.append(Load(after.loading, fits))
    if after.unloading and not before.unloading and after.in_use is not None:
        effects.append(Unload(after.in_use))
    if after.refreshed != before.refreshed:
        effects.append(LookForTables())
    if _prompt(after) != _prompt(before):
        effects.append(Render())
    if after.running is not None and before.running is None:
        effects.append(Start(after.running))
    if after.running is not None and after.running.stopping and not _stopping(before):
        effects.append(Stop())
    if after.look is not None and _looked(after) != _looked(before):
        effects.append(ReadRow(after.look.at))
    now, earlier = after.comparing, before.comparing
    if now.running and not earlier.running:
        effects.append(Compare(now.running == "recommend"))
    if now.stopping and not earlier.stopping:
        effects.append(StopComparing())
    return effects


def _stopping(state: State) -> bool:
    return state.running is not None and state.running.stopping


def _memory(state: State) -> tuple[object, ...]:
    """Return all that the estimate depends on."""
    return state.choice, state.in_use, state.devices


def _looked(state: State) -> tuple[object, ...]:
    """Return all that the row by itself depends on."""
    return None if state.look is None else state.look.at, state.result, state.running is None


def _prompt(state: State) -> tuple[object, ...]:
    """Return all that the shown prompt depends on."""
    asking = state.asking
    return (
        asking.table,
        asking.prompt,
        asking.chat,
        asking.system,
        state.at,
        state.tables,
        (state.in_use),
    )
