"""Take the panel's screenshots in a real JupyterLab: ``python scripts/take_screenshots.py FOLDER``.

It needs what the browser tests need (``make test`` installs it). README.md shows the best of them.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from playwright.sync_api import sync_playwright

from tests.jupyter.browser import find_browser
from tests.jupyter.fixtures import CHROMIUM_ARGS
from tests.jupyter.lab import Lab, lab_server
from tests.jupyter.panel_page import PanelPage

CELLS = [
    """import hfnb, pandas as pd
df = pd.DataFrame({"i": [72, 7, 21, 80, 99, 200, 1984, 2026, 4321, 9999] + list(range(3000, 4990))})
df["to"] = "french"
panel = hfnb.Panel(df, "What is the number {i} in {to}?", model="hfnb/numbers-fr", into="answer",
                   max_new_tokens=32)
panel"""
]
FAILS = [CELLS[0].replace('"french"', '["french"] * 1997 + ["far too long " * 900] * 3')]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        lab_server(Path(place)) as server,
        sync_playwright() as playwright,
    ):
        chromium = playwright.chromium.launch(executable_path=find_browser(), args=CHROMIUM_ARGS)
        page = chromium.new_page(viewport={"width": 1280, "height": 1500})
        page.set_default_timeout(60_000)
        lab = Lab(page, server)
        lab.open(server.write_notebook("panel.ipynb", CELLS))
        lab.run_all()
        panel = PanelPage(lab)
        panel.wait_for("fits")
        lab.screenshot(folder / "begin.png")
        panel.load()
        panel.press("Run 2,000 rows")
        panel.wait_for("left ·", timeout=60)
        lab.screenshot(folder / "running.png")
        panel.wait_for_end()
        for theme in ("Light", "Dark"):
            lab.set_theme(f"JupyterLab {theme}")
            panel.root.screenshot(path=folder / f"panel-{theme.lower()}.png")
        panel.press("Code for this run")
        panel.root.get_by_label("Look at row").select_option(index=2)
        panel.press("Chat and generation options")
        panel.wait_for("Use as example")
        page.set_viewport_size({"width": 1280, "height": 2300})
        panel.root.screenshot(path=folder / "all-dark.png")
        lab.set_theme("JupyterLab Light")
        panel.root.screenshot(path=folder / "all-light.png")
        for width in (620, 1900):
            page.set_viewport_size({"width": width, "height": 2600})
            page.wait_for_timeout(800)
            panel.root.screenshot(path=folder / f"width-{width}.png")
        page.set_viewport_size({"width": 1280, "height": 1500})
        lab.open(server.write_notebook("failed.ipynb", FAILS))
        lab.run_all()
        panel.load()
        panel.press("Run 2,000 rows")
        panel.wait_for_end()
        panel.press("3 failed")
        panel.wait_for("failed rows 1")
        panel.root.screenshot(path=folder / "failed.png")
        chromium.close()


if __name__ == "__main__":
    main()
