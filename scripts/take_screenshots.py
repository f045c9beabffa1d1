"""Take the panel's screenshots in a real JupyterLab: ``python -m scripts.take_screenshots``.

It needs what the browser tests need (``make test`` installs it), and writes into docs/images, where
README.md has them from. Look at them before you commit them.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tests.jupyter.browser import find_browser
from tests.jupyter.fixtures import CHROMIUM_ARGS
from tests.jupyter.lab import Lab, LabServer, lab_server
from tests.jupyter.panel_page import PanelPage

ROOT = Path(__file__).parents[1]
CELL = """import hfnb, pandas as pd

df = pd.DataFrame({"i": [72, 7, 21, 80, 99, 200, 1984, 2026, 4321, 9999] + list(range(1000, 4990))})
df["to"] = "french"
hfnb.Panel(df, "What is the number {i} in {to}?", model="hfnb/numbers-fr", into="answer",
           max_new_tokens=32)"""
FAILS = CELL.replace("range(1000, 4990)", "range(5000, 8990)").replace(
    '"french"', '["french"] * 3997 + ["far too long " * 900] * 3'
)
"""Other numbers: the rows of `CELL` would come from the journal."""
COMPARES = """import hfnb, pandas as pd
from num2words import num2words

df = pd.DataFrame({"i": range(1000, 1400)})
df["french"] = [num2words(number, lang="fr") for number in df["i"]]
hfnb.Panel(df, "What is the number {i} in french?", model="hfnb/numbers-fr", max_new_tokens=32)"""
WIDTH, NARROW, HEIGHT = 1280, 560, 1790


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=ROOT / "docs" / "images")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as data, tempfile.TemporaryDirectory() as place:
        os.environ["XDG_DATA_HOME"] = (
            data  # a journal from an earlier time would leave nothing to do
        )
        with lab_server(Path(place)) as server, sync_playwright() as playwright:
            chromium = playwright.chromium.launch(
                executable_path=find_browser(), args=CHROMIUM_ARGS
            )
            page = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT})
            page.set_default_timeout(60_000)
            lab = Lab(page, server)
            of_a_run(lab, page, server, folder)
            of_failures(lab, server, folder)
            of_a_comparison(lab, server, folder)
            chromium.close()


def of_a_run(lab: Lab, page: Page, server: LabServer, folder: Path) -> None:
    """Take those of a run: under way, done in light and in dark, and where it is narrow."""
    panel = opened(lab, server, "panel.ipynb", CELL)
    panel.press("Run 4,000 rows")
    panel.wait_for("left ·")
    page.wait_for_timeout(2500)
    lab.screenshot(folder / "running.png")
    panel.wait_for("4,000/4,000 rows", timeout=300)
    panel.wait_for_end()
    for theme in ("Dark", "Light"):
        lab.set_theme(f"JupyterLab {theme}")
        lab.screenshot(folder / f"panel-{theme.lower()}.png", panel.root)
    panel.press("Chat and generation options")
    panel.press("Code for this run")
    panel.root.get_by_label("Look at row").select_option(index=2)
    panel.wait_for("Use as example")
    page.set_viewport_size({"width": NARROW, "height": 3400})
    page.wait_for_timeout(800)
    lab.screenshot(folder / "narrow.png", panel.root)
    page.set_viewport_size({"width": WIDTH, "height": HEIGHT})


def of_failures(lab: Lab, server: LabServer, folder: Path) -> None:
    """Take that of rows that failed."""
    panel = opened(lab, server, "failed.ipynb", FAILS)
    panel.press("Run 4,000 rows")
    panel.wait_for("3 failed", timeout=300)
    panel.wait_for_end()
    panel.press("3 failed")
    panel.wait_for("failed rows 1")
    lab.screenshot(folder / "failed.png", panel.root)


def of_a_comparison(lab: Lab, server: LabServer, folder: Path) -> None:
    """Take that of two backends side by side."""
    lab.open(server.write_notebook("compare.ipynb", [COMPARES]))
    lab.run_all()
    panel = PanelPage(lab)
    panel.wait_for("fits")
    panel.root.get_by_role("button", name="○ Compare").click()
    for choice in ("PyTorch", "OpenVINO"):
        panel.press(choice)
        panel.press("Add what is chosen above")
    panel.root.get_by_label("Column of right answers").select_option("french")
    panel.press("Compare 2 candidates")
    panel.wait_for("Use hfnb/numbers-fr · openvino", timeout=300)
    lab.page.wait_for_timeout(1000)
    lab.screenshot(folder / "compare.png", panel.root)


def opened(lab: Lab, server: LabServer, name: str, cell: str) -> PanelPage:
    """Open a notebook with a panel, and load its model."""
    lab.open(server.write_notebook(name, [cell]))
    lab.run_all()
    panel = PanelPage(lab)
    panel.wait_for("fits")
    panel.load()
    return panel


if __name__ == "__main__":
    main()
