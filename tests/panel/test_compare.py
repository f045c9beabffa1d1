"""The panel's comparison: its states, and real models measured in processes of their own."""

from collections.abc import Callable
from dataclasses import replace

import pandas as pd
import pytest

import hfnb.panel.effects as to
from hfnb.frame.progress import Progress
from hfnb.panel import events as on
from hfnb.panel.compare_view import described
from hfnb.panel.reduce import reduce
from hfnb.panel.state import Candidate, Choice, Comparing, State
from tests.needs import require
from tests.panel.driven import Driven
from tests.panel.made import after, ready
from tests.panel.test_panel import drive

__all__ = ["drive"]
FIELDS = (
    *(on.FieldAdded(), on.FieldSet(0, "name", "tone"), on.FieldSet(0, "kind", "str")),
    *(on.FieldAdded(), on.FieldSet(1, "name", "stars"), on.FieldSet(1, "kind", "int")),
)
"""Events that give the answer two fields."""
OTHER = on.Chosen("precision", "float32")


def two() -> State:
    """Return a state with two candidates."""
    return after(ready(), on.CandidateAdded(), OTHER, on.CandidateAdded())


def test_candidates_are_what_was_chosen_when_they_were_added() -> None:
    state = two()
    assert state.comparing.candidates == (
        Choice("a/decoder"),
        Choice("a/decoder", precision="float32"),
    )
    again = reduce(state, on.CandidateAdded())
    assert again.comparing.candidates == state.comparing.candidates
    assert "already" in again.comparing.problem
    assert reduce(again, on.CandidateRemoved(0)).comparing.candidates == (
        Choice("a/decoder", precision="float32"),
    )


def test_what_can_not_be_loaded_is_no_candidate() -> None:
    state = after(ready(), on.Chosen("task", "translation"), on.CandidateAdded())
    assert state.comparing.candidates == ()
    assert "can't do it" in state.comparing.problem


@pytest.mark.parametrize(
    ("events", "says"),
    [
        ([on.ComparePressed()], "at least two"),
        ([on.CandidateAdded(), OTHER, on.CandidateAdded(), on.CompareSet("rows", "many"),
          on.ComparePressed()], "Rows is a number"),
        ([on.Asked("prompt", ""), on.ComparePressed(fastest=True)], "write a prompt"),
        ([on.Typed("top_p", "7"), on.ComparePressed(fastest=True)], "top_p"),
        ([on.RunPressed(), on.ComparePressed(fastest=True)], "spoil the figures"),
        ([on.CompareSet("reference", "right"), *FIELDS, on.ComparePressed(fastest=True)],
         "rename the column of right answers"),
    ],
)  # fmt: skip
def test_a_comparison_says_what_is_missing(events: list[on.Event], says: str) -> None:
    state = after(ready(), *events)
    assert state.comparing.running == ""
    assert says in state.comparing.problem


def test_a_comparison_from_its_start_to_a_stop() -> None:
    state = two()
    running = reduce(state, on.ComparePressed())
    assert to.due(state, running) == [to.Compare(fastest=False)]
    assert reduce(running, on.ComparePressed()).comparing == running.comparing
    for event in (on.RunPressed(), on.LoadPressed(), on.UsePressed(Candidate(Choice("a/decoder")))):
        held = reduce(running, event)
        assert (held.running, held.loading) == (None, None), event
    told = reduce(running, on.CompareTold(Progress(1, 2, 0, 1.0)))
    assert told.comparing.progress == Progress(1, 2, 0, 1.0)
    stopping = reduce(told, on.CompareStopped())
    assert to.due(told, stopping) == [to.StopComparing()]
    done = reduce(stopping, on.Compared(problem="it broke"))
    assert done.comparing == replace(
        state.comparing, progress=Progress(1, 2, 0, 1.0), problem="it broke"
    )


def test_use_loads_a_candidate() -> None:
    choice = Choice("an/export", backend="openvino")
    use = on.UsePressed(Candidate(choice, "the fastest", batch_size="8"))
    state = reduce(replace(two(), tab="compare"), use)
    assert (state.choice, state.tab) == (choice, "run")
    assert state.asking.option("batch_size") == "8"
    assert state.loading is not None
    assert state.loading.choice == choice


def test_choices_are_described_and_read_back() -> None:
    choice = Choice("gpt2", backend="openvino", precision="int8")
    assert described(choice) == "gpt2 · openvino · int8"
    assert Choice.of({"model": "gpt2", **choice.arguments()}) == choice
    assert Choice.of({"model": "gpt2", "dtype": "float32", "batch_size": 8}) == Choice(
        "gpt2", precision="float32"
    )
    assert Comparing().rows == "50"


def test_two_backends_are_compared_and_one_is_used(drive: Callable[..., Driven]) -> None:
    require("openvino")
    frame = pd.DataFrame({"i": [72, 7], "right": ["soixante-douze", "sept"]})
    driven = drive(frame, "What is the number {i} in french?", model="hfnb/numbers-fr")
    driven.press("○ Compare")
    driven.press("Add what is chosen above")
    driven.press("OpenVINO")
    driven.press("Add what is chosen above")
    driven.enter("Column of right answers", "right")
    driven.press("Compare 2 candidates")
    driven.until(lambda state: not state.comparing.running, timeout_s=120)
    assert driven.state.comparing.problem == ""
    comparison = driven.state.comparing.comparison
    assert comparison is not None
    assert list(comparison.stats["status"]) == ["ok", "ok"]
    assert "<svg" in driven.text()
    driven.press("Use hfnb/numbers-fr · openvino")
    driven.until(lambda state: state.loading is None, timeout_s=120)
    assert driven.panel.llm is not None
    assert driven.panel.llm.engine.info.backend == "openvino"
