"""The steps of loading a model, told to whoever listens: the panel shows them.

Without a listener a download shows its bar and an export prints its lines, as in any program.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

from hfnb.show import size

Listener = Callable[[str], Any]

_listener: ContextVar[Listener | None] = ContextVar("hfnb_steps", default=None)


@contextlib.contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """Have the steps told to a function, in lines of text, by what this thread does meanwhile.

    Example:
        >>> import hfnb
        >>> lines = []
        >>> with told_to(lines.append):
        ...     llm = hfnb.load("hfnb/numbers-fr")
        >>> lines[-1].startswith("reading the weights")
        True
    """
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def listener() -> Listener | None:
    """Return who listens; ``None`` if nobody does."""
    return _listener.get()


def tell(step: str) -> None:
    """Tell a step, if somebody listens."""
    if (function := _listener.get()) is not None:
        function(step)


def download_bar() -> dict[str, Any]:
    """Return the argument that makes huggingface_hub tell a download; none if nobody listens."""
    function = _listener.get()
    return {} if function is None else {"tqdm_class": _bar_for(function)}


def _bar_for(function: Listener) -> type:
    from tqdm.auto import tqdm

    class Told(tqdm):  # type: ignore[misc]
        """A bar that is told, and not drawn. Downloads run in threads of their own."""

        def __init__(self, *args: Any, **options: Any) -> None:
            options.pop("name", None)  # huggingface_hub's own, to switch bars off by
            super().__init__(*args, **{**options, "disable": False, "file": io.StringIO()})

        def display(self, *_args: Any, **_options: Any) -> bool:
            if self.unit == "B" and self.total:
                function(f"downloading: {size(int(self.n))} of {size(int(self.total))}")
            return True

    return Told
