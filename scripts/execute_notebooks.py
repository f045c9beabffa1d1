"""Execute notebooks from top to bottom and save them with their outputs, without widget state.

python scripts/execute_notebooks.py [notebooks/01-tour.ipynb ...]
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "notebooks"
SECONDS = 180


def execute(path: Path) -> Any:
    """Execute a notebook in a fresh kernel, offline, with an empty journal; return it."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    )
    with tempfile.TemporaryDirectory() as data:
        # nbclient's own start of a kernel takes the variables that it gets here.
        client.execute(env={"HF_HUB_OFFLINE": "1", **os.environ, "XDG_DATA_HOME": data})
    notebook.metadata.pop("widgets", None)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)  # the times of each message: noise in a diff
    return notebook


def main() -> None:
    for name in sys.argv[1:] or sorted(map(str, FOLDER.glob("*.ipynb"))):
        print(f"executing {name} ...", flush=True)
        notebook = execute(Path(name))
        nbformat.write(notebook, name)


if __name__ == "__main__":
    main()
