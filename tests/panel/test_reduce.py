"""The reducer: every event makes the right state of a state, without a widget or a model's load."""

from dataclasses import replace

import pytest

from hfnb.errors import HfnbError
from hfnb.panel import events as on
from hfnb.panel.generation import options_of
from hfnb.panel.reduce import PAGE_ROWS, pages, reduce
from hfnb.panel.state import Asking, Choice, Loading, Memory, Rendered, Running, State, Table
from tests.panel.made import DECODER, after, estimate, llm, ready, result


def test_another_backend_has_devices_and_precisions_of_its_own() -> None:
    state = after(
        ready(), on.Chosen("device", "cpu"), on.Chosen("precision", "float32"),
        on.Chosen("backend", "openvino"),
    )  # fmt: skip
    assert state.choice == Choice("a/decoder", backend="openvino")


def test_a_choice_forgets_the_estimate_and_the_problem_of_the_one_before() -> None:
    state = replace(ready(), memory=Memory(why_not="no"), model_problem="no")
    state = reduce(state, on.Chosen("model", "gpt2"))
    assert (state.memory, state.model_problem) == (None, "")


def test_a_choice_never_loads() -> None:
    state = after(ready(), on.Chosen("model", "gpt2"), on.Chosen("task", "translation"))
    assert state.loading is None


def test_load_begins_with_what_is_chosen() -> None:
    state = reduce(ready(), on.LoadPressed())
    assert state.loading == Loading(Choice("a/decoder"))
    assert reduce(state, on.LoadPressed(anyway=True)) == state  # one load at a time


def test_load_says_what_is_missing() -> None:
    assert "Choose a model" in reduce(State(), on.LoadPressed()).model_problem
    cannot = reduce(ready(), on.Chosen("task", "translation"))
    problem = reduce(cannot, on.LoadPressed()).model_problem
    assert problem == "translation: a/decoder can't do it."


def test_what_does_not_fit_is_loaded_only_by_load_anyway() -> None:
    state = replace(ready(), memory=Memory(estimate("does not fit")))
    refused = reduce(state, on.LoadPressed())
    assert refused.loading is None
    assert "1 GB" in refused.model_problem
    assert "Load anyway" in refused.model_problem
    loading = reduce(refused, on.LoadPressed(anyway=True)).loading
    assert loading is not None
    assert loading.anyway


@pytest.mark.parametrize("verdict", ["fits", "tight"])
def test_what_fits_is_loaded(verdict: str) -> None:
    state = replace(ready(), memory=Memory(estimate(verdict)))
    assert reduce(state, on.LoadPressed()).loading is not None


def test_loading_steps_and_ends() -> None:
    state = after(ready(), on.LoadPressed(), on.Stepped("compiling"))
    assert state.loading is not None
    assert state.loading.step == "compiling"
    model = llm()
    done = reduce(state, on.Loaded(model, 2.5))
    assert done.loading is None
    assert done.in_use is not None
    assert (done.in_use.llm, done.in_use.load_s) == (model, 2.5)
    failed = reduce(state, on.LoadFailed("no such model"))
    assert (failed.loading, failed.model_problem) == (None, "no such model")


def test_a_model_that_a_cell_loads_is_the_panels_too() -> None:
    state, model = ready(), llm()
    other = reduce(state, on.OtherInUse(model))
    assert other.in_use is not None
    assert (other.in_use.llm, other.in_use.choice) == (model, None)
    assert reduce(other, on.OtherInUse(model)) is other
    assert reduce(other, on.OtherInUse(None)).in_use is None


def test_unloading() -> None:
    state = reduce(ready(), on.UnloadPressed())
    assert state.unloading
    done = reduce(state, on.Unloaded("3 MB given back"))
    assert (done.unloading, done.in_use, done.model_note) == (False, None, "3 MB given back")
    running = reduce(ready(), on.RunPressed())
    assert "stop it" in reduce(running, on.UnloadPressed()).model_problem
    assert "stop it" in reduce(running, on.LoadPressed()).model_problem


def test_the_first_table_is_chosen_where_none_is() -> None:
    found = on.TablesFound((Table("a", ("x",), 3), Table("b", ("x",), 4)))
    assert reduce(State(), found).asking.table == "a"
    assert reduce(replace(State(), asking=Asking(table="b")), found).asking.table == "b"


def test_the_row_that_is_previewed_stays_inside_of_the_table() -> None:
    state = after(ready(rows=3), on.Moved(1), on.Moved(1), on.Moved(1))
    assert state.at == 2
    assert reduce(state, on.TablesFound((Table("df", ("i",), 1),))).at == 0
    assert reduce(ready(), on.Moved(-1)).at == 0


def test_a_column_is_put_at_the_prompts_end() -> None:
    state = reduce(ready(), on.ColumnAdded("to"))
    assert state.asking.prompt == "What is {i}? {to}"
    assert reduce(State(), on.ColumnAdded("to")).asking.prompt == "{to}"


