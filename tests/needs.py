"""What a test needs from the machine, and what happens where it is missing.

Call `require("openvino")` at the top of a test, a fixture or a module. Where the thing is missing
the test is skipped on a developer's machine; with `CI=true` it fails, so that a green run in CI has
run everything. CUDA is the exception: a test marked `cuda` is skipped without a CUDA device in CI
too, since most machines have none.
"""

import importlib.util
import os
from functools import cache
from typing import NoReturn

import pytest

from tests.jupyter.browser import find_browser

# What can be required, and the modules that it consists of.
MODULES = {
    "openvino": ("openvino", "openvino_genai", "openvino_tokenizers", "optimum.intel", "nncf"),
    "quant": ("bitsandbytes",),
    "ray": ("ray", "pyarrow"),
    "structured": ("xgrammar", "jsonschema"),
    "jupyterlab": ("jupyterlab", "ipykernel"),
    "langchain_huggingface": ("langchain_huggingface",),
    "num2words": ("num2words",),
}


def in_ci() -> bool:
    """Say whether this run must not skip: the environment has CI=true."""
    return os.environ.get("CI", "").lower() in ("1", "true")


def require(what: str) -> None:
    """Skip the calling test, or its module, if `what` is missing here; fail it where CI=true.

    `what` is "browser" or one of `MODULES`.
    """
    problem = _browser_problem() if what == "browser" else _module_problem(what)
    if problem is None:
        return
    if in_ci():
        pytest.fail(f"{problem} (CI=true: this may not be skipped)", pytrace=False)
    _skip(problem)


@cache
def cuda_problem() -> str | None:
    """Return why no test can run on CUDA here, or None if it can."""
    import torch  # seconds to import, and most runs don't ask

    if torch.cuda.is_available():
        return None
    build = torch.version.cuda or "none"
    return f"needs CUDA: torch {torch.__version__} (CUDA build: {build}) sees no CUDA device"


def _module_problem(what: str) -> str | None:
    for module in MODULES[what]:
        try:
            missing = importlib.util.find_spec(module) is None
        except ModuleNotFoundError:
            missing = True
        if missing:
            return f"needs {what}: the module {module} is not installed"
    return None


def _browser_problem() -> str | None:
    if find_browser() is not None:
        return _module_problem("jupyterlab")
    return "needs a browser: no Chromium or Chrome found; run scripts/install_browser.sh"


def _skip(reason: str) -> NoReturn:
    pytest.skip(reason, allow_module_level=True)
