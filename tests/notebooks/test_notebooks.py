"""Each notebook runs from top to bottom in a real kernel, offline, and shows what is committed."""

import importlib.util
import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.needs import require

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# What differs between two runs or two machines: figures, their units, the dtype that was chosen.
_VARYING = re.compile(r"\S*\d\S*|\b(ms|s|min|h|B|kB|MB|GB|bfloat16|float32)\b|[·\s]+")


def _said(notebook: Any) -> list[str]:
    """Return the words of each cell's outputs, without what differs between runs."""
    said = []
    for cell in notebook.cells:
        texts = []
        for output in cell.get("outputs", []):
            texts.append(output.get("text") or output.get("data", {}).get("text/plain", ""))
        said.append(" ".join(_VARYING.sub(" ", " ".join(texts)).split()))
    return said


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_says_what_is_committed(path: Path) -> None:
    require("jupyterlab")
    spec = importlib.util.spec_from_file_location(
        "execute_notebooks", FOLDER.parent / "scripts" / "execute_notebooks.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    committed = nbformat.read(path, as_version=4)
    executed = module.execute(path)

    assert any(_said(committed)), "committed without outputs"
    assert _said(executed) == _said(committed)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_and_has_no_widget_state(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    errors = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert errors == []
