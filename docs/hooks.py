"""What MkDocs does to pages here: tables that the code itself tells, and links on hfnb's names."""

import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import hfnb
from hfnb import errors
from hfnb.magics.arguments import GENERATING, LOADING, RUNNING, Option
from hfnb.magics.line import COMMANDS
from hfnb.magics.magic import HfnbMagics
from hfnb.options import GENERATION_OPTIONS, LOAD_OPTIONS

_MARKER = re.compile(r"^<!-- table: ([\w-]+) -->$", re.MULTILINE)
_CODE = re.compile(r"<code>((?:hfnb\.)?[\w.]+)</code>(?!</a>)")
_NAMES = {name: f"hfnb.{name}" for name in hfnb.__all__ if name[0].isupper()} | {
    name: f"hfnb.errors.{name}"
    for name, value in vars(errors).items()
    if isinstance(value, type) and name not in hfnb.__all__
}
"""Names that are links without ``hfnb.`` before them, too."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Put tables in the places of their markers."""
    return _MARKER.sub(lambda found: TABLES[found[1]](), markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Make each of hfnb's names a link to the reference, wherever a page mentions it."""

    def link(found: re.Match[str]) -> str:
        name = _NAMES.get(found[1], found[1])
        if not name.startswith("hfnb."):
            return found[0]
        return f'<autoref identifier="{name}" optional>{found[0]}</autoref>'

    return _CODE.sub(link, html)


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [list(head), ["---"] * len(list(head)), *map(list, rows)]
    return "\n".join(
        f"| {' | '.join(each.replace('|', '&#124;') for each in line)} |" for line in lines
    )


def _options(options: dict[str, Option]) -> str:
    rows = [(f"`{f'{name} {each.value}'.rstrip()}`", _said(each)) for name, each in options.items()]
    return _table(("option", "what it says"), rows)


def _said(option: Option) -> str:
    choices = ", ".join(f"`{each}`" for each in option.choices)
    text = option.help or f"[`{option.key}`](options.md#generating)"
    return f"{text}: {choices}" if choices else text


def _settings() -> str:
    traits = HfnbMagics.class_own_traits(config=True)
    rows = [(f"`HfnbMagics.{name}`", trait.help) for name, trait in traits.items()]
    return _table(("setting", "what it is"), rows)


def _names(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names)) + "."


TABLES: dict[str, Callable[[], str]] = {
    "magic-help": lambda: f"```text\n{inspect.getdoc(HfnbMagics.hfnb)}\n```",
    "magic-commands": lambda: _names(f"%hfnb {each}" for each in COMMANDS),
    "magic-running": lambda: _options(RUNNING),
    "magic-loading": lambda: _options(LOADING),
    "magic-generating": lambda: _options(GENERATING),
    "magic-settings": _settings,
    "generation-options": lambda: _names(GENERATION_OPTIONS),
    "load-options": lambda: _names(LOAD_OPTIONS),
}
"""What a marker such as ``<!-- table: magic-running -->`` stands for."""
