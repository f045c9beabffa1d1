"""What every test stands on: no network, no telemetry, folders of its own, and tiny models."""

import gc
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

import hfnb
from tests.needs import cuda_problem, require
from tests.tiny_models import build_tiny_model

pytest_plugins = ["tests.engines.fixtures", "tests.hub_process", "tests.jupyter.fixtures"]

# Set here, while pytest starts: huggingface_hub and matplotlib read theirs when they are imported.
# Processes that tests start (kernels, Ray's workers, the JupyterLab server) inherit all of it.
SESSION = Path(tempfile.mkdtemp(prefix="hfnb-tests-"))


def _own_folders() -> dict[str, str]:
    home = SESSION / "home"
    # openvino_telemetry has no variable to switch it off, only this file: "0" is its opt-out.
    consent = home / "intel" / "openvino_telemetry"
    consent.parent.mkdir(parents=True)
    consent.write_text("0")
    folders = {
        "HOME": home,
        "XDG_CACHE_HOME": home / ".cache",
        "XDG_CONFIG_HOME": home / ".config",
        "XDG_DATA_HOME": home / ".local" / "share",
        "XDG_STATE_HOME": home / ".local" / "state",
        "HF_HOME": home / ".cache" / "huggingface",
        "IPYTHONDIR": home / ".ipython",
        "JUPYTER_CONFIG_DIR": home / ".jupyter",
        "JUPYTER_DATA_DIR": home / ".local" / "share" / "jupyter",
        "JUPYTER_RUNTIME_DIR": home / ".local" / "share" / "jupyter" / "runtime",
        "MPLCONFIGDIR": home / ".config" / "matplotlib",
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    return {name: str(folder) for name, folder in folders.items()}


# Playwright keeps the browsers that it downloads in the user's cache, which is about to move.
_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
os.environ.setdefault("PLAYWRIGHT_BROWSERS_PATH", str(_CACHE / "ms-playwright"))
os.environ.update(
    _own_folders(),
    HF_HUB_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    DO_NOT_TRACK="1",
    LANGSMITH_TRACING="false",
    RAY_USAGE_STATS_ENABLED="0",
    TOKENIZERS_PARALLELISM="false",  # else it warns in every process that forks after its first use
    MPLBACKEND="Agg",
)
for _name in ("HF_TOKEN", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TRANSFORMERS_CACHE"):
    os.environ.pop(_name, None)


# A shell starts what it runs in the background with SIGINT ignored, and children inherit that: the
# tests of interrupts, and the kernels they start, would then wait for ever.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure() -> None:
    shutil.rmtree(SESSION, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if marked and (problem := cuda_problem()):
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=problem))


def pytest_collection_finish() -> None:
    """Leave what is there now, tests and modules, out of Python's search for garbage.

    A model's memory is given back with such a search, which would go through all of it each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _own_journal(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Give each test a journal of its own, or it would find what another one has computed."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))


@pytest.fixture(scope="session")
def _kept_export(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of exports in which the packaged decoder is, in int8; made once a session."""
    require("openvino")
    kept = tmp_path_factory.mktemp("kept-export")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(kept))
        hfnb.export("hfnb/numbers-fr", weight_format="int8", progress=None)
    return kept


@pytest.fixture
def export_into(_kept_export: Path) -> Callable[[Path], None]:
    """`export_into(cache)` leaves in a cache what ``hfnb.export`` of the decoder in int8 would."""
    return lambda cache: shutil.copytree(_kept_export / "hfnb", cache / "hfnb", dirs_exist_ok=True)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """`tiny_model("llama")` is the folder of a tiny random model, made once a session.

    The names are those of `tests.tiny_models.ARCHITECTURES`. All tests share the folder: copy it
    to change something.
    """
    root = tmp_path_factory.mktemp("tiny-models")

    def get(name: str) -> Path:
        folder = root / name
        if not folder.exists():
            build_tiny_model(name, folder)
        return folder

    return get
