"""The words behind ``%hfnb``: what each does, and what it shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hfnb import journal, session
from hfnb.catalogue.listing import models
from hfnb.comparing.compare import last_comparison
from hfnb.errors import OptionError, closest, listing
from hfnb.frame.result import last_result
from hfnb.hardware import memory_free
from hfnb.machine import devices
from hfnb.magics.arguments import OF_CELL, OF_LOAD, Option, read_arguments
from hfnb.magics.namespace import table_of
from hfnb.magics.words import Word, split
from hfnb.show import count, in_notebook, size
from hfnb.variables import is_model, tables

if TYPE_CHECKING:
    from hfnb.magics.magic import HfnbMagics


def run_line(magics: HfnbMagics, line: str) -> Any:
    """Do what a line says, and return what it is to show or to keep.

    Raises:
        HfnbError: It is none of the words that there are, or what it does goes wrong.
    """
    words = split(line)
    if not words:
        if magics.panel is not None and in_notebook():
            return magics.panel(None)
        print(magics.help(), end="\n\n")
        print(status())
        return None
    word = words[0].text
    command = COMMANDS.get(word)
    if command is None:
        if word in tables(magics.names):
            raise OptionError(
                f"A prompt over the rows of {word} is a cell of its own: %%hfnb {word}, and the "
                "prompt in the lines below it."
            )
        raise OptionError(
            f"There is no %hfnb {word}.{closest(word, COMMANDS)} There are {listing(COMMANDS)}."
        )
    return command(magics, words[1:])


def _panel(magics: HfnbMagics, words: Sequence[Word]) -> Any:
    name = _one(read_arguments(words, {}).words, "panel", "TABLE")
    if magics.panel is None or not in_notebook():
        raise OptionError("The panel needs a notebook. Here %%hfnb cells do the same.")
    return magics.panel(table_of(name, magics.names) if name else None)


def _load(magics: HfnbMagics, words: Sequence[Word]) -> None:
    found, given = read_arguments(words, OF_LOAD)
    model = _one(found, "load", "MODEL") or magics.model
    if not model:
        raise OptionError("Which model? Such as %hfnb load hfnb/numbers-fr.")
    # Not returned: Out would keep the model in memory when another one takes its place.
    print(described(magics.models.load(model, given)))


def _unload(magics: HfnbMagics, words: Sequence[Word]) -> Any:
    name = _one(read_arguments(words, {}).words, "unload", "MODEL")
    if is_model(held := magics.names.get(name)):
        return session.unload(held)
    return session.unload(name or None)


def _models(magics: HfnbMagics, words: Sequence[Word]) -> Any:
    found, given = read_arguments(words, {"--task": OF_LOAD["--task"]})
    return models(_one(found, "models", "QUERY") or None, **given)


def _devices(magics: HfnbMagics, words: Sequence[Word]) -> Any:
    _nothing(words, "devices")
    return devices()


def _status(magics: HfnbMagics, words: Sequence[Word]) -> None:
    _nothing(words, "status")
    print(status())


def _last(magics: HfnbMagics, words: Sequence[Word]) -> Any:
    _nothing(words, "last")
    if (result := last_result()) is None:
        raise OptionError("Nothing has been run yet.")
    return result


def _compare(magics: HfnbMagics, words: Sequence[Word]) -> Any:
    if words or (found := last_comparison()) is None:
        raise OptionError(
            "%hfnb compare shows the last comparison. One is made by a cell: %%hfnb compare df "
            "MODEL MODEL,backend=openvino, and the prompt in the lines below it."
        )
    return found


def _journal(magics: HfnbMagics, words: Sequence[Word]) -> Any:
    _nothing(words, "journal")
    return journal.entries()


def _help(magics: HfnbMagics, words: Sequence[Word]) -> None:
    topic = _one(read_arguments(words, {}).words, "help", "options")
    if topic not in ("", "options"):
        raise OptionError("%hfnb help and %hfnb help options are what there is.")
    print(_options(OF_CELL) if topic else magics.help())


COMMANDS: dict[str, Callable[[HfnbMagics, Sequence[Word]], Any]] = {
    "panel": _panel,
    "load": _load,
    "unload": _unload,
    "models": _models,
    "devices": _devices,
    "status": _status,
    "last": _last,
    "compare": _compare,
    "journal": _journal,
    "help": _help,
}
"""What may stand behind ``%hfnb``."""


def described(llm: Any) -> str:
    """Return a line on a model that is loaded."""
    info = llm.engine.info
    parts = [info.model, info.task, info.backend, info.dtype, info.device]
    if info.parameters:
        parts.append(f"{count(info.parameters)} parameters")
    if info.has_chat_template:
        parts.append("chat template")
    return " · ".join(parts)


def status() -> str:
    """Return what is loaded, what was run last, and how much memory is free."""
    llm = session.current()
    lines = [
        ("model", "none; %hfnb load MODEL" if llm is None else described(llm)),
        ("last run", _last_run()),
        ("journal", size(journal.size())),
        ("memory", f"{size(memory_free())} free"),
    ]
    used = None if llm is None else llm.engine
    others = [each.model for each in session.loaded() if each.engine is not used]
    if others:
        lines.insert(1, ("also loaded", listing(others)))
    width = max(len(label) for label, _ in lines)
    return "\n".join(f"{label.ljust(width)}  {text}" for label, text in lines)


def _last_run() -> str:
    result = last_result()
    if result is None:
        return "none"
    rows = dict(result.stats.lines())["rows"]
    return f"{rows.replace(':', ' rows:', 1)}; %hfnb last"


def _options(options: Mapping[str, Option]) -> str:
    shown = {f"{name} {option.value}".rstrip(): option.help for name, option in options.items()}
    width = max(len(name) for name, text in shown.items() if text)
    return "\n".join(f"{name.ljust(width)}  {text}".rstrip() for name, text in shown.items())


def _one(words: Sequence[Word], command: str, what: str) -> str:
    if len(words) > 1:
        raise OptionError(f"%hfnb {command} takes one {what}; not also {words[1].raw!r}.")
    return words[0].text if words else ""


def _nothing(words: Sequence[Word], command: str) -> None:
    if words:
        raise OptionError(f"%hfnb {command} stands alone; not with {words[0].raw!r}.")
