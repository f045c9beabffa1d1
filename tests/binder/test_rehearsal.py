"""Binder, rehearsed: its image built from binder/'s files, and every notebook run in a session."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.binder.image import Image, build
from tests.binder.rehearse import problem_here, rehearse, report
from tests.binder.session import LIMIT
from tests.working_tree import ROOT

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(problem_here() is not None, reason=problem_here() or ""),
]


def test_every_notebook_runs_offline_in_a_session_of_two_gigabytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Not pytest's own folder, which is closed to the session's user.
    image = Image(Path(tempfile.mkdtemp(prefix="binder-")))
    try:
        build(image)
        measured = rehearse(image)
        with capsys.disabled():
            print("\n" + report(image, measured))
    finally:
        shutil.rmtree(image.folder)
    notebooks = [each for each in measured if each["what"].endswith(".ipynb")]
    assert len(notebooks) == len(list((ROOT / "notebooks").glob("*.ipynb")))
    assert [each["problem"] for each in notebooks if each["problem"]] == []
    assert all(0 < each["peak"] < LIMIT for each in measured)
