"""The code blocks of a page, and how they are run: in order, in one namespace, as a reader would.

What stands behind the three backticks says what a block is:

    python                  is run
    python title="Not run by the tests: ..."   is only compiled; the title tells readers why
    ipython                 is a cell, run by IPython
    text title="Output"     is what the block before it shows; figures may differ
    sh                      its commands are looked up, not run
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import io
import re
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

ROOT = Path(__file__).parents[2]
NOT_RUN = "Not run by the tests: "
_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\w*)(?: title=\"(?P<title>[^\"]*)\")?[^\n`]*\n"
    r"(?P<code>.*?)^(?P=indent)```$",
    flags=re.MULTILINE | re.DOTALL,
)
# What stands behind a line with what it gives: `chain.invoke({"i": 72})  # 'soixante-douze'`.
_TOLD = re.compile(rb"  # ((?:['\[{(\d].*)|True|False|None)$")
# What differs between two runs or two machines: figures, their units, the dtype that was chosen.
_VARYING = re.compile(r"\S*\d\S*|\b(ms|s|min|h|B|kB|MB|GB)\b|[·\s]+|-{2,}")
_QUIET = Config({"HistoryManager": {"enabled": False}, "InteractiveShell": {"colors": "nocolor"}})


class Block(NamedTuple):
    """A code block of a page."""

    page: Path
    line: int
    language: str
    title: str
    code: str

    @property
    def place(self) -> str:
        page = self.page.relative_to(ROOT) if self.page.is_relative_to(ROOT) else self.page.name
        return f"{page}:{self.line}"


def pages() -> list[Path]:
    """Return README.md and the pages of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks_of(page: Path) -> list[Block]:
    """Return a page's code blocks, in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for each in _FENCE.finditer(text):
        line = text.count("\n", 0, each.start()) + 1
        indent = len(each["indent"])
        code = "".join(code[indent:] or "\n" for code in each["code"].splitlines(keepends=True))
        found.append(Block(page, line, each["language"], each["title"] or "", code))
    return found


def words(shown: str) -> list[str]:
    """Return what must be the same of what is shown, whatever the machine."""
    return _VARYING.sub(" ", shown).split()


class Reader:
    """Somebody who types a page's blocks, one after the other."""

    def __init__(self) -> None:
        vars(builtins).pop("_", None)  # doctest leaves one, which IPython takes for gettext's
        self._shell: Any = InteractiveShell(config=deepcopy(_QUIET))
        self.names: dict[str, Any] = self._shell.user_ns
        self.shown = ""
        """What the last block has printed, its value included."""
        self.checked = 0
        """How much of what pages say of results has been compared with them."""

    def read(self, block: Block) -> None:
        """Do what a reader does with a block; whatever is not as the page says raises."""
        if block.title.startswith(NOT_RUN):
            if block.language == "python":
                compile(block.code, block.place, "exec")
        elif block.language == "python":
            self._run(block)
        elif block.language == "ipython":
            self._run_cell(block)
        elif block.title == "Output":
            expected, shown = words(block.code), words(self.shown)
            assert expected, f"{block.place}: nothing that could be compared"
            assert shown == expected, f"{block.place}:\n{self.shown}"
            self.checked += 1

    def _run(self, block: Block) -> None:
        tree = ast.parse(block.code)
        lines = block.code.splitlines()
        value: Any = None
        with contextlib.redirect_stdout(io.StringIO()) as out:
            for node in tree.body:
                told = _TOLD.match(
                    lines[(node.end_lineno or 0) - 1].encode()[node.end_col_offset :]
                )
                ast.increment_lineno(node, block.line)  # a traceback then names the page's lines
                value = self._do(node, str(block.page))
                if told:
                    expected = ast.literal_eval(told[1].decode())
                    assert value == expected, f"{block.place}: {value!r} is not {expected!r}"
                    self.checked += 1
            if value is not None:
                print(repr(value))
        self.shown = out.getvalue()

    def _do(self, node: ast.stmt, file: str) -> Any:
        """Run a statement, and return its value where it is an expression."""
        if isinstance(node, ast.Expr):
            return eval(compile(ast.Expression(node.value), file, "eval"), self.names)
        exec(compile(ast.Module([node], []), file, "exec"), self.names)
        return None

    def _run_cell(self, block: Block) -> None:
        with contextlib.redirect_stdout(io.StringIO()) as out:
            done = self._shell.run_cell(block.code, store_history=True)
        self.shown = out.getvalue()
        problem = done.error_in_exec or done.error_before_exec
        assert problem is None, f"{block.place}: {problem!r}\n{self.shown}"
