"""Ask the Hub of `tests.hub_server` in a fresh process: huggingface_hub reads its address once."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hub_server import Hub

FIND = """
import sys
from hfnb import hub
from hfnb.errors import HfnbError
from hfnb.spec import ModelSpec

options = eval(sys.argv[2])
try:
    found = hub.find(ModelSpec(sys.argv[1], **options))
except HfnbError as error:
    print(type(error).__name__, error)
else:
    print("found", found.task, found.folder)
assert "torch" not in sys.modules
"""


def run_python(code: str, *arguments: str, **environment: str) -> str:
    """Run code in a fresh Python; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def online(tmp_path: Path) -> Callable[..., str]:
    """`online(hub, "org/tiny")` looks for a model in a fresh process with empty caches."""

    def ask(server: Hub, model: str, code: str = FIND, offline: str = "0", **options: Any) -> str:
        return run_python(
            code,
            model,
            repr(options),
            HF_ENDPOINT=server.url,
            HF_HUB_OFFLINE=offline,
            HF_HOME=str(tmp_path / "hf"),
            XDG_CACHE_HOME=str(tmp_path / "cache"),
            NO_PROXY="127.0.0.1",
        ).strip()

    return ask