def test_options_are_read_as_they_are_typed() -> None:
    state = after(ready(), on.Typed("max_new_tokens", "12"), on.Typed("stop", "\\n\nEnd"))
    assert options_of(state.asking) == {"max_new_tokens": 12, "stop": ["\n", "End"]}
    wrong = reduce(state, on.Typed("temperature", "hot"))
    assert wrong.prompt_problem == "temperature is a number; not 'hot'."
    assert wrong.asking.option("temperature") == "hot"  # what was typed stays as it was typed
    with pytest.raises(HfnbError):
        options_of(wrong.asking)
    assert reduce(wrong, on.Typed("temperature", "")).prompt_problem == ""


def test_a_run_keeps_how_it_was_asked_for() -> None:
    state = after(ready(), on.Typed("seed", "3"), on.RunPressed(3))
    assert state.running is not None
    recipe = state.running.recipe
    assert (recipe.limit, recipe.options, recipe.choice) == (3, {"seed": 3}, Choice("a/decoder"))
    changed = reduce(state, on.Asked("prompt", "Other {i}"))
    assert changed.running == state.running


@pytest.mark.parametrize(
    ("state", "says"),
    [
        (replace(ready(), in_use=None), "No model is loaded"),
        (replace(ready(), tables=()), "no table"),
        (replace(ready(), asking=Asking(table="df")), "The prompt is empty"),
        (reduce(ready(), on.Typed("top_p", "2")), "top_p is a share"),
    ],
)
def test_a_run_says_what_is_missing(state: State, says: str) -> None:
    refused = reduce(state, on.RunPressed())
    assert refused.running is None
    assert says in refused.run_problem


def test_a_run_from_its_start_to_a_stop() -> None:
    state, left = reduce(ready(), on.RunPressed()), result()
    assert state.running is not None
    assert reduce(state, on.RunPressed(3)) is state  # one run at a time
    state = reduce(state, on.RunBegan(left, state.running.recipe))
    state = reduce(state, on.Seen(left.progress(), (0.5, 4, 10**6)))
    assert (state.result, state.points) == (left, ((0.5, 4, 10**6),))
    state = reduce(state, on.StopPressed())
    assert state.running is not None
    assert state.running.stopping
    done = reduce(state, on.RunEnded(left, "it broke"))
    assert (done.running, done.run_problem) == (None, "it broke")
    assert done.seen > state.seen


def test_a_run_that_does_not_begin_leaves_the_result_before_it() -> None:
    state = replace(ready(), result=result(), running=Running(_recipe()))
    done = reduce(state, on.RunEnded(None, "no such column"))
    assert (done.result, done.running) == (state.result, None)


def test_pages_turn_within_what_there_is() -> None:
    left = result(rows=25, fails=(1, 7))
    state = after(replace(ready(), result=left), on.RunEnded(left))
    assert pages(state) == 3
    state = after(state, on.Turned(1), on.Turned(1), on.Turned(1))
    assert state.page == 2
    failed = reduce(state, on.Filtered("failed"))
    assert (failed.page, pages(failed)) == (0, 1)
    assert PAGE_ROWS == 10


def test_a_row_by_itself_becomes_an_example_in_the_prompt() -> None:
    state = after(replace(ready(), result=result()), on.RowPicked(4))
    late = reduce(state, on.RowRead(3, "other", "other"))
    assert late == state  # somebody has picked another row meanwhile
    state = after(
        state, on.RowRead(4, "What is {4}?", "wrong"), on.AnswerEdited("four"), on.ExamplePressed()
    )
    assert state.asking.prompt == "What is {{4}}?\nfour\n\nWhat is {i}?"
    emptied = after(state, on.AnswerEdited(" "), on.ExamplePressed())
    assert "Write the right answer" in emptied.run_problem


def test_rows_run_again() -> None:
    state = replace(ready(), result=result(), recipe=_recipe())
    assert reduce(state, on.AgainPressed()) is state  # no row is picked
    one = after(state, on.RowPicked(4), on.AgainPressed())
    assert one.running is not None
    assert one.running.again == (4,)
    every = reduce(state, on.AgainPressed(failed=True))
    assert every.running is not None
    assert every.running.again == "failed"
    gone = reduce(replace(state, in_use=None), on.AgainPressed(failed=True))
    assert "No model" in gone.run_problem


def test_late_news_are_of_no_account() -> None:
    state = ready()
    late = on.Estimated(Choice("other"), Memory(estimate("fits")))
    assert reduce(state, late) is state
    assert reduce(state, on.Searched("oth", (DECODER,))) is state
    assert reduce(state, on.Stepped("compiling")) is state
    assert reduce(state, on.StopPressed()) is state


def test_the_rest() -> None:
    state = after(ready(), on.Folded("code", True), on.Folded("options", True))
    assert reduce(state, on.Folded("code", False)).open == {"options"}
    assert reduce(state, on.RefreshPressed()).refreshed == 1
    assert reduce(state, on.Failed("it broke")).run_problem == "it broke"
    shown = Rendered("What is 1?", 4)
    assert reduce(state, on.PromptRendered(shown)).rendered == shown


def test_a_long_run_keeps_few_points() -> None:
    state = ready()
    for at in range(1000):
        state = reduce(state, on.Seen(result(1).progress(), (float(at), at, at)))
    assert len(state.points) <= 241
    assert state.points[-1][0] == 999.0
    assert state.points[0][0] == 0.0


def _recipe():  # type: ignore[no-untyped-def]
    running = reduce(ready(), on.RunPressed()).running
    assert running is not None
    return running.recipe
