"""The wheel and the sdist: built as a release builds them, and looked into."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

from tests import working_tree
from tests.working_tree import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _wheel(built: Path) -> Path:
    [wheel] = built.glob("*.whl")
    return wheel


def _sdist(built: Path) -> Path:
    [sdist] = built.glob("*.tar.gz")
    return sdist


def test_both_have_the_projects_version(built: Path) -> None:
    version = PROJECT["version"]
    assert _wheel(built).name == f"hfnb-{version}-py3-none-any.whl"
    assert _sdist(built).name == f"hfnb-{version}.tar.gz"


def test_the_wheel_has_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(_wheel(built)) as archive:
        names = set(archive.namelist())
    info = f"hfnb-{PROJECT['version']}.dist-info"
    package = {name for name in working_tree.files() if name.startswith("hfnb/")}
    about = {"METADATA", "RECORD", "WHEEL", "licenses/LICENSE"}
    assert names == package | {f"{info}/{name}" for name in about}
    # What a package loses most easily: files that are not Python.
    for name in ("py.typed", "panel/panel.css", "demo/numbers-fr/model.safetensors"):
        assert f"hfnb/{name}" in names


def test_the_sdist_has_all_that_git_has(built: Path) -> None:
    with tarfile.open(_sdist(built)) as archive:
        names = {each.name.partition("/")[2] for each in archive.getmembers() if each.isfile()}
    assert names == {*working_tree.files(), "PKG-INFO"}


def test_their_contents_and_descriptions_pass_the_usual_checks(built: Path) -> None:
    for command in (
        ["twine", "check", "--strict", str(_wheel(built)), str(_sdist(built))],
        ["check_wheel_contents", str(_wheel(built))],
    ):
        done = subprocess.run(
            [sys.executable, "-m", *command], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
