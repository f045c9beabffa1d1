"""Binder, rehearsed: its image built from binder/'s files, and every notebook run in a session."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import nbformat
import nbformat.v4 as v4
import pytest

from tests.binder.image import Image, build
from tests.binder.rehearse import problem_here, rehearse, report
from tests.binder.session import LIMIT
from tests.working_tree import ROOT

# What a rehearsal must notice: that a session is not cut off, not limited, or another user's.
_CONTROLS = {
    "notebooks/98-alone.ipynb": """
import os, pathlib, socket
assert [name for _, name in socket.if_nameindex()] == ["lo"], socket.if_nameindex()
assert os.getuid() == 1000
assert pathlib.Path.cwd() == pathlib.Path.home() / "notebooks"
""",
    "notebooks/99-greedy.ipynb": f"b'x' * {LIMIT}",
}


def _add_controls(image: Image) -> None:
    for name, source in _CONTROLS.items():
        nbformat.write(v4.new_notebook(cells=[v4.new_code_cell(source)]), image.home / name)


@pytest.mark.slow
def test_every_notebook_runs_offline_in_a_session_of_two_gigabytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    if (why := problem_here()) is not None:
        pytest.skip(why)
    # Not pytest's own folder, which is closed to the session's user.
    image = Image(Path(tempfile.mkdtemp(prefix="binder-")))
    try:
        build(image)
        _add_controls(image)
        size = image.size()
        measured = rehearse(image)
        with capsys.disabled():
            print("\n" + report(size, measured))
    finally:
        shutil.rmtree(image.folder)
    notebooks = {each["what"]: each for each in measured[1:]}
    greedy = notebooks.pop("notebooks/99-greedy.ipynb")
    assert "the kernel died" in greedy["problem"]
    assert f"killed at {LIMIT} bytes" in greedy["problem"]

    here = {f"notebooks/{each.name}" for each in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks.keys() == {*here, "notebooks/98-alone.ipynb"}
    assert {name: each["problem"] for name, each in notebooks.items() if each["problem"]} == {}
    assert all(0 < each["peak"] < LIMIT for each in notebooks.values())
