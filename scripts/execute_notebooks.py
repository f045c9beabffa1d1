"""Execute notebooks from top to bottom and save them with their outputs, as a code host shows them.

python scripts/execute_notebooks.py [notebooks/01-tour.ipynb ...]

Each runs in a fresh kernel, offline, in an empty folder, with an empty journal and no exports. What
is saved has no widget state, pictures as PNG with their words, and no paths of this machine.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import nbformat
import psutil
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
SECONDS = 600
"""The longest that a cell may take, on a busy machine."""
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclass
class Measured:
    """What an execution took."""

    seconds: float = 0.0
    peak_bytes: int = 0
    """The most memory of the kernel and its children together; what they share counts once."""


def execute(path: Path) -> tuple[Any, Measured]:
    """Execute a notebook; return it, and what it took."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as place:
        folders = {each: Path(place, each) for each in ("work", "cache", "data")}
        for folder in folders.values():
            folder.mkdir()
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            coalesce_streams=True,
            resources={"metadata": {"path": str(folders["work"])}},
        )
        with _measured(client) as measured:
            # nbclient's own start of a kernel takes the variables that it gets here.
            client.execute(env=_environment(folders))
        shown_as = {
            f"{folders['work']}{os.sep}": "",
            str(folders["cache"]): "~/.cache",
            str(folders["data"]): "~/.local/share",
        }
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)  # the times of each message: noise in a diff
            for output in cell.get("outputs", []):
                _tidy(output, shown_as)
    notebook.metadata.pop("widgets", None)
    return notebook, measured


def _environment(folders: Mapping[str, Path]) -> dict[str, str]:
    return {
        "MPLCONFIGDIR": mpl.get_cachedir(),  # else each kernel looks for fonts
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "XDG_CACHE_HOME": str(folders["cache"]),
        "XDG_DATA_HOME": str(folders["data"]),
    }


def _tidy(output: Any, shown_as: Mapping[str, str]) -> None:
    """Keep of an output what a page can show that has no kernel, and no path of this machine."""
    data = output.get("data", {})
    data.pop(WIDGET, None)  # without the widgets' state it would be an error on the page
    if "image/png" in data:
        data.pop("text/html", None)  # the same picture as SVG, which code hosts leave out
    for place in (output, data):
        for kind in ("text", "text/plain", "text/html", "text/markdown"):
            for path, shown in shown_as.items():
                if isinstance(place.get(kind), str):
                    place[kind] = place[kind].replace(path, shown)


@contextmanager
def _measured(client: NotebookClient) -> Iterator[Measured]:
    """Measure the time and the memory of a notebook's kernel."""
    measured, began, ended = Measured(), time.perf_counter(), threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):  # each look at a process reads its whole map of memory
            measured.peak_bytes = max(measured.peak_bytes, _memory(client))

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield measured
    finally:
        ended.set()
        thread.join()
        measured.seconds = time.perf_counter() - began


def _memory(client: NotebookClient) -> int:
    """Return the bytes that the kernel and its children take by now."""
    pid = getattr(getattr(client.km, "provisioner", None), "pid", None)
    if not pid:
        return 0
    total = 0
    try:
        kernel = psutil.Process(pid)
        every = [kernel, *kernel.children(recursive=True)]
    except psutil.Error:
        return 0
    for each in every:
        try:
            found = each.memory_full_info()
        except psutil.Error:  # it has ended meanwhile
            continue
        total += int(getattr(found, "pss", 0) or found.uss)
    return total


def main() -> None:
    for name in sys.argv[1:] or sorted(map(str, FOLDER.glob("*.ipynb"))):
        print(f"executing {name} ...", end=" ", flush=True)
        notebook, measured = execute(Path(name))
        nbformat.write(notebook, name)
        print(f"{measured.seconds:.0f} s, at most {measured.peak_bytes / 1e6:,.0f} MB", flush=True)


if __name__ == "__main__":
    main()
