"""The whole panel with real models, without a browser: what is pressed happens."""

import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import hfnb
from hfnb import session
from tests.panel.driven import Driven

PROMPT = "What is the number {i} in french?"
FRAME = pd.DataFrame({"i": [72, 7, 1984], "to": ["french"] * 3})


@pytest.fixture
def drive() -> Iterator[Callable[..., Driven]]:
    """Make a panel that is closed in the end."""
    made: list[Driven] = []

    def make(df: Any = FRAME, prompt: str = PROMPT, **options: Any) -> Driven:
        made.append(Driven(hfnb.Panel(df, prompt, **options)))
        made[-1].until(lambda state: state.tables)
        return made[-1]

    yield make
    for each in made:
        each.panel.close()
    session.use(None)


def echo(**options: Any) -> hfnb.HuggingFacePipeline:
    """Return a model that answers at once, or as slowly as it is told to."""
    return hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine(**options), batch_size="auto")


def test_load_run_and_unload_the_packaged_model(drive: Callable[..., Driven]) -> None:
    driven = drive(model="hfnb/numbers-fr", into="answer", max_new_tokens=32)
    assert driven.panel.llm is None
    driven.load()
    llm = driven.panel.llm
    assert llm is session.current()
    driven.run()
    result = driven.panel.result
    assert result is not None
    assert list(result.data["answer"]) == [
        "soixante-douze", "sept", "mille neuf cent quatre-vingt-quatre",
    ]  # fmt: skip
    assert result is hfnb.last_result()
    assert "3/3 rows" in driven.text()
    assert "soixante-douze" in driven.text()
    assert driven.panel.chain.invoke({"i": 7}) == "sept"
    driven.press("Unload")
    driven.until(lambda state: state.model_note)
    assert driven.panel.llm is None
    assert "given back" in driven.text()
    assert session.current() is None
    assert [each for each in hfnb.loaded() if each.engine is llm.engine] == []  # type: ignore[union-attr]


def test_a_model_that_can_not_be_loaded_is_one_line(drive: Callable[..., Driven]) -> None:
    driven = drive(model="hfnb/numbers-fx")
    driven.press("Load")
    driven.until(lambda state: state.loading is None)
    assert "Did you mean &#x27;hfnb/numbers-fr&#x27;?" in driven.text()
    assert driven.state.running is None


def test_try_runs_the_first_rows(drive: Callable[..., Driven]) -> None:
    driven = drive(pd.DataFrame({"i": range(10)}), model=echo())
    driven.run("Try")
    assert driven.panel.result is not None
    assert len(driven.panel.result) == 3


def test_stop_keeps_what_is_finished_and_run_goes_on(drive: Callable[..., Driven]) -> None:
    asked: list[str] = []

    def answer(text: str) -> str:
        asked.append(text)
        return text.upper()

    model = echo(answer=answer, delay_s=0.02, fingerprint="stop-and-go-on")
    driven = drive(pd.DataFrame({"i": range(100)}), "row {i}", model=model)
    driven.press("Run 100 rows")
    driven.until(lambda state: state.progress is not None and state.progress.done >= 5)
    driven.press("Stop")
    driven.until(lambda state: state.running is None)
    first = driven.panel.result
    assert first is not None
    assert 5 <= first.stats.ok < 100
    assert "stopped at" in driven.text()
    driven.run()
    second = driven.panel.result
    assert second is not None
    assert second.stats.ok == 100
    assert second.stats.from_journal >= first.stats.ok
    assert len(asked) == 100  # no row was computed twice


def test_stop_right_after_run(drive: Callable[..., Driven]) -> None:
    driven = drive(pd.DataFrame({"i": range(1000)}), "row {i}", model=echo(delay_s=0.05))
    driven.button("Run 1,000 rows").click()
    driven.button("Stop").click()
    driven.settle()
    driven.until(lambda state: state.running is None, timeout_s=20)
    assert driven.panel.result is not None
    assert driven.panel.result.stats.ok < 100


