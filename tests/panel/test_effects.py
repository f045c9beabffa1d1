"""What is to be done after a change: exactly what the change asks for."""

from dataclasses import replace

import hfnb.panel.effects as to
from hfnb.panel import events as on
from hfnb.panel.reduce import reduce
from hfnb.panel.state import Choice, Memory, State
from tests.panel.made import after, estimate, llm, ready, result

READY = ready()


def due(state: State, *events: on.Event) -> list[to.Effect]:
    """Return what is due after some events together."""
    return to.due(state, after(state, *events))


def test_a_choice_is_estimated_unless_it_can_not_be_loaded() -> None:
    assert due(READY, on.Chosen("backend", "openvino")) == [
        to.Estimate(Choice("a/decoder", backend="openvino"))
    ]
    assert due(READY, on.Chosen("task", "translation")) == []


def test_what_is_in_memory_is_not_estimated() -> None:
    assert READY.is_in_memory
    other = reduce(READY, on.Chosen("model", "gpt2"))
    assert not other.is_in_memory
    assert due(other, on.Chosen("model", "a/decoder")) == []


def test_the_hub_is_asked_for_names_that_are_not_here() -> None:
    assert to.Search("qwen", "auto") in due(READY, on.Chosen("model", "qwen"))
    for name in ("a/decoder", "an/export", "qw", "../qwen", "/models/qwen"):
        effects = due(READY, on.Chosen("model", name))
        assert not any(isinstance(each, to.Search) for each in effects), name


def test_loading_is_due_once() -> None:
    loading = reduce(READY, on.LoadPressed())
    assert loading.loading is not None
    assert to.due(READY, loading) == [to.Load(loading.loading, fits_beside=False)]
    assert to.due(loading, reduce(loading, on.Stepped("compiling"))) == []


def test_the_model_before_stays_while_there_is_room_for_both() -> None:
    state = replace(READY, memory=Memory(estimate("fits")))
    (load,) = due(state, on.LoadPressed())
    assert isinstance(load, to.Load)
    assert load.fits_beside


def test_unloading_is_due_once() -> None:
    state = READY
    assert state.in_use is not None
    assert due(state, on.UnloadPressed()) == [to.Unload(state.in_use)]


def test_a_prompt_is_rendered_when_anything_of_it_changes() -> None:
    for event in (
        on.Asked("prompt", "New {i}"),
        on.Asked("system", "Be brief."),
        on.Asked("chat", "no"),
        on.Moved(1),
        on.TablesFound(()),
    ):
        assert to.Render() in due(READY, event), event
    assert to.Render() in due(READY, on.OtherInUse(llm()))  # it counts the tokens
    assert due(READY, on.Asked("into", "other")) == []


def test_a_run_starts_and_stops_once() -> None:
    running = reduce(READY, on.RunPressed())
    assert running.running is not None
    assert to.due(READY, running) == [to.Start(running.running)]
    stopping = reduce(running, on.StopPressed())
    assert to.due(running, stopping) == [to.Stop()]
    assert to.due(stopping, reduce(stopping, on.StopPressed())) == []


def test_a_row_is_read_when_it_is_picked_and_when_it_has_run_again() -> None:
    state = replace(READY, result=result())
    assert due(state, on.RowPicked(2)) == [to.ReadRow(2)]
    picked = reduce(state, on.RowPicked(2))
    assert due(picked, on.AnswerEdited("x")) == []
    assert to.due(picked, replace(picked, result=result())) == [to.ReadRow(2)]
    assert due(picked, on.RowPicked(None)) == []


def test_tables_are_looked_for_when_it_is_asked_for() -> None:
    assert due(READY, on.RefreshPressed()) == [to.LookForTables()]
