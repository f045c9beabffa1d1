"""Do something once a module has been imported, by whomever and whenever.

`import hfnb` is not to import pandas, and pandas is often imported after it. pandas has no other
way to say that a frame gets an accessor than to be told so once it is there: hence this hook, which
waits for one import, and takes itself away when that is done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def when_imported(name: str, then: Callable[[], Any]) -> None:
    """Call a function now if a module is there already, else right after its first import.

    Args:
        name: The module's name, a package at the top.
        then: What to call. It must not raise: the import would seem to have failed.
    """
    if sys.modules.get(name) is not None:
        then()
    else:
        sys.meta_path.insert(0, _Hook(name, then))


class _Hook:
    """A finder that finds what the others find, and calls a function after the module has run."""

    def __init__(self, name: str, then: Callable[[], Any]) -> None:
        self._name = name
        self._then = then

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Return the spec that the other finders give, for the one module that is waited for."""
        if name != self._name:
            return None
        # Those before it were asked already; two hooks that ask each other would never end.
        behind = sys.meta_path[sys.meta_path.index(self) + 1 :] if self in sys.meta_path else []
        for finder in behind:
            if (spec := finder.find_spec(name, path, target)) is not None:
                self._follow(spec.loader)
                return spec
        return None

    def _follow(self, loader: Any) -> None:
        """Have a loader tell when it has run the module. To look for a module does not run it."""
        if not hasattr(loader, "exec_module"):
            return
        run = loader.exec_module

        def run_and_tell(module: ModuleType) -> None:
            loader.exec_module = run
            run(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
                self._then()

        loader.exec_module = run_and_tell
