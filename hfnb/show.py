"""Small tables as a person sees them: lines of text, and HTML in the notebook's own colours."""

from __future__ import annotations

import html
import sys
from collections.abc import Iterable, Sequence

QUIET = "var(--jp-ui-font-color2, #616161)"
"""JupyterLab's colour of what matters less."""
BAD = "var(--jp-error-color1, #c62828)"
"""JupyterLab's colour of what is wrong."""


def size(count: int) -> str:
    """Return bytes as a person would say it, in decimal units.

    Example:
        >>> size(512), size(3_400_000), size(2_150_000_000)
        ('512 B', '3.4 MB', '2.15 GB')
    """
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if abs(value) < 999.5:
            return f"{value:.3g} {unit}" if unit != "B" else f"{count} B"
        value /= 1000
    return f"{value:.3g} GB" if abs(value) < 999.5 else f"{value:,.0f} GB"


def count(value: int) -> str:
    """Return a large number as a person would say it.

    Example:
        >>> count(860), count(860_160), count(109_527_552), count(7_615_616_512)
        ('860', '860 k', '110 M', '7.62 B')
    """
    shown = float(value)
    for unit in ("", " k", " M"):
        if shown < 999.5:
            return f"{shown:.3g}{unit}"
        shown /= 1000
    return f"{shown:,.3g} B" if shown < 999.5 else f"{shown:,.0f} B"


def text_table(
    head: Sequence[str], rows: Iterable[Sequence[str]], notes: Iterable[str] = ()
) -> str:
    """Return a table as lines of text, its notes below it.

    Example:
        >>> print(text_table(["model", "size"], [["a", "1 MB"], ["a longer one", "12 kB"]]))
        model         size
        a             1 MB
        a longer one  12 kB
    """
    table = [[printable(cell) for cell in line] for line in (head, *rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in table
    )
    return "\n".join([*lines, *map(printable, notes)])


def html_table(
    head: Sequence[str],
    rows: Iterable[Sequence[str]],
    notes: Iterable[str] = (),
    *,
    name: str,
) -> str:
    """Return a table as HTML, its notes below it; everything in it is escaped.

    Args:
        head: The names of the columns.
        rows: A text for each cell; the first is the row's head.
        notes: Lines below the table.
        name: The class of the whole, for style sheets.
    """
    left = "text-align: left; vertical-align: top"
    top = "".join(f'<th scope="col" style="{left}">{html.escape(each)}</th>' for each in head)
    body = "".join(
        f'<tr><th scope="row" style="{left}">{html.escape(first)}</th>'
        + "".join(f'<td style="{left}">{html.escape(each)}</td>' for each in rest)
        + "</tr>"
        for first, *rest in rows
    )
    below = "".join(
        f'<div style="color: {QUIET}"><small>{html.escape(each)}</small></div>' for each in notes
    )
    return (
        f'<div class="{name}"><table class="dataframe"><thead><tr>{top}</tr></thead>'
        f"<tbody>{body}</tbody></table>{below}</div>"
    )


def text_figures(lines: Sequence[tuple[str, str]]) -> str:
    """Return labels and what they say as lines of text.

    Example:
        >>> print(text_figures([("rows", "3"), ("memory", "12 MB")]))
        rows     3
        memory   12 MB
    """
    return "\n".join(f"{label:<8} {printable(text)}" for label, text in lines)


def html_figures(lines: Sequence[tuple[str, str]], *, name: str) -> str:
    """Return labels and what they say as HTML; everything in it is escaped."""
    rows = "".join(
        f'<tr><th scope="row" style="text-align: left; padding: 1px 12px 1px 0">'
        f'{html.escape(label)}</th><td style="text-align: left; padding: 1px 0">'
        f"{html.escape(text)}</td></tr>"
        for label, text in lines
    )
    return f'<table class="{name}" style="border: none; margin-top: 8px">{rows}</table>'


def printable(text: str) -> str:
    r"""Return text without line ends, which break tables, or codes, which act on terminals.

    Example:
        >>> printable("a\x1b[31m")
        'a\\x1b[31m'
    """
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def in_notebook() -> bool:
    """Whether a Jupyter front end shows our output."""
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    return getattr(shell, "kernel", None) is not None
