"""binder/ holds together: its versions, extras, scripts and notebooks are the project's own."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from hfnb.hub import packaged
from tests.binder.image import interpreter, requirements
from tests.binder.session import TOUR
from tests.working_tree import ROOT

BINDER = ROOT / "binder"
SCRIPTS = ("postBuild", "start")


def _pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def test_pytorch_is_the_one_for_processors_in_the_version_of_the_constraints() -> None:
    """With another version pip would replace it, by a build for CUDA."""
    assert requirements(BINDER / "environment.yml") == [f"torch=={_pins()['torch']}"]
    text = (BINDER / "environment.yml").read_text(encoding="utf-8")
    assert re.search(r"^  - pytorch=[0-9.]+=cpu_generic\*$", text, re.MULTILINE)


def test_what_environment_yml_may_not_say_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "environment.yml"
    for line, words in (("pytorch>=2", "is not NAME=VERSION"), ("python=3.8", "wants Python 3.8")):
        file.write_text(f"dependencies: ['{line}']")
        with pytest.raises(ValueError, match=words):
            requirements(file)


def test_post_build_installs_extras_that_exist_with_the_constraints() -> None:
    text = (BINDER / "postBuild").read_text(encoding="utf-8")
    assert "--constraint constraints.txt" in text
    [extras] = re.findall(r"--editable '\.\[(.*?)\]'", text)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert "notebook" in _pins()


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_is_executable_and_bash_can_read_it(name: str) -> None:
    script = BINDER / name
    assert os.access(script, os.X_OK)
    assert script.read_bytes().startswith(b"#!/usr/bin/env bash\n")
    subprocess.run(["bash", "-n", script], check=True)


def test_binder_has_what_repo2docker_reads_and_nothing_beside_it_is_read() -> None:
    """With `binder/` there, repo2docker looks nowhere else; where both are, it gives up."""
    assert {each.name for each in BINDER.iterdir() if each.is_file()} == {
        "environment.yml", "overrides.json", "postBuild", "prepare.py", "start",
    }  # fmt: skip
    assert not (ROOT / ".binder").exists()
    json.loads((BINDER / "overrides.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("limit", "threads"), [("1.0", "1"), ("0.5", "1"), ("4", "4"), ("2.5", "2"), (None, "")]
)
def test_a_session_starts_with_as_many_threads_as_it_may_use(
    limit: str | None, threads: str
) -> None:
    environment = {"PATH": os.environ["PATH"]}
    if limit is not None:
        environment["CPU_LIMIT"] = limit
    done = subprocess.run(
        [BINDER / "start", "sh", "-c", 'echo "$OMP_NUM_THREADS|$1|$2"', "sh", "a b", "c"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"{threads}|a b|c\n"


def test_a_session_ends_as_its_command_does() -> None:
    done = subprocess.run([BINDER / "start", "sh", "-c", "exit 7"], check=False)
    assert done.returncode == 7


def test_what_is_exported_beforehand_is_packaged_and_the_tour_is_there() -> None:
    tree = ast.parse((BINDER / "prepare.py").read_text(encoding="utf-8"))
    [exports] = [
        ast.literal_eval(each.value)
        for each in tree.body
        if isinstance(each, ast.Assign) and ast.unparse(each.targets[0]) == "EXPORTS"
    ]
    assert {model for model, _ in exports} == set(packaged())
    assert (ROOT / TOUR).is_file()


def test_where_readers_are_sent_to_binder_they_land_on_a_notebook_that_exists() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for path in re.findall(r"urlpath=([^)\s\"&]+)", page.read_text(encoding="utf-8")):
            opened = path.replace("%2F", "/").removeprefix("lab/tree/")
            assert (ROOT / opened).is_file(), f"{page}: {path}"


def test_a_rehearsal_starts_from_a_python_that_anybody_may_run() -> None:
    assert Path(interpreter()).name.startswith("python3.")
