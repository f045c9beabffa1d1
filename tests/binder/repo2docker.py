"""What repo2docker itself makes of this repository: it is installed, and asked for its Dockerfile.

That takes no Docker. `image` takes the same steps, and this sees to it that they are the same.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

VERSION = "2026.4.0"
# Of the packages that it puts into every image, those that pip has, too, by their names there.
_BASE = {
    "ipykernel": "ipykernel",
    "ipywidgets": "ipywidgets",
    "jupyter_client": "jupyter-client",
    "jupyter-offlinenotebook": "jupyter-offlinenotebook",
    "jupyter-resource-usage": "jupyter-resource-usage",
    "jupyter_server": "jupyter-server",
    "jupyterhub-singleuser": "jupyterhub",
    "jupyterlab": "jupyterlab",
    "notebook": "notebook",
    "traitlets": "traitlets",
}
_ASK = """
import json, pathlib
from repo2docker.buildpacks import conda
pack = conda.CondaBuildPack("ubuntu:24.04")
pack.platform = "linux/amd64"
dockerfile = pack.render({"NB_UID": "1000"}) if pack.detect() else ""
[lock] = [name for name in pack.get_build_script_files() if name.endswith(".lock")]
lock = pathlib.Path(conda.HERE).parent / lock
print(json.dumps({"dockerfile": dockerfile, "lock": lock.read_text()}))
"""
# What the Dockerfile does with binder/, in this order, and as whom.
STEPS = [
    ("${NB_USER}", 'env update -p ${NB_PYTHON_PREFIX} --file "binder/environment.yml"'),
    ("root", "COPY --chown=1000:1000 src/ ${REPO_DIR}/"),
    ("${NB_USER}", "RUN chmod +x binder/postBuild"),
    ("${NB_USER}", "RUN ./binder/postBuild"),
    ("${NB_USER}", 'RUN chmod +x "${REPO_DIR}/binder/start"'),
    ("${NB_USER}", 'ENV R2D_ENTRYPOINT="${REPO_DIR}/binder/start"'),
]


@dataclass(frozen=True)
class Plan:
    """What repo2docker would do."""

    dockerfile: str
    base: list[str]
    """The packages of every image, as pip's requirements."""

    def steps(self) -> list[tuple[str, str]]:
        """Return the lines that are in `STEPS`, with the user that each one runs as."""
        found, user = [], "root"
        for line in self.dockerfile.splitlines():
            if line.startswith("USER "):
                user = line.removeprefix("USER ")
            found += [
                (user, step) for _, step in STEPS if line.endswith(step) or f"{step} " in line
            ]
        return found


def ask(folder: Path, repository: Path) -> Plan:
    """Install repo2docker into a folder and ask it what it would make of a repository."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    wanted = f"jupyter-repo2docker=={VERSION}"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wanted], check=True)
    done = subprocess.run(
        [python, "-I", "-c", _ASK], cwd=repository, check=True, stdout=subprocess.PIPE, text=True
    )
    answer = json.loads(done.stdout)
    locked = dict(re.findall(r"/([a-z_-]+)-(\d[0-9.]*)-[^/]*\.conda", answer["lock"]))
    base = [f"{name}=={locked[conda]}" for conda, name in _BASE.items()]
    return Plan(answer["dockerfile"], base)
