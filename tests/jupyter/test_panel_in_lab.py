"""The panel in a real JupyterLab, as a person uses it: mouse, keyboard, light, dark, narrow."""

import json
import re
from itertools import pairwise, product
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from num2words import num2words
from playwright.sync_api import expect

from tests.jupyter.lab import PANEL, Lab
from tests.jupyter.panel_page import PanelPage

pytestmark = pytest.mark.browser

IMPORT = "import hfnb, pandas as pd\n"
NUMBERS = [
    IMPORT + "df = pd.DataFrame({'i': [72, 7, 21, 80, 99] * 10})\n"
    "panel = hfnb.Panel(df, 'What is the number {i} in french?', into='answer',\n"
    "                   model='hfnb/numbers-fr', max_new_tokens=32)\n"
    "panel",
    "import json\nprint(json.dumps([panel.code, panel.result.data['answer'].tolist()]))",
]
ECHO = [
    IMPORT + "import uuid\n"
    "echo = hfnb.EchoEngine(delay_s=0.02, fail=lambda text: text == 'row <b>3</b>',\n"
    "                       fingerprint=str(uuid.uuid4()))\n"
    "df = pd.DataFrame({'i': range(400)})\n"
    "panel = hfnb.Panel(df, 'row <b>{i}</b>', model=hfnb.HuggingFacePipeline(engine=echo))\n"
    "panel",
    "print('the kernel is free')",
]
BELOW = "() => document.activeElement.getBoundingClientRect().top"
CUT_OFF = """root => {
    const edge = root.getBoundingClientRect();
    return [...root.querySelectorAll('button, input, select, textarea, h3, dd, figure')]
        .filter(each => each.offsetParent)
        .filter(each => {
            const box = each.getBoundingClientRect();
            return box.right > edge.right + 1 || box.left < edge.left - 1 || !box.width;
        })
        .map(each => each.outerHTML.slice(0, 200));
}"""
RESTART = f"() => {PANEL}.sessionContext.session.kernel.restart()"
NAME = "() => document.activeElement.textContent || document.activeElement.placeholder"


def open_panel(lab: Lab, name: str, cells: list[str]) -> PanelPage:
    """Open a notebook, and run the cell that makes its panel."""
    lab.open(lab.server.write_notebook(name, cells))
    lab.run_cell(0)
    panel = PanelPage(lab)
    panel.root.wait_for()
    return panel


def test_load_run_and_repeat_in_a_new_kernel(lab: Lab, tmp_path: Path) -> None:
    panel = open_panel(lab, "numbers.ipynb", NUMBERS)
    panel.load()
    panel.press("Run 50 rows")
    panel.wait_for("50/50 rows")
    panel.wait_for_end()
    right = [num2words(number, lang="fr") for number in (72, 7, 21, 80, 99)] * 10
    rows = panel.rows()
    assert [row[:3] for row in rows[:2]] == [["0", "72", right[0]], ["1", "7", right[1]]]
    assert [row[2] for row in rows] == right[:10]
    assert all(row[3].endswith("s") for row in rows[:5])  # the others are duplicates
    panel.press("Code for this run")
    lab.run_cell(1)
    code, answers = json.loads(lab.outputs()[1][0]["text"])
    assert answers == right
    shown, cell = panel.root.locator(".hfnb-code").all_inner_texts()
    assert shown == code
    for theme in ("Light", "Dark"):
        lab.set_theme(f"JupyterLab {theme}")
        lab.screenshot(tmp_path / f"panel-{theme.lower()}.png", panel.root)

    lab.page.evaluate(RESTART)
    lab.run_cell(0)
    panel.load()
    panel.press("Run 50 rows")
    panel.wait_for("50/50 rows")
    panel.wait_for_end()
    assert [row[2] for row in panel.rows()] == right[:10]

    frame = NUMBERS[0].partition("panel =")[0]
    check = "\nimport json\nprint(json.dumps([list(result.data['answer']), answers]))"
    again = [frame, code + check, "%load_ext hfnb", cell, "print(list(_['answer']))"]
    lab.open(lab.server.write_notebook("again.ipynb", again))
    lab.run_all()
    outputs = lab.outputs()
    assert json.loads(outputs[1][-1]["text"]) == [answers, answers]
    assert outputs[4][0]["text"].strip() == str(answers)
    assert lab.problems == []


def test_run_stop_go_on_and_failed_rows_while_the_kernel_stays_free(lab: Lab) -> None:
    panel = open_panel(lab, "echo.ipynb", ECHO)
    panel.press("Run 400 rows")
    panel.wait_for("left ·")
    told = re.compile(r"\d+/400 rows · [\d.]+ rows/s · .* left · \d failed")
    expect(panel.root.get_by_text(told).first).to_be_visible()
    lab.run_cell(1, timeout=5)  # the run goes on meanwhile
    assert lab.outputs()[1][0]["text"] == "the kernel is free\n"
    heights = set()
    for _ in range(12):
        heights.add(panel.root.bounding_box()["height"])  # type: ignore[index]
        lab.page.wait_for_timeout(100)
    assert len(heights) == 1
    panel.press("Stop")
    panel.wait_for("stopped at")
    panel.press("Run 400 rows")
    panel.wait_for("400/400 rows", timeout=30)
    panel.press("1 failed")
    panel.wait_for("failed rows 1")
    (row,) = panel.rows()
    assert row[2].startswith("✗ failed")
    assert lab.problems == []


