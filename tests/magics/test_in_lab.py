"""The magics in JupyterLab, as a person sees them: the completion list, the table, the stop."""

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.jupyter.lab import Lab

pytestmark = pytest.mark.browser

CELLS = [
    "%load_ext hfnb\nimport hfnb, pandas as pd\n"
    "df = pd.DataFrame({'i': [72, 7, 1984, 21], 'note': ['<b>x</b>'] * 4})\n"
    "many = pd.DataFrame({'i': range(2000)})\n"
    "slow = hfnb.EchoEngine(delay_s=0.05, fingerprint='slow')",
    "%hfnb load hfnb/numbers-fr",
    '%%hfnb df --into answer --stop "\\n"\nWhat is the number {i} in french?',
    "%%hfnb df --into answer --modle gpt2\nWhat is the number {i} in french?",
    "%hfnb",
    "%hfnb status",
    "",
]
SLOW = [CELLS[0], "%%hfnb many --into said --model slow\nrow {i}", "%hfnb last"]


def test_a_cell_shows_its_table_and_a_mistake_its_line(lab: Lab, tmp_path: Path) -> None:
    lab.open(lab.server.write_notebook("magics.ipynb", CELLS))
    for index in range(len(CELLS) - 1):
        lab.run_cell(index)
    table = lab.notebook.locator(".hfnb-result table.dataframe")
    assert table.count() == 1
    assert "mille neuf cent quatre-vingt-quatre" in table.inner_text()
    assert "latency" in table.inner_text()
    wrong = lab.outputs()[3]
    assert [each["output_type"] for each in wrong] == ["stream"]
    assert wrong[0]["text"] == "UsageError: Unknown option --modle. Did you mean '--model'?\n"
    for theme in ("Light", "Dark"):
        lab.set_theme(f"JupyterLab {theme}")
        lab.screenshot(tmp_path / f"magics-{theme.lower()}.png")
    assert lab.problems == []


def test_the_completer_offers_what_may_come_next(lab: Lab, tmp_path: Path) -> None:
    lab.open(lab.server.write_notebook("completer.ipynb", [CELLS[0], ""]))
    lab.run_cell(0)
    lab.page.evaluate("window.jupyterapp.shell.currentWidget.content.activeCellIndex = 1")
    editor = lab.notebook.locator(".jp-CodeCell").nth(1).locator(".cm-content")
    offered = lab.page.locator(".jp-Completer-match")

    def offers(typed: str, expected: list[str]) -> None:
        editor.click()
        lab.page.keyboard.press("Control+A")
        lab.page.keyboard.press("Delete")
        # Not typed key by key: the editor would close braces and quotes by itself.
        lab.page.keyboard.insert_text(typed)
        lab.page.keyboard.press("Tab")
        expect(offered).to_have_text(expected)  # JupyterLab puts them in order
        lab.screenshot(tmp_path / f"offered-{len(typed)}.png")
        lab.page.keyboard.press("Escape")

    offers("%%hfnb df --max", ["--max-length", "--max-new-tokens", "--max-time"])
    offers("%%hfnb df\nWhat is the number {", ["i", "note"])
    offers("%%hfnb df --model hfnb/", ["hfnb/numbers-fr", "hfnb/tiny-t5"])
    offers("%hfnb l", ["last", "load"])


def test_the_stop_button_keeps_the_finished_rows(lab: Lab) -> None:
    lab.open(lab.server.write_notebook("stop.ipynb", SLOW))
    lab.run_cell(0)
    lab.run_all(wait=False)
    lab.notebook.locator("[role=status]").get_by_text("rows/s").wait_for()
    lab.notebook.get_by_title("Interrupt the kernel").click()
    lab.wait_idle(timeout=30)
    stopped = lab.outputs()[1][-1]
    assert stopped["ename"] == "KeyboardInterrupt"
    assert "of 2,000 rows are finished" in stopped["traceback"][0]
    lab.run_cell(2)
    assert "cancelled" in lab.outputs()[2][-1]["data"]["text/plain"]
