"""The image that repo2docker would build, as folders: the same steps, from binder/'s own files.

What stands in for what, since neither Docker nor a conda channel can be taken for granted:

- for the container, a folder with the session's home and `/srv/conda/envs/notebook` in it, and
  processes that get the image's environment variables and none of this machine's;
- for repo2docker's conda environment, a virtual environment of this machine's Python with the same
  versions of Jupyter's packages, by pip;
- for conda-forge's `pytorch`, `torch` of the same version by pip: it must give a build for CPUs.

The order of the steps is asked of repo2docker itself; the user, the working folder, the variables
and the scripts are its own. What conda makes of environment.yml is not tried.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests import working_tree
from tests.binder import repo2docker

USER, UID = "jovyan", 1000

# The names of conda-forge's packages that are others with pip.
_PIP_NAMES = {"pytorch": "torch"}
_CONDA = re.compile(r"^(?P<name>[a-z0-9_.-]+)=(?P<version>[0-9.]+)(=(?P<build>\S+))?$")


@dataclass(frozen=True)
class Image:
    """An image in the making, and then made, in `folder`."""

    folder: Path

    @property
    def home(self) -> Path:
        """The session's home, which is the repository's folder, too."""
        return self.folder / "home" / USER

    @property
    def environment(self) -> Path:
        """Where conda's environment would be."""
        return self.folder / "srv" / "conda" / "envs" / "notebook"

    @property
    def start(self) -> Path:
        """The script that a session begins with."""
        return self.home / "binder" / "start"

    def variables(self) -> dict[str, str]:
        """Return the environment variables that the image sets."""
        conda = self.environment.parents[1]
        own = [
            self.home / ".local/bin",
            self.environment / "bin",
            conda / "bin",
            self.folder / "srv" / "npm" / "bin",
        ]
        path = [
            *map(str, own),
            "/usr/local/sbin",
            "/usr/local/bin",
            "/usr/sbin",
            "/usr/bin",
            "/bin",
        ]
        return {
            "CONDA_DEFAULT_ENV": str(self.environment),
            "CONDA_DIR": str(conda),
            "HOME": str(self.home),
            "KERNEL_PYTHON_PREFIX": str(self.environment),
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "NB_PYTHON_PREFIX": str(self.environment),
            "NB_UID": str(UID),
            "NB_USER": USER,
            "PATH": ":".join(path),
            "REPO_DIR": str(self.home),
            "SHELL": "/bin/bash",
            "USER": USER,
        }

    def run(self, *command: str) -> None:
        """Run a command of the build, as the session's user, in the repository's folder."""
        # How pip reaches an index is the machine's business, as it is in a build.
        pip = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
        subprocess.run(
            command, cwd=self.home, env={**pip, **self.variables()}, check=True, **as_user()
        )

    def size(self) -> int:
        """Return the bytes on disk of environment and home; Ubuntu and conda come on top."""
        return sum(
            each.lstat().st_blocks * 512
            for top in (self.environment, self.home)
            for each in top.rglob("*")
        )


def as_user() -> dict[str, object]:
    """Return what makes a process the session's user's: root alone may choose."""
    return {"user": UID, "group": UID, "extra_groups": []} if os.geteuid() == 0 else {}


def requirements(environment_yml: Path) -> list[str]:
    """Return what pip is to install in place of conda's packages; Python itself is given."""
    found = []
    for line in yaml.safe_load(environment_yml.read_text())["dependencies"]:
        match = _CONDA.match(line)
        if match is None:
            raise ValueError(
                f"{environment_yml}: {line!r} is not NAME=VERSION or NAME=VERSION=BUILD"
            )
        name = match["name"]
        if name == "python":
            here = f"{sys.version_info[0]}.{sys.version_info[1]}"
            if match["version"] != here:
                raise ValueError(
                    f"{environment_yml} wants Python {match['version']}, this is {here}"
                )
            continue
        found.append(f"{_PIP_NAMES.get(name, name)}=={match['version']}")
    return found


def build(image: Image) -> None:
    """Build an image, step after step of repo2docker's Dockerfile.

    Raises:
        RuntimeError: repo2docker would take other steps.
    """
    image.folder.mkdir(exist_ok=True)
    image.folder.chmod(0o755)  # the session's user goes through it
    plan = repo2docker.ask(image.folder / "repo2docker", working_tree.ROOT)
    if plan.steps() != repo2docker.STEPS:
        raise RuntimeError(f"repo2docker would take other steps:\n{plan.dockerfile}")
    image.home.mkdir(parents=True)
    image.environment.parent.mkdir(parents=True)
    _give([image.home, image.environment.parent])
    # The base environment, then environment.yml, before the repository is there.
    image.run(interpreter(), "-m", "venv", str(image.environment))
    for packages in (plan.base, requirements(working_tree.ROOT / "binder" / "environment.yml")):
        image.run("python", "-m", "pip", "install", "--quiet", "--no-cache-dir", *packages)
    working_tree.copy(image.home)
    _give(image.home.rglob("*"))
    # Scripts are made executable, whatever they were.
    for name in ("postBuild", "start"):
        script = image.home / "binder" / name
        script.chmod(script.stat().st_mode | 0o111)
    image.run("./binder/postBuild")


def _give(paths: Iterable[Path]) -> None:
    """Make the session's user the owner, where this is root."""
    for each in paths if os.geteuid() == 0 else ():
        os.chown(each, UID, UID)


def interpreter() -> str:
    """Return a Python of this version that the session's user may run: root's own may be hidden.

    Raises:
        FileNotFoundError: There is none.
    """
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    folders = [str(Path(sys.base_prefix) / "bin"), "/usr/local/bin", "/usr/bin"]
    for folder in folders:
        program = shutil.which(name, path=folder)
        if program is None:
            continue
        with contextlib.suppress(OSError, subprocess.CalledProcessError):
            command = [program, "-I", "-c", "import ensurepip, ssl, venv"]
            subprocess.run(command, check=True, capture_output=True, cwd="/", **as_user())
            return program
    raise FileNotFoundError(f"no {name} with venv that user {UID} may run in {folders}")