def test_failed_rows_are_shown_and_run_again(drive: Callable[..., Driven]) -> None:
    broken = {"row 3", "row 5"}
    model = echo(fail=lambda text: text in broken)
    driven = drive(pd.DataFrame({"i": range(8)}), "row {i}", model=model)
    driven.run()
    driven.press("2 failed")
    assert "failed rows 1" in driven.text()
    assert driven.text().count("✗ failed") == 2
    broken.clear()
    driven.press("Run failed rows again")
    driven.until(lambda state: state.running is None)
    assert driven.panel.result is not None
    assert driven.panel.result.stats.failed == 0
    assert driven.panel.result.stats.ok == 8


def test_a_row_by_itself_runs_again_and_becomes_an_example(drive: Callable[..., Driven]) -> None:
    answers = iter(["zero", "one", "wrong", "two"])
    driven = drive(
        pd.DataFrame({"i": range(3)}), "Row {i}:", model=echo(answer=lambda _: next(answers))
    )
    driven.run()
    driven.enter("Look at row", "2: 2")
    assert driven.state.look is not None
    assert (driven.state.look.asked, driven.state.look.answer) == ("Row 2:", "wrong")
    driven.press("Run this row again")
    driven.until(lambda state: state.running is None and state.look.answer == "two")  # type: ignore[union-attr]
    driven.enter("Answer, to be corrected", "deux")
    driven.press("Use as example")
    assert driven.state.asking.prompt == "Row 2: deux\n\nRow {i}:"
    assert driven.state.rendered is not None
    assert driven.state.rendered.text == "Row 2: deux\n\nRow 0:"


@pytest.mark.parametrize(
    ("prompt", "says"),
    [
        ("What is {j}?", "The frame has no column 'j'."),
        ("What is {i?", "brace"),
        ("no column", "The prompt has no column"),
    ],
)
def test_a_wrong_prompt_is_one_line_as_it_is_typed_and_when_it_is_run(
    drive: Callable[..., Driven], prompt: str, says: str
) -> None:
    driven = drive(FRAME[["i"]], prompt, model=echo())
    assert driven.state.rendered is not None
    assert says in driven.state.rendered.problem
    driven.press("Run 3 rows")
    driven.until(lambda state: state.running is None)
    assert says in driven.state.run_problem
    assert driven.panel.result is None


def test_a_run_that_breaks_ends_in_one_line(drive: Callable[..., Driven]) -> None:
    driven = drive(pd.DataFrame({"i": [1], "output": ["x"]}), "row {i}", model=echo())
    driven.run()
    assert "already. Choose another name" in driven.text()
    driven.enter("Output column", "answer")
    driven.run()
    assert driven.state.run_problem == ""
    assert driven.panel.result is not None


