"""Work that is done beside a wait that leaves Python free.

While OpenVINO compiles a model, Python has nothing to do for most of a second; in a fresh process
`hfnb.load` imports LangChain in that time. Whoever waits says where (`beside`), whoever has the
work offers it (`offer`): an engine need not know what a LangChain model is.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

_offered: ContextVar[Callable[[], Any] | None] = ContextVar("hfnb_meanwhile", default=None)


@contextlib.contextmanager
def offer(work: Callable[[], Any]) -> Iterator[None]:
    """Offer work to the waits in the body. It may not be done: do it again where it is needed.

    Args:
        work: What can be done twice, such as an import. What it raises is dropped.

    Example:
        >>> import importlib
        >>> with offer(lambda: importlib.import_module("decimal")), beside():
        ...     pass  # something slow that needs no Python
        >>> import sys
        >>> "decimal" in sys.modules
        True
    """
    token = _offered.set(work)
    try:
        yield
    finally:
        _offered.reset(token)


@contextlib.contextmanager
def beside() -> Iterator[None]:
    """Do what is offered on a thread while the body waits, and end when both have ended.

    The body must import nothing: two threads that import at once can see half of a module.
    """
    work = _offered.get()
    if work is None:
        yield
        return
    thread = threading.Thread(target=_quietly, args=(work,), name="hfnb-meanwhile", daemon=True)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _quietly(work: Callable[[], Any]) -> None:
    with contextlib.suppress(Exception):  # it is done again where it is needed, and fails there
        work()
