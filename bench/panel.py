"""The panel in a real JupyterLab and Chromium: until it is there, until a model is, many rows."""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import sync_playwright

from tests.jupyter.browser import find_browser
from tests.jupyter.fixtures import CHROMIUM_ARGS
from tests.jupyter.lab import SELECT_CELL, Lab, LabServer, lab_server
from tests.jupyter.panel_page import PanelPage

TITLE = "The panel in JupyterLab"
ROUNDS = 5
ROWS = 10_000
FRAME = "import pandas as pd\ndf = pd.DataFrame({'i': range(%d)})"
NUMBERS = [
    FRAME % 50,
    "import hfnb\npanel = hfnb.Panel(df, 'What is the number {i} in french?',\n"
    "                   model='hfnb/numbers-fr')\npanel",
]
ECHO = [
    FRAME % ROWS,
    "import hfnb, json\nllm = hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine())\n"
    "panel = hfnb.Panel(df, 'row {i}', model=llm)\npanel",
    "walls = [hfnb.run(df, 'row {i}', llm, progress=False).stats.wall_s for _ in range(3)]\n"
    "print(json.dumps(walls))",
    "print(panel.result.stats.wall_s)",
]


def run() -> str:
    """Return the section."""
    with (
        tempfile.TemporaryDirectory() as place,
        lab_server(Path(place)) as server,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=find_browser(), args=CHROMIUM_ARGS)
        page = chromium.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(60_000)
        lab = Lab(page, server)
        rounds = [_begin(lab, server, at) for at in range(ROUNDS)]
        rows = _many_rows(lab, server)
        chromium.close()
    paint, ready = ([each[at] for each in rounds] for at in (0, 1))
    return "\n".join(
        [
            f"A new kernel each of {ROUNDS} times; pandas is imported before, hfnb in the panel's "
            "own cell. Times are from the press of a key or button to what a person sees.",
            "",
            "| | median, s | fastest-slowest, s | target, s |",
            "| --- | --- | --- | --- |",
            f"| the cell is run, until the panel is there | {_spread(paint)} | 1 |",
            "| Load is pressed, the imports behind the panel being done, until the packaged model "
            f"is loaded | {_spread(ready)} | 2 |",
            "",
            f"{ROWS:,} rows of the echo engine, which costs nothing: `hfnb.run` without a display "
            f"{rows['plain']:.2f} s (median of 3), from the panel, which shows them meanwhile, "
            f"{rows['panel']:.2f} s. Turning a page of the result takes {rows['turn']:.2f} s.",
        ]
    )


def _begin(lab: Lab, server: LabServer, at: int) -> tuple[float, float]:
    server.reset()
    lab.open(server.write_notebook(f"begin{at}.ipynb", NUMBERS))
    lab.run_cell(0)
    lab.page.evaluate(SELECT_CELL, 1)
    began = time.perf_counter()
    lab.page.evaluate("window.jupyterapp.commands.execute('notebook:run-cell').then(() => null)")
    panel = PanelPage(lab)
    panel.button("Load").wait_for()
    paint = time.perf_counter() - began
    panel.wait_for("fits")
    lab.page.wait_for_timeout(12_000)  # the imports, which nobody waits for
    began = time.perf_counter()
    panel.button("Load").click()
    panel.wait_for("Loaded:")
    return paint, time.perf_counter() - began


def _many_rows(lab: Lab, server: LabServer) -> dict[str, float]:
    server.reset()
    lab.open(server.write_notebook("rows.ipynb", ECHO))
    lab.run_cell(0)
    lab.run_cell(1)
    panel = PanelPage(lab)
    panel.press(f"Run {ROWS:,} rows")
    panel.wait_for(f"{ROWS:,}/{ROWS:,} rows")
    panel.wait_for_end()
    lab.run_cell(2)
    lab.run_cell(3)
    outputs: list[Any] = lab.outputs()
    began = time.perf_counter()
    panel.press("Next")
    panel.wait_for("11\N{EN DASH}20 of")
    return {
        "plain": statistics.median(json.loads(outputs[2][0]["text"])),
        "panel": float(outputs[3][0]["text"]),
        "turn": time.perf_counter() - began,
    }


def _spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} | {min(values):.2f}-{max(values):.2f}"
