"""Print constraints.txt for the environment this runs in: `.venv/bin/python scripts/pins.py`.

It follows what `hfnb[all,dev]` requires through the installed packages, so that whatever else lies
in the environment stays out.
"""

import re
import tomllib
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"

# Debian 12's. Some packages want a later 3.11, and pip there could not install what we pin.
OLDEST_PYTHON = "3.11.2"

# Left free: torch's CUDA builds each want one exact triton, and its CPU builds none at all.
# pip and setuptools belong to the environment, not to us.
UNPINNED = {"triton", "pip", "setuptools", "wheel"}

HEADER = """\
# The versions that the tests run on: all that hfnb[all,dev] pulls in, on Linux and Python 3.11.
# Use it with pip's -c, as the Makefile does. Users may have newer ones.
#
# Two pins are there for a reason of their own:
#   optimum-intel==2.1.0  2.2.0 requires torchvision, which exists only as a CUDA build: it drags in
#                         a CUDA torch of several GB, and beside a CPU torch it breaks
#                         transformers.pipeline ("operator torchvision::nms does not exist").
#   torch==2.13.0         what the tests ran on beside it; written without +cpu or +cu..., so that
#                         it fits whichever build a machine has. binder/environment.yml has it, too.
#
# To renew: set those two in the command as you want them, then
#   rm -rf .venv && python3.11 -m venv .venv
#   .venv/bin/pip install torch==2.13.0 optimum-intel==2.1.0 -e '.[all,dev]'
#   .venv/bin/python scripts/pins.py > constraints.new && mv constraints.new constraints.txt
"""


def pins(names: list[str]) -> dict[str, str]:
    """Return the versions of the installed packages that the requirements in `names` lead to."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    todo = [Requirement(name) for name in names]
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            package = distribution(name)
            found[name] = re.sub(r"\+.*", "", package.version)
            python = package.metadata.get("Requires-Python") or ""
            if not SpecifierSet(python).contains(OLDEST_PYTHON):
                raise SystemExit(
                    f"{name} {found[name]} requires Python {python}, and users may have "
                    f"{OLDEST_PYTHON}: install an older {name} and run this again."
                )
            for line in package.requires or []:
                inner = Requirement(line)
                if inner.marker is None or inner.marker.evaluate({"extra": extra}):
                    todo.append(inner)
    return found


def own_requirements() -> list[str]:
    """Return the requirements of hfnb[all,dev], read from pyproject.toml."""
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for extra in extras for line in extra)]
    return [line for line in lines if not line.startswith("hfnb[")]


if __name__ == "__main__":
    print(HEADER, end="")
    for name, version in sorted(pins(own_requirements()).items()):
        if name not in UNPINNED:
            print(f"{name}=={version}")
