"""The files of this repository as they are now, committed or not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def files() -> list[str]:
    """Return their names, without what git ignores; skip the test where this is no clone."""
    if not (ROOT / ".git").exists():
        pytest.skip("needs a clone of the repository: this is an archive of it")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).exists()]


def copy(folder: Path) -> None:
    """Copy them into a folder."""
    for name in files():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)
