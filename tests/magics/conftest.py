"""A shell of IPython's with the extension loaded, as a notebook's cells would find it."""

import builtins
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import pandas as pd
import pytest
from IPython.core.completer import provisionalcompleter
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

import hfnb
from hfnb import session

_QUIET = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})


class Shell:
    """Runs cells; `said` has what the last one printed, results and errors too."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.ip: Any = InteractiveShell(config=deepcopy(_QUIET))
        self.said = ""
        self._capsys = capsys

    def __call__(self, cell: str) -> Any:
        """Run a cell, and return its value."""
        self._capsys.readouterr()
        done = self.ip.run_cell(cell, store_history=True)
        out, err = self._capsys.readouterr()
        self.said = out + err
        self.error = done.error_in_exec or done.error_before_exec
        return done.result

    def complete(self, text: str) -> list[str]:
        """Return what is offered at the end of a text."""
        with provisionalcompleter():
            return [each.text for each in self.ip.Completer.completions(text, len(text))]

    @property
    def names(self) -> dict[str, Any]:
        names: dict[str, Any] = self.ip.user_ns
        return names


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    """A shell in which df, echo (an engine), number (an int) and tones (labels) are known."""
    # doctest leaves one behind, and IPython then thinks that _ is somebody's gettext.
    vars(builtins).pop("_", None)
    found = Shell(capsys)
    found("%load_ext hfnb")
    found.names.update(
        df=pd.DataFrame({"i": [72, 7, 1984], "long name": ["a", "b", "c"]}),
        echo=hfnb.EchoEngine(fingerprint="echo"),
        number=3,
        tones=["good", "bad"],
    )
    yield found
    session.use(None)
    if session.loaded():
        hfnb.unload()
