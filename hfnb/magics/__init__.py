"""The IPython extension: ``%hfnb``, ``%%hfnb`` and their completions, put in and taken out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hfnb.magics.completion import Completion
from hfnb.magics.magic import HfnbMagics

_MAGIC = "hfnb"
_EVENT = "post_run_cell"


def load(shell: Any, panel: Callable[[Any], Any] | None = None) -> None:
    """Put the magics into an IPython shell; ``%load_ext hfnb`` does.

    Args:
        shell: The shell.
        panel: Makes what ``%hfnb`` shows in a notebook, of a table or ``None``.
    """
    unload(shell)
    magics = HfnbMagics(shell, panel)
    shell.register_magics(magics)
    shell.events.register(_EVENT, magics.shown.forget)
    shell.Completer.custom_matchers.append(Completion(magics).match)


def unload(shell: Any) -> None:
    """Take out everything that `load` has put in; ``%unload_ext hfnb`` does."""
    manager = shell.magics_manager
    magics = manager.registry.pop(HfnbMagics.__name__, None)
    if magics is None:
        return
    for kind in manager.magics.values():
        kind.pop(_MAGIC, None)
    magics.shown.forget()
    shell.events.unregister(_EVENT, magics.shown.forget)
    shell.configurables.remove(magics)
    completer = shell.Completer
    completer.custom_matchers = [
        each
        for each in completer.custom_matchers
        if not isinstance(getattr(each, "__self__", None), Completion)
    ]
