"""The magic itself: ``%hfnb`` and ``%%hfnb``, their settings, and how errors look."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_cell_magic, magics_class
from traitlets import Float, Int, Unicode

from hfnb.errors import HfnbError
from hfnb.magics.arguments import in_options
from hfnb.magics.cell import read_cell, run_cell
from hfnb.magics.comparing import compare_cell, is_compare
from hfnb.magics.line import run_line
from hfnb.magics.model import Models
from hfnb.magics.shown import Shown
from hfnb.magics.words import Word, split


@magics_class
class HfnbMagics(Magics):
    """The magics of hfnb, and their settings: ``%config HfnbMagics.max_new_tokens = 64``."""

    model = Unicode("", help="The model to load where none is given or in use.").tag(config=True)
    into = Unicode("output", help="The column of the answers.").tag(config=True)
    max_new_tokens = Int(
        None, min=1, allow_none=True, help="The most tokens of an answer; None is the model's own."
    ).tag(config=True)
    temperature = Float(
        None, min=0, allow_none=True, help="0 takes the likeliest token; above 0 samples."
    ).tag(config=True)
    batch_size = Int(
        None, min=1, allow_none=True, help="The most rows computed together; None finds out."
    ).tag(config=True)
    system = Unicode(None, allow_none=True, help="A system message.").tag(config=True)

    def __init__(self, shell: Any, panel: Callable[[Any], Any] | None = None) -> None:
        super().__init__(shell=shell, parent=shell)
        self.panel = panel
        """Makes what ``%hfnb`` shows in a notebook."""
        self.models = Models()
        self.shown = Shown(shell)

    @property
    def names(self) -> dict[str, Any]:
        """The user's variables."""
        shell: Any = self.shell  # IPython's types let it be None
        names: dict[str, Any] = shell.user_ns
        return names

    def help(self) -> str:
        """Return the short help."""
        return inspect.getdoc(HfnbMagics.hfnb) or ""

    @line_cell_magic
    def hfnb(self, line: str, cell: str | None = None) -> Any:
        r"""Run a prompt for every row of a table, with a local model.

        %hfnb load hfnb/numbers-fr         load a model; it is kept for the cells that follow
        %hfnb, or %hfnb panel df           the panel; in a terminal help, and what is loaded
        %hfnb models qwen                  models with that in their names, here and on the Hub
        %hfnb devices                      what this machine can run models on
        %hfnb status | last | journal      what is loaded; the last result; finished rows on disk
        %hfnb unload                       give the memory back
        %hfnb help options                 every option of the cell

        %%hfnb df --into answer --stop "\n"
        What is the number {i} in french?

        {i} is a column of df. The cell shows the answers with their latency, and returns a new
        table: it is in _, or in a variable with -o NAME. df stays as it is. Often used:

        --model MODEL            load another model first, or use one that a variable holds
        --limit N, --sample N    only the first rows, or some at random
        --var tone               a Python variable for {tone} in the prompt
        --schema "tone: good|bad, stars: int"    typed columns; or a variable's schema
        --max-new-tokens N       and all other generation options of transformers
        %%hfnb compare df MODEL MODEL,...    the prompt through several models, side by side
        """
        with usage_errors():
            if cell is None:
                return run_line(self, line)
            if is_compare(words := split(line), self.names):
                return self._compare(words[1:], cell)
            return self._run(line, cell)

    def _compare(self, words: Sequence[Word], body: str) -> Any:
        try:
            return compare_cell(words, body, self.names)
        except KeyboardInterrupt as interrupt:
            _say_what_is_compared(interrupt)
            raise

    def _run(self, line: str, body: str) -> Any:
        settings = {
            name: getattr(self, name)
            for name in ("model", "into", "max_new_tokens", "temperature", "batch_size", "system")
        }
        cell = read_cell(line, body, self.names, self.models, settings)
        try:
            result = run_cell(cell, self.models)
        except KeyboardInterrupt as interrupt:
            _say_what_is_kept(interrupt)
            raise
        data = result.data
        if cell.output is not None:
            self.names[cell.output] = data
        return None if cell.quiet else self.shown.show(data, result)


@contextlib.contextmanager
def usage_errors() -> Iterator[None]:
    """Make hfnb's own errors lines without a traceback: they say all there is to know.

    IPython does so for ``UsageError``, and not for what is derived from it.
    """
    try:
        yield
    except HfnbError as error:
        raise UsageError(in_options(str(error))) from error


def _say_what_is_kept(interrupt: KeyboardInterrupt) -> None:
    """Let IPython show what an interrupted run has left, and not where in hfnb it was."""
    result = getattr(interrupt, "result", None)
    if result is None:
        return
    rows = result.stats
    text = (
        f"KeyboardInterrupt: {rows.ok + rows.failed + rows.skipped:,} of {rows.rows:,} rows are "
        "finished: %hfnb last shows them."
    )
    if result.journaled:
        text += " Run the cell again to go on from there."
    interrupt._render_traceback_ = lambda: [text]  # type: ignore[attr-defined]


def _say_what_is_compared(interrupt: KeyboardInterrupt) -> None:
    """Let IPython show what an interrupted comparison has left, and not where in hfnb it was."""
    found = getattr(interrupt, "result", None)
    if found is None:
        return
    whole = found.stats["status"].ne("cancelled")
    text = (
        f"KeyboardInterrupt: {whole.sum()} of {len(whole)} candidates are finished: "
        "%hfnb compare shows them, and hfnb.last_comparison() has all that was measured."
    )
    interrupt._render_traceback_ = lambda: [text]  # type: ignore[attr-defined]
