"""A run in JupyterLab, as a person sees it: progress, the table, failures, an interrupt."""

from pathlib import Path

import pytest

from tests.jupyter.lab import Lab

pytestmark = pytest.mark.browser

RUN = [
    "import hfnb, pandas as pd\nllm = hfnb.load('hfnb/numbers-fr')",
    "df = pd.DataFrame({'i': [72, None, 80, 21, 99] * 3, 'note': ['<b>x</b>'] * 15})\n"
    "df.loc[12, 'note'] = 'again ' * 2000\n"
    "hfnb.run(df, '({note}) What is the number {i} in french?', llm, into='answer', chat=False)",
    "hfnb.run(df.iloc[[0, 2]], 'What is the number {i} in french?', llm, into='answer')",
]
SLOW = [
    "import hfnb, pandas as pd\nengine = hfnb.EchoEngine(delay_s=0.05)\n"
    "df = pd.DataFrame({'i': range(2000)})",
    "hfnb.run(df, 'row {i}', engine)",
    "r = hfnb.last_result()\nprint(r.stats.ok, r.stats.cancelled, r.data['output'].count())",
]
LONG = [
    *RUN[:1],
    "df = pd.DataFrame({'i': [*range(60), *range(20), None]})\n"
    "hfnb.preview(df, 'What is the number {i} in french?', llm)",
    "hfnb.run(df, 'What is the number {i} in french?', llm, into='answer')",
    "hfnb.journal.entries()",
]


def test_a_result_shows_answers_latency_and_failures(lab: Lab, tmp_path: Path) -> None:
    lab.open(lab.server.write_notebook("run.ipynb", RUN))
    lab.run_all()

    tables = lab.notebook.locator(".hfnb-result table.dataframe")
    assert tables.count() == 2
    assert "soixante-douze" in tables.last.inner_text()
    assert "quatre-vingts" in tables.last.inner_text()
    assert " ms" in tables.last.inner_text() or " s" in tables.last.inner_text()
    first = tables.first.inner_text()
    assert "skipped: column 'i' is null" in first
    assert "error: The prompt has" in first
    assert "<b>x</b>" in first  # a cell's markup is text, and makes nothing bold
    assert lab.notebook.locator(".hfnb-result td b").count() == 0
    assert lab.problems == []
    for theme in ("Light", "Dark"):
        lab.set_theme(f"JupyterLab {theme}")
        lab.screenshot(tmp_path / f"run-{theme.lower()}.png")


def test_a_preview_and_the_run_after_it_that_computes_only_the_rest(
    lab: Lab, tmp_path: Path
) -> None:
    lab.open(lab.server.write_notebook("long.ipynb", LONG))
    lab.run_all()
    preview, result, journal = (each[-1]["data"]["text/plain"] for each in lab.outputs()[1:])
    assert "to compute" in preview
    assert "from the journal" in result
    assert "20 with the prompt of another row" in result
    assert "hfnb/numbers-fr" in journal
    assert lab.problems == []
    for theme in ("Light", "Dark"):
        lab.set_theme(f"JupyterLab {theme}")
        lab.notebook.locator(".hfnb-result").last.scroll_into_view_if_needed()
        lab.screenshot(tmp_path / f"long-{theme.lower()}.png")


def test_progress_is_one_line_and_an_interrupt_keeps_what_is_done(lab: Lab) -> None:
    lab.open(lab.server.write_notebook("interrupt.ipynb", SLOW))
    lab.run_all(wait=False)
    status = lab.notebook.locator("[role=status]")
    status.get_by_text("rows/s").wait_for()
    assert status.count() == 1

    lab.interrupt()
    lab.wait_idle(timeout=30)

    outputs = lab.outputs()
    assert outputs[1][-1]["ename"] == "KeyboardInterrupt"
    lab.run_cell(2)
    ok, cancelled, filled = map(int, lab.outputs()[2][0]["text"].split())
    assert ok > 0
    assert ok == filled
    assert ok + cancelled == 2000
