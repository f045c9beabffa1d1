"""What can be picked, what is here and what fits, in JupyterLab as a person sees it."""

from pathlib import Path

import pytest

from tests.jupyter.lab import Lab

pytestmark = pytest.mark.browser

CELLS = [
    "import hfnb\nllm = hfnb.load('hfnb/numbers-fr')",
    "hfnb.models(source='packaged')",
    "hfnb.devices()",
    "hfnb.estimate('hfnb/tiny-t5')",
    "hfnb.loaded()",
    "hfnb.unload()",
]


def test_models_devices_an_estimate_and_what_is_in_memory_are_tables(
    lab: Lab, tmp_path: Path
) -> None:
    lab.open(lab.server.write_notebook("machine.ipynb", CELLS))
    lab.run_all()
    for name, told in (
        ("models", "hfnb/tiny-t5"),
        ("devices", "cores"),
        ("estimate", "keys and values"),
        ("loaded", "hfnb/numbers-fr"),
    ):
        shown = lab.notebook.locator(f".hfnb-{name}")
        assert shown.count() == 1
        assert told in shown.inner_text()
    assert lab.problems == []
    for theme in ("Light", "Dark"):
        lab.set_theme(f"JupyterLab {theme}")
        lab.screenshot(tmp_path / f"machine-{theme.lower()}.png")