def test_a_journal_that_can_not_be_written_is_one_line(
    drive: Callable[..., Driven], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hfnb").write_text("a file where the journal's folder is to be")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    driven = drive(pd.DataFrame({"i": [1]}), "row {i}", model=echo(fingerprint="unwritable"))
    driven.run()
    assert "journal" in driven.state.run_problem
    assert driven.panel.result is not None
    assert driven.panel.result.stats.ok == 1


def test_what_is_typed_in_the_options_counts(drive: Callable[..., Driven]) -> None:
    driven = drive(model="hfnb/numbers-fr")
    driven.load()
    driven.enter("Max new tokens", "2")
    driven.run()
    assert driven.panel.result is not None
    assert driven.panel.result.stats.cut_off > 0
    driven.enter("Max new tokens", "many")
    assert "max_new_tokens is a number; not &#x27;many&#x27;." in driven.text()


def test_a_table_that_no_variable_holds_is_the_one_that_runs(
    drive: Callable[..., Driven], monkeypatch: pytest.MonkeyPatch
) -> None:
    shell = InteractiveShell(config=Config({"HistoryManager": {"enabled": False}}))
    shell.user_ns["df"] = pd.DataFrame({"i": range(50)})
    monkeypatch.setattr("hfnb.panel.panel._shell", lambda: shell)
    driven = drive(shell.user_ns["df"].head(2), "row {i}", model=echo())
    assert [each.name for each in driven.state.tables] == ["df", "the table given"]
    driven.press("Run 2 rows")
    driven.until(lambda state: state.running is None)
    assert driven.panel.result is not None
    assert len(driven.panel.result) == 2
    assert "# df is the table that the panel was given" in driven.panel.code
    driven.enter("DataFrame", "df")
    assert driven.button("Run 50 rows")


def test_a_polars_frame_comes_back_as_one(drive: Callable[..., Driven]) -> None:
    driven = drive(pl.DataFrame({"i": [1, 2]}), "row {i}", model=echo())
    driven.run()
    assert driven.panel.result is not None
    assert driven.panel.result.data["output"].to_list() == ["row 1", "row 2"]


def test_a_model_loaded_by_a_cell_is_the_panels_too(drive: Callable[..., Driven]) -> None:
    driven, model = drive(), echo()
    session.use(model)
    driven.settle()
    assert driven.panel.llm is model
    assert "Loaded: hfnb/echo" in driven.text()
    session.use(None)
    driven.settle()
    assert driven.panel.llm is None


def test_loading_another_model_lets_the_one_before_go(drive: Callable[..., Driven]) -> None:
    driven = drive(model="hfnb/numbers-fr")
    driven.load()
    gone = weakref.ref(driven.panel.llm.engine)  # type: ignore[union-attr]
    driven.enter("Model", "hfnb/tiny-t5")
    assert driven.state.loading is None  # a choice loads nothing
    driven.load()
    assert driven.panel.llm is not None
    assert driven.panel.llm.engine.info.model == "hfnb/tiny-t5"
    gc.collect()
    assert gone() is None


def test_memory_is_estimated_before_anything_is_loaded(drive: Callable[..., Driven]) -> None:
    driven = drive(model="hfnb/numbers-fr")
    driven.until(lambda state: state.memory is not None)
    assert "✓ fits" in driven.text()
    driven.until(lambda state: state.devices is not None)
    assert "cpu" in [each.name for each in driven.state.devices]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"df": [1, 2]}, "Panel takes a DataFrame"),
        ({"backend": "openvin"}, "Did you mean 'openvino'"),
        ({"task": "text-generatio"}, "Did you mean 'text-generation'"),
        ({"max_new_token": 3}, "Did you mean 'max_new_tokens'"),
        ({"num_beams": 3}, "no control for 'num_beams'"),
        ({"temperature": "hot"}, "temperature is a number"),
        ({"chat": "maybe"}, "chat is True, False or 'auto'"),
        ({"model": 3}, "model is a name"),
        ({"weight_format": "fp16"}, "OpenVINO"),
    ],
)
def test_wrong_arguments_are_found_at_once(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(hfnb.HfnbError, match=says):
        hfnb.Panel(**{"df": FRAME, **arguments})


def test_a_closed_panel_leaves_no_thread_behind(drive: Callable[..., Driven]) -> None:
    driven = drive(model=echo())
    driven.panel.close()
    driven.panel._loop._thread.join(10)
    assert not driven.panel._loop._thread.is_alive()
    assert driven.panel._on_model not in session._watchers


def test_widgets_are_written_by_the_loops_thread_alone(
    drive: Callable[..., Driven], monkeypatch: pytest.MonkeyPatch
) -> None:
    from hfnb.panel import parts

    writers: set[str] = set()
    drawn = parts.draw

    def noted(widget: Any, **values: Any) -> None:
        writers.add(threading.current_thread().name)
        drawn(widget, **values)

    driven = drive(pd.DataFrame({"i": range(50)}), "row {i}", model=echo(delay_s=0.01))
    for module in ("parts", "model_view", "prompt_view", "run_view", "result_view"):
        monkeypatch.setattr(f"hfnb.panel.{module}.draw", noted)
    driven.run()
    driven.enter("Prompt", "line {i}")
    assert writers == {"hfnb-panel"}
