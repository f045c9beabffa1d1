"""Without a browser: a notebook that is executed by a program shows a plain summary."""

from typing import Any

import nbformat.v4 as v4
import pytest

from tests.needs import require

CELLS = [
    "import hfnb, pandas as pd\n"
    "df = pd.DataFrame({'i': [72, 7]})\n"
    "panel = hfnb.Panel(df, 'What is the number {i} in french?', model='hfnb/numbers-fr')\n"
    "panel",
]


@pytest.fixture(scope="module")
def executed() -> Any:
    """Return a notebook with a panel, executed by nbclient."""
    require("jupyterlab")
    from nbclient import NotebookClient

    notebook = v4.new_notebook(cells=[v4.new_code_cell(each) for each in CELLS])
    NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    return notebook


def test_a_summary_stands_in_place_of_an_objects_repr(executed: Any) -> None:
    shown = executed.cells[0].outputs[0]["data"]
    assert shown["text/plain"].startswith("hfnb panel: hfnb/numbers-fr, pytorch.")
    assert "object at" not in shown["text/plain"]
    assert "application/vnd.jupyter.widget-view+json" in shown


def test_nothing_is_printed(executed: Any) -> None:
    kinds = [each["output_type"] for each in executed.cells[0].outputs]
    assert kinds == ["display_data", "display_data"]


def test_a_converted_notebook_has_the_summary(executed: Any) -> None:
    from nbconvert import MarkdownExporter

    body, _ = MarkdownExporter().from_notebook_node(executed)
    assert "hfnb panel: hfnb/numbers-fr" in body
