"""The wheel in an environment of its own, far from the repository: the demo and the tour run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tests.working_tree import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel, without extras, that runs notebooks."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    [wheel] = built.glob("*.whl")
    needs = [str(wheel), "ipykernel", "nbclient", "--constraint", str(ROOT / "constraints.txt")]
    subprocess.run([python, "-m", "pip", "install", "--quiet", *needs], check=True)
    return python


def _run(python: Path, folder: Path, *arguments: str) -> str:
    alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    done = subprocess.run(
        [python, *arguments],
        cwd=folder,
        env={**alone, "PATH": f"{python.parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_what_runs_is_the_wheel_and_nothing_is_missing(python: Path, tmp_path: Path) -> None:
    where = _run(python, tmp_path, "-c", "import hfnb; print(hfnb.__file__)").strip()
    assert Path(where).is_relative_to(python.parents[1])
    assert "No broken requirements" in _run(python, tmp_path, "-m", "pip", "check")


def test_the_demo_runs(python: Path, tmp_path: Path) -> None:
    shown = _run(python, tmp_path, "-m", "hfnb.demo", "20")
    assert "soixante-douze" in shown
    assert "20 ok" in shown


def test_the_tour_runs(python: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "notebooks" / "01-tour.ipynb", tmp_path)
    _run(
        python, tmp_path, "-m", "jupyter", "execute", "01-tour.ipynb", "--inplace", "--timeout=180"
    )
    executed = nbformat.read(tmp_path / "01-tour.ipynb", as_version=4)
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
    assert not [each for each in outputs if each.output_type == "error"]
    assert "quatre mille trois cent vingt et un" in str(outputs)
