"""`hfnb.models`: what can be picked, as a list that shows itself as a table."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import overload

from hfnb.catalogue import local, on_hub
from hfnb.catalogue.entry import ModelEntry
from hfnb.errors import OptionError, closest, listing
from hfnb.show import count, html_table, size, text_table
from hfnb.spec import Task, check_task

SOURCES = ("packaged", "folders", "exports", "cache", "hub")
_HEAD = (
    *("model", "from", "task", "parameters", "dtype", "size", "context", "chat", "runs on"),
    *("downloads", "licence"),
)


class Models(Sequence[ModelEntry]):
    """Models that can be picked, those on this machine first; `notes` says what was not asked."""

    def __init__(self, every: Sequence[ModelEntry], notes: Sequence[str] = ()) -> None:
        self._every = tuple(every)
        self.notes = tuple(notes)

    @overload
    def __getitem__(self, index: int) -> ModelEntry: ...
    @overload
    def __getitem__(self, index: slice) -> Models: ...
    def __getitem__(self, index: int | slice) -> ModelEntry | Models:
        if isinstance(index, slice):
            return Models(self._every[index], self.notes)
        return self._every[index]

    def __iter__(self) -> Iterator[ModelEntry]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)

    @property
    def names(self) -> list[str]:
        """The names that `hfnb.load` takes."""
        return [each.name for each in self._every]

    def __repr__(self) -> str:
        head, rows = self._table()
        return text_table(head, rows, self._below()) if rows else "\n".join(self._below())

    def _repr_html_(self) -> str:
        head, rows = self._table()
        return html_table(head, rows, self._below(), name="hfnb-models")

    def _table(self) -> tuple[list[str], list[list[str]]]:
        """Return the columns that say something of any of the models, and their rows."""
        rows = [_row(each) for each in self._every]
        told = [at for at in range(len(_HEAD)) if at == 0 or any(row[at] for row in rows)]
        return [_HEAD[at] for at in told], [[row[at] for at in told] for row in rows]

    def _below(self) -> list[str]:
        return [*([] if self._every else ["no model"]), *self.notes]


def models(
    query: str | os.PathLike[str] | None = None,
    task: str | None = None,
    *,
    source: str | Sequence[str] | None = None,
    token: str | bool | None = None,
) -> Models:
    """Return the models that can be picked: on this machine and, for a query, on the Hub.

    Args:
        query: Part of a name, or a folder that holds models. Without one, and without a task,
            the Hub is asked only if ``source`` names it.
        task: Only models that can do it.
        source: Where to look, one or several of ``"packaged"``, ``"folders"`` (the working
            folder's), ``"exports"``, ``"cache"`` (the HF cache) and ``"hub"``; ``None`` is all.
        token: For the Hub; by default the one that ``hf auth login`` has kept.

    Returns:
        A sequence, shown as a table. Each has ``name``, ``source``, ``tasks``, ``backends``,
        ``parameters``, ``dtype``, ``size`` (bytes), ``context_length``, ``has_chat_template`` and
        ``folder``; those of the Hub also ``downloads``, ``license`` and ``gated``. ``notes`` says
        why the Hub was not asked, or gave no answer within 1.5 s.

    Raises:
        OptionError: An unknown task or source, with the closest name.

    Example:
        >>> import hfnb
        >>> hfnb.models("numbers", source="packaged").names
        ['hfnb/numbers-fr']
    """
    wanted, places = check_task(task), _check_sources(source)
    text = None if query is None else os.fspath(query)
    found: list[ModelEntry] = []
    for place, look in (
        ("packaged", local.packaged),
        ("folders", lambda: local.folders(text)),
        ("exports", local.exported),
        ("cache", local.cached),
    ):
        if place in places:
            found += [each for each in look() if _fits(each, text, wanted)]
    notes: list[str] = []
    if "hub" in places:
        if text or wanted or source is not None:
            answer = on_hub.search(text, wanted, token)
            here = {each.name for each in found}
            found += [
                each
                for each in answer.entries
                if each.name not in here and (wanted is None or wanted in each.tasks)
            ]
            if answer.why_not:
                notes.append(f"the Hub is not among them: {answer.why_not}")
        else:
            notes.append("the Hub was not asked: give part of a name, such as hfnb.models('qwen')")
    return Models(found, notes)


def _check_sources(source: str | Sequence[str] | None) -> tuple[str, ...]:
    if source is None:
        return SOURCES
    given = (source,) if isinstance(source, str) else tuple(source)
    for each in given:
        if each not in SOURCES:
            raise OptionError(
                f"Unknown source {each!r}.{closest(each, SOURCES)} Use {listing(SOURCES)}."
            )
    return given


def _fits(entry: ModelEntry, query: str | None, task: Task | None) -> bool:
    in_folder = bool(query) and entry.source == "folder" and Path(str(query)).is_dir()
    named = not query or in_folder or query.lower() in entry.name.lower()
    return named and (task is None or task in entry.tasks)


def _row(entry: ModelEntry) -> list[str]:
    context = entry.context_length
    return [
        entry.name,
        entry.source,
        entry.task,
        "" if entry.parameters is None else count(entry.parameters),
        entry.dtype,
        "" if entry.size is None else size(entry.size),
        "" if context is None else f"{context:,}",
        "yes" if entry.has_chat_template else "",
        ", ".join(entry.backends),
        "" if entry.downloads is None else f"{entry.downloads:,}",
        entry.license + (" (gated)" if entry.gated else ""),
    ]
