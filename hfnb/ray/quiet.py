"""Ray's own words, which would stand between a run's progress and its result."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Have Ray Data say nothing but errors for the time being; its log files keep all of it."""
    import ray

    assert ray.data is not None  # imported, it sets its loggers up
    logger = logging.getLogger("ray.data")
    handlers = [each for each in logger.handlers if not isinstance(each, logging.FileHandler)]
    shown = [(each, each.level) for each in handlers]
    context = ray.data.DataContext.get_current()
    bars, context.enable_progress_bars = context.enable_progress_bars, False
    for each in handlers:
        each.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            # A run whose rows are few has fewer blocks than workers.
            warnings.filterwarnings("ignore", "The minimum number of concurrent actors")
            yield
    finally:
        context.enable_progress_bars = bars
        for each, level in shown:
            each.setLevel(level)


@contextlib.contextmanager
def core_quiet() -> Iterator[None]:
    """Start Ray's core so that it says nothing but what is fatal.

    It tells each worker's start as an error; told not to, it writes that it was, past Python's
    ``sys.stderr``: so that line is dropped, too. What goes wrong is raised by Python all the same.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    kept = os.dup(2)
    nothing = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
