"""The magics in a real kernel, as every Jupyter front end meets them."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from tests.needs import require

if TYPE_CHECKING:
    from tests.magics.kernel import Kernel

SETUP = """
%load_ext hfnb
import hfnb, pandas as pd
df = pd.DataFrame({"i": range(300), "long name": "x"})
echo = hfnb.EchoEngine()
slow = hfnb.EchoEngine(delay_s=0.02, fingerprint="slow")
bold = pd.DataFrame({"text": ["<b>x</b>"]})
"""


@pytest.fixture(scope="module")
def kernel() -> "Iterator[Kernel]":
    """One kernel for all of these tests."""
    require("jupyterlab")
    from tests.magics.kernel import kernel as start

    with start() as running:
        assert running.run(SETUP)["status"] == "ok"
        yield running


def test_a_result_is_one_output_and_the_table_is_in_out(kernel: "Kernel") -> None:
    reply = kernel.run("%%hfnb df --into answer --model echo --limit 3\nrow {i}")
    assert reply["status"] == "ok"
    (shown,) = kernel.of("execute_result")
    assert "latency" in shown["data"]["text/plain"]
    assert 'class="hfnb-result"' in shown["data"]["text/html"]
    assert len(kernel.of("display_data")) == 1  # the progress, which is replaced in place
    number = reply["execution_count"]
    kernel.run(f"print(type(_).__name__, _ is Out[{number}], list(_.columns))")
    assert kernel.of("stream")[0]["text"] == "DataFrame True ['i', 'long name', 'answer']\n"


def test_a_models_markup_is_text(kernel: "Kernel") -> None:
    kernel.run("%%hfnb bold --model echo\n{text}<script>alert(1)</script>")
    (shown,) = kernel.of("execute_result")
    assert "<script>" not in shown["data"]["text/html"]
    assert "<b>x" not in shown["data"]["text/html"]


def test_quiet_sends_nothing(kernel: "Kernel") -> None:
    kernel.run("%%hfnb df --model echo --quiet -o kept\nrow {i}")
    kinds = {kind for kind, _ in kernel.shown}
    assert kinds <= {"status", "execute_input"}


def test_a_mistake_is_a_line_and_an_error_reply(kernel: "Kernel") -> None:
    reply = kernel.run("%%hfnb dff\nrow {i}")
    assert (reply["status"], reply["ename"]) == ("error", "UsageError")
    assert kernel.of("error") == []
    (line,) = kernel.of("stream")
    assert line["name"] == "stderr"
    assert line["text"].startswith("UsageError: There is no variable 'dff'. Did you mean 'df'?")


def test_an_interrupt_keeps_the_finished_rows_and_the_same_cell_goes_on(kernel: "Kernel") -> None:
    interrupts: list[str] = []

    def interrupt(kind: str, content: dict[str, Any]) -> None:
        text = content["data"]["text/plain"] if kind == "update_display_data" else "0/"
        if not interrupts and not text.startswith("0/"):  # a second one might hit the kernel itself
            interrupts.append(text)
            kernel.manager.interrupt_kernel()

    cell = "%%hfnb df --model slow --limit 100\nrow {i}"
    reply = kernel.run(cell, seen=interrupt)
    assert reply["ename"] == "KeyboardInterrupt"
    (error,) = kernel.of("error")
    assert len(error["traceback"]) == 1
    assert "of 100 rows are finished" in error["traceback"][0]
    kernel.run("%hfnb last")
    (partial,) = kernel.of("execute_result")
    assert "cancelled" in partial["data"]["text/plain"]
    assert kernel.run(cell)["status"] == "ok"
    (whole,) = kernel.of("execute_result")
    assert "100 ok" in whole["data"]["text/plain"]
    assert "from the journal" in whole["data"]["text/plain"]


def test_completion_offers_its_own_names_alone(kernel: "Kernel") -> None:
    assert kernel.complete("%%hfnb d") == ["df"]
    assert kernel.complete("%%hfnb df --mod") == ["--model"]
    assert kernel.complete("%%hfnb df\nWhat is {") == ["i", "long name"]
    assert kernel.complete("%%hfnb df\nété 🙂 {lo") == ["long name"]
    assert kernel.complete("%hfnb load hfnb/n") == ["hfnb/numbers-fr"]
    assert "echo" in kernel.complete("ech")


def test_jedi_and_the_older_protocol_offer_the_same(kernel: "Kernel") -> None:
    for setting in ("IPCompleter.use_jedi = True", "IPKernelApp.nothing"):
        kernel.run(f"%config {setting}")
        assert kernel.complete("%%hfnb df\nWhat is {") == ["i", "long name"]
        assert kernel.complete("%%hfnb df --mod") == ["--model"]
    kernel.run("%config IPCompleter.use_jedi = False")
    kernel.run("get_ipython().kernel.use_experimental_completions = False")
    assert kernel.complete("%%hfnb df --mod") == ["--model"]
    assert kernel.complete("%%hfnb d") == ["df"]
    kernel.run("get_ipython().kernel.use_experimental_completions = True")


def test_a_question_mark_shows_the_short_help(kernel: "Kernel") -> None:
    reply = kernel.run("%%hfnb?")
    (page,) = [each for each in reply["payload"] if each["source"] == "page"]
    assert "%hfnb load hfnb/numbers-fr" in page["data"]["text/plain"]
    assert "Run a prompt for every row" in kernel.inspect("df.hfnb.run")


def test_a_notebook_that_is_executed_fails_at_a_mistake(kernel: "Kernel") -> None:
    """As nbconvert and papermill do it: a wrong cell must not pass for a finished one."""
    import nbformat.v4 as v4
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    cells = ["%load_ext hfnb", "%%hfnb nothing\nrow {i}", "print('after')"]
    notebook = v4.new_notebook(cells=[v4.new_code_cell(each) for each in cells])
    with pytest.raises(CellExecutionError, match="There is no variable 'nothing'"):
        NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    assert notebook.cells[2].outputs == []


def test_the_panel_is_what_the_bare_magic_shows(kernel: "Kernel") -> None:
    assert kernel.run("%hfnb")["status"] == "ok"
    assert "application/vnd.jupyter.widget-view+json" in kernel.of("display_data")[0]["data"]
    assert kernel.run("p = %hfnb panel df")["status"] == "ok"
    assert kernel.run("print(p._state.asking.table, p.llm)")["status"] == "ok"
    assert kernel.of("stream")[0]["text"].startswith("df ")
    assert kernel.run("%hfnb panel dff")["status"] == "error"


def test_an_interrupt_keeps_the_candidates_that_are_finished(kernel: "Kernel") -> None:
    interrupts: list[str] = []

    def interrupt(kind: str, content: dict[str, Any]) -> None:
        text = content["data"]["text/plain"] if kind == "update_display_data" else ""
        # The second one, which is slow, has a row.
        if not interrupts and text.startswith(("6/", "7/", "8/", "9/")):
            interrupts.append(text)
            kernel.manager.interrupt_kernel()

    kernel.run("slow_one = hfnb.EchoEngine(delay_s=1, fingerprint='slow')")
    reply = kernel.run("%%hfnb compare df echo slow_one --limit 5\nrow {i}", seen=interrupt)
    assert interrupts
    assert reply["ename"] == "KeyboardInterrupt"
    (error,) = kernel.of("error")
    assert "1 of 2 candidates are finished" in error["traceback"][0]
    kernel.run("last = hfnb.last_comparison(); print(*last.stats['status'], last.data.iloc[0, 2])")
    assert kernel.of("stream")[0]["text"] == "ok cancelled row 0\n"
