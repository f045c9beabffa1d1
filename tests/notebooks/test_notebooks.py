"""Each notebook runs from top to bottom in a real kernel, offline, and shows what is committed."""

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.needs import require

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
# What a notebook needs beside Jupyter, and those that export, compare and start a cluster: minutes.
NEEDS = {
    "02-langchain": ["openvino", "structured"],
    "03-openvino": ["openvino"],
    "05-compare": ["openvino"],
    "06-structured": ["structured"],
    "07-ray": ["openvino", "ray"],
}
SLOW = {"03-openvino", "05-compare", "07-ray"}
BINDER_BYTES = 2_000_000_000
# What differs between two runs or two machines: figures, their units, the dtype that was chosen.
_VARYING = re.compile(r"\S*\d\S*|\b(ms|s|min|h|B|kB|MB|GB|bfloat16|float32)\b|[·\s]+")


def _outputs(notebook: Any) -> list[tuple[Any, Any]]:
    return [(cell, output) for cell in notebook.cells for output in cell.get("outputs", [])]


def _text(output: Any) -> str:
    return str(output.get("text") or output.get("data", {}).get("text/plain", ""))


def _said(notebook: Any) -> list[tuple[list[str], str]]:
    """Return of each cell the kinds of its outputs, and their words that no run should change.

    A cell that is tagged "varies" shows the machine, or what was measured on it: its kinds alone.
    """
    said = []
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        kinds = sorted({kind for each in outputs for kind in each.get("data", {"text": 0})})
        words = _VARYING.sub(" ", " ".join(map(_text, outputs))).split()
        said.append((kinds, "" if "varies" in cell.metadata.get("tags", []) else " ".join(words)))
    return said


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(each, id=each.stem, marks=[pytest.mark.slow] if each.stem in SLOW else [])
        for each in NOTEBOOKS
    ],
)
def test_a_notebook_runs_in_binders_memory_and_says_what_is_committed(path: Path) -> None:
    for need in ("jupyterlab", *NEEDS.get(path.stem, [])):
        require(need)
    from scripts.execute_notebooks import execute  # it needs what was just asked for

    committed = nbformat.read(path, as_version=4)
    executed, measured = execute(path)

    assert _said(executed) == _said(committed)
    assert measured.peak_bytes > 50_000_000
    assert measured.peak_bytes < BINDER_BYTES


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_reads_well_where_nothing_runs(path: Path) -> None:
    """On a code host: no widget state, no errors, words for each picture, no one's own paths."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    outputs = [output for _, output in _outputs(notebook)]
    assert len(outputs) > 5, "committed without outputs"
    for output in outputs:
        assert output.output_type != "error"
        assert output.get("name") != "stderr", "a code host shows it in red, as if it were an error"
        data = output.get("data", {})
        assert not any("widget" in kind for kind in data)
        assert _text(output).strip()
        assert not re.search(r"/tmp/|/home/|/root/", str(output))
        if "image/png" in data:
            assert len(output.metadata["image/png"]["alt"]) > 20
            assert "text/html" not in data
    pictures = re.findall(r"!\[(.*?)\]\((.*?)\)", "\n".join(each.source for each in notebook.cells))
    for alt, file in pictures:
        assert len(alt) > 10
        assert (FOLDER / file).exists()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_says_what_it_is_and_where_a_larger_model_goes(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    words = [each.source for each in notebook.cells if each.cell_type == "markdown"]
    assert notebook.cells[0].source.startswith("# ")
    assert "larger model" in "\n".join(words)
    for target in re.findall(r"\]\((\d\d-[\w-]+\.ipynb)\)", "\n".join(words)):
        assert (FOLDER / target).exists(), target