def test_axe_finds_nothing_serious(lab: Lab) -> None:
    panel = open_panel(lab, "axe.ipynb", ECHO)
    panel.press("Run 400 rows")
    panel.wait_for("✗ failed")
    panel.press("Stop")
    panel.wait_for("stopped at")
    panel.press("Code for this run")
    panel.press("Chat and generation options")
    panel.press("Columns instead of text")
    panel.press("Add a field")
    panel.root.get_by_label("Max new tokens").fill("many")
    panel.root.get_by_label("Look at row").select_option(index=4)
    panel.wait_for("Use as example")
    panel.wait_for("max_new_tokens is a number")
    for theme, tab in product(("Light", "Dark"), ("Run", "Compare")):
        lab.set_theme(f"JupyterLab {theme}")
        panel.root.get_by_role("button", name=re.compile(f"^[●○] {tab}$")).click()
        found = Axe().run(lab.page, context=".hfnb-panel").response["violations"]
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        assert serious == [], json.dumps([theme, tab, serious], indent=1)[:4000]


def test_the_keyboard_alone_is_enough(lab: Lab) -> None:
    panel = open_panel(lab, "keys.ipynb", NUMBERS)
    keys = lab.page.keyboard
    expect(panel.button("Load")).to_be_enabled(timeout=60_000)
    panel.root.get_by_label("Model", exact=True).focus()
    tops = [lab.page.evaluate(BELOW)]
    names = []
    while "Load" not in names:
        keys.press("Tab")
        names.append(lab.page.evaluate(NAME))
        tops.append(lab.page.evaluate(BELOW))
        assert len(names) < 40, names
    # Reading order: nothing that comes later stands above what came before.
    assert all(later >= before - 1 for before, later in pairwise(tops)), tops
    assert [each[2:] for each in names if each.startswith("● ")] == ["auto", "PyTorch"] + [
        "auto"
    ] * 2
    keys.press("Enter")
    panel.wait_for("Loaded:")
    prompt = panel.root.get_by_label("Prompt", exact=True)
    prompt.focus()
    keys.press("Control+A")
    keys.type("What is the number {i} in french?", delay=5)
    panel.wait_for("What is the number 72 in french?")
    assert prompt.input_value() == "What is the number {i} in french?"
    while lab.page.evaluate(NAME) != "Run 50 rows":
        keys.press("Tab")
    keys.press("Space")
    panel.wait_for("50/50 rows")
    panel.wait_for("soixante-douze")


def test_nothing_is_cut_off_however_wide(lab: Lab, tmp_path: Path) -> None:
    panel = open_panel(lab, "wide.ipynb", ECHO)
    panel.press("Try 3 rows")
    panel.wait_for("3/3 rows")
    panel.press("Chat and generation options")
    panel.press("Code for this run")
    for width in (480, 760, 1600):
        panel.root.evaluate("(node, width) => { node.style.width = `${width}px`; }", width)
        lab.page.set_viewport_size({"width": width + 300, "height": 1400})
        lab.page.wait_for_timeout(500)
        lab.screenshot(tmp_path / f"panel-{width}.png", panel.root)
        assert panel.root.evaluate(CUT_OFF) == []


def test_a_reopened_notebook_shows_the_result_and_what_to_do(lab: Lab, tmp_path: Path) -> None:
    panel = open_panel(lab, "reopened.ipynb", ECHO)
    panel.press("Try 3 rows")
    panel.wait_for("3/3 rows")
    kept = lab.notebook.locator(".hfnb-kept")
    assert not kept.first.is_visible()  # the panel shows it already
    panel.wait_for_end()
    lab.page.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    lab.page.wait_for_timeout(1000)
    lab.server.reset()
    lab.open("reopened.ipynb")
    kept = lab.notebook.locator(".hfnb-kept")
    kept.first.wait_for()
    expect(kept.first).to_contain_text("row <b>2</b>")
    lab.screenshot(tmp_path / "reopened.png")
    content = lab.notebook.locator(".jp-OutputArea-output.jupyter-widgets").first.evaluate(
        "node => getComputedStyle(node, '::after').content"
    )
    assert "run this cell again" in content


def test_the_panel_works_in_notebook_7(lab: Lab, tmp_path: Path) -> None:
    lab.server.write_notebook("seven.ipynb", ECHO[:1])
    lab.page.goto(f"{lab.server.url}/notebooks/seven.ipynb?token={lab.server.token}")
    lab.page.locator(".jp-Cell").first.wait_for(timeout=60_000)
    lab.page.get_by_text("Python 3 (ipykernel)").first.wait_for()
    lab.page.locator(".jp-Cell .cm-content").first.click()
    lab.page.keyboard.press("Shift+Enter")
    panel = lab.page.locator(".hfnb-panel")
    panel.wait_for(timeout=60_000)
    panel.get_by_role("button", name="Try 3 rows").click()
    panel.get_by_text("3/3 rows").wait_for()
    panel.locator("td").get_by_text("row <b>2</b>").first.wait_for()  # markup is text
    lab.screenshot(tmp_path / "notebook-7.png")
