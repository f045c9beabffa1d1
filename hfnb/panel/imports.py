"""The slow imports, made in the background once and before anybody waits for them.

Two threads that import packages with circular imports at the same time can fail: each may see a
module that the other has not finished. So the imports wait for the cell that made the panel to end,
a cell that may import something waits for them, and so do the panel's own workers.
"""

from __future__ import annotations

import contextlib
import importlib
import re
import threading

_FIRST = (
    *("huggingface_hub", "huggingface_hub.hf_api", "huggingface_hub.utils"),
    *("huggingface_hub.errors", "huggingface_hub.constants", "huggingface_hub.file_download"),
    *("httpx", "hfnb.catalogue.listing", "hfnb.estimating", "hfnb.frame.run"),
)
"""What looking for models needs: a second."""
_THEN = ("hfnb.engines.torch_engine", "hfnb.engines.torch_model", "hfnb.llm", "hfnb.loading")
"""What loading a model needs: PyTorch, transformers and LangChain, 5 to 8 seconds."""
_MAY_IMPORT = re.compile(r"import|hfnb|torch|transformers|langchain|huggingface")
_LOOK_S = 0.1

_begun = threading.Lock()
_first, _all = threading.Event(), threading.Event()


def begin() -> None:
    """Import in the background; does nothing where that has begun."""
    if _begun.acquire(blocking=False):
        threading.Thread(target=_import, name="hfnb-panel-imports", daemon=True).start()


def wait_for_first() -> None:
    """Wait until models can be looked for."""
    begin()
    _first.wait()


def wait_for_all() -> None:
    """Wait until a model can be loaded."""
    begin()
    _all.wait()


def before_cell(cell: str) -> None:
    """Wait for the imports if a cell may import something itself."""
    if _begun.locked() and _MAY_IMPORT.search(cell):
        while not _all.wait(_LOOK_S):  # in short waits, which an interrupt can end
            pass


def _import() -> None:
    for names, done in ((_FIRST, _first), (_THEN, _all)):
        with contextlib.suppress(Exception):  # what can't be imported says so where it is needed
            for name in names:
                importlib.import_module(name)
        done.set()
