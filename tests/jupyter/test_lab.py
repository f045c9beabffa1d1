"""The ground the browser tests stand on: a notebook opens, runs and shows its output."""

from pathlib import Path

import pytest

from tests.jupyter.lab import Lab

pytestmark = pytest.mark.browser

NOTEBOOK = [
    "from IPython.display import HTML, display\ndisplay(HTML('<b>42</b>'))",
    "print('ready')",
]


def test_a_notebook_runs_and_shows_its_output(lab: Lab) -> None:
    lab.open(lab.server.write_notebook("answer.ipynb", NOTEBOOK))
    lab.run_all()

    assert lab.notebook.locator(".jp-OutputArea b").inner_text() == "42"
    html, text = lab.outputs()
    assert html[0]["data"]["text/html"] == "<b>42</b>"
    assert text[0]["text"] == "ready\n"
    assert lab.problems == []


def test_screenshots_follow_the_theme(lab: Lab, tmp_path: Path) -> None:
    lab.open(lab.server.write_notebook("themes.ipynb", NOTEBOOK))
    lab.run_all()

    lab.set_theme("JupyterLab Light")
    light = lab.screenshot(tmp_path / "light.png")
    lab.set_theme("JupyterLab Dark")
    dark = lab.screenshot(tmp_path / "dark.png")

    assert _brightness(light) > 0.8
    assert _brightness(dark) < 0.3


def test_an_interrupt_reaches_a_running_cell(lab: Lab) -> None:
    cell = "import time\nprint('start' + 'ed')\ntime.sleep(600)"
    lab.open(lab.server.write_notebook("interrupt.ipynb", [cell]))
    lab.run_all(wait=False)
    lab.notebook.get_by_text("started").wait_for()

    lab.interrupt()
    lab.wait_idle(timeout=30)

    assert lab.outputs()[0][-1]["ename"] == "KeyboardInterrupt"


def _brightness(image: Path) -> float:
    from matplotlib.image import imread

    return float(imread(image)[..., :3].mean())
