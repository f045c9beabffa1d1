"""`hfnb.export`: a model as a folder for OpenVINO; `hfnb.exports`: those that are kept."""

from __future__ import annotations

import dataclasses
import datetime
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import overload

from hfnb import hub
from hfnb.engines import openvino_cache as cache
from hfnb.engines import openvino_export, openvino_folder
from hfnb.engines.openvino_formats import check_weight_format
from hfnb.errors import OptionError, listing
from hfnb.show import size
from hfnb.spec import ModelSpec
from hfnb.weights import weight_files


def export(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str] | None = None,
    *,
    task: str | None = None,
    weight_format: str | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    overwrite: bool = False,
    progress: Callable[[str], None] | None = openvino_export.show,
) -> Path:
    """Export a model to OpenVINO, and return the folder that `hfnb.load` takes.

    ``hfnb.load(model, backend="openvino")`` exports by itself, once; this is for a folder to keep,
    to ship, or to take to a smaller machine.

    Args:
        model: A packaged name, a local folder, or a Hub id.
        folder: Where to. It must not exist, or be empty; it is there when it is whole, and not
            before. ``None`` exports into the cache that `hfnb.load` uses, and returns that folder.
        task: What the model is to do; ``None`` takes it from the model's config.
        weight_format: ``"fp32"``, ``"fp16"``, ``"bf16"``, ``"int8"`` or ``"int4"``. ``None`` keeps
            the precision that the model was saved in. int4 shares a scale between 128 weights,
            fewer where a layer is too narrow, and keeps embeddings and the last layer in int8.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run Python code that comes with the model.
        overwrite: Replace an exported model in ``folder``. Anything else there is never replaced.
        progress: Takes a line of text for each step; by default it is printed, in a notebook as
            output and elsewhere on standard error. ``None`` is silent.

    Returns:
        The folder: IR, converted tokenizer, the model's own tokenizer, config and chat template.

    Raises:
        ModelError: The model can't be found or exported, or this machine lacks the memory or the
            disk for it.
        OptionError: An unknown weight format or task, or a folder that is taken.
        MissingExtraError: The packages of ``hfnb[openvino]`` are not installed.

    Example:
        >>> import hfnb
        >>> folder = hfnb.export("hfnb/numbers-fr", weight_format="int8", progress=None)
        >>> sorted(each.name for each in folder.glob("openvino_model.*"))
        ['openvino_model.bin', 'openvino_model.xml']
    """
    wanted = check_weight_format(weight_format)
    target = Path(folder).expanduser().absolute() if folder is not None else None
    if target is not None:
        _check_target(target, overwrite)
    spec = ModelSpec(
        model=os.fspath(model),
        task=task,  # type: ignore[arg-type]
        revision=revision,
        trust_remote_code=trust_remote_code,
    )
    given = Path(spec.model).expanduser()
    if openvino_folder.is_exported(given) and not weight_files(given):
        raise OptionError(
            f"{spec.model!r} is exported already: load it with hfnb.load({spec.model!r}, "
            "backend='openvino'). For another weight_format, give the model it was exported from."
        )
    files = hub.find(spec)
    done = openvino_export.export_to(
        target,
        files,
        weight_format=wanted,
        trust_remote_code=trust_remote_code,
        progress=progress or (lambda _line: None),
    )
    return done.folder


def _check_target(target: Path, overwrite: bool) -> None:
    """Refuse a folder with anything in it that is not an export which may be overwritten."""
    if not target.exists():
        return
    inside = sorted(each.name for each in target.iterdir()) if target.is_dir() else None
    if inside == []:
        return
    if inside is None:
        raise OptionError(f"{target} is a file. Give a folder that does not exist.")
    if not openvino_folder.is_exported(target) and cache.MANIFEST not in inside:
        raise OptionError(
            f"{target} is not empty, and what is there is no exported model ({listing(inside, 4)})."
            " It is never overwritten: give a folder that does not exist."
        )
    if not overwrite:
        raise OptionError(
            f"{target} holds an exported model. Load it with backend='openvino', replace it with "
            "overwrite=True, or give another folder."
        )


@dataclasses.dataclass(frozen=True)
class Export:
    """An exported model in the cache."""

    model: str
    """What it was called when it was exported."""
    weight_format: str
    task: str
    size: int
    """Bytes on disk."""
    when: datetime.datetime
    """When it was exported."""
    seconds: float
    """How long that took."""
    whole: bool
    """Whether all files are there; a damaged export is made again when it is loaded."""
    source: str
    """The Hub id and commit, or a hash of the model's files."""
    versions: Mapping[str, str]
    """Of the packages that made it. With others installed, it is made again."""
    path: Path

    def remove(self) -> int:
        """Delete it, and return the bytes that this freed. It is made again when it is loaded."""
        return self.size if cache.remove(self.path) else 0


class Exports(Sequence[Export]):
    """Exported models in the cache, the newest first; `size` in bytes, and `remove`."""

    def __init__(self, every: Sequence[Export] = ()) -> None:
        self._every = tuple(every)

    @overload
    def __getitem__(self, index: int) -> Export: ...
    @overload
    def __getitem__(self, index: slice) -> Exports: ...
    def __getitem__(self, index: int | slice) -> Export | Exports:
        if isinstance(index, slice):
            return Exports(self._every[index])
        return self._every[index]

    def __iter__(self) -> Iterator[Export]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)

    @property
    def size(self) -> int:
        """Bytes on disk, all together."""
        return sum(each.size for each in self._every)

    def remove(self) -> int:
        """Delete them all, and return the bytes that this freed."""
        return sum(each.remove() for each in self._every)

    def __repr__(self) -> str:
        if not self._every:
            return f"no exported models in {cache.root()}"
        rows = [
            (
                each.model,
                each.weight_format,
                size(each.size),
                f"{each.when:%Y-%m-%d %H:%M}",
                "" if each.whole else "damaged",
            )
            for each in self._every
        ]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                text.rjust(width) if column == 2 else text.ljust(width)
                for column, (text, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        count = f"{len(rows)} exported model{'s' if len(rows) > 1 else ''}"
        return "\n".join([*lines, f"{count}, {size(self.size)}, in {cache.root()}"])


def exports(
    model: str | os.PathLike[str] | None = None, weight_format: str | None = None
) -> Exports:
    """Return the exported models that are kept in the user's cache, the newest first.

    They are made by ``hfnb.load(model, backend="openvino")`` and by `hfnb.export` without a folder.

    Args:
        model: Only those of this model, by the name that it was loaded with.
        weight_format: Only those in this format.

    Returns:
        A sequence with ``size`` (bytes) and ``remove()``; each one has ``model``,
        ``weight_format``, ``task``, ``size``, ``when``, ``path`` and its own ``remove()``.

    Raises:
        OptionError: An unknown weight format.

    Example:
        >>> import hfnb
        >>> _ = hfnb.export("hfnb/numbers-fr", weight_format="int8", progress=None)
        >>> kept = hfnb.exports("hfnb/numbers-fr", weight_format="int8")
        >>> kept[0].task
        'text-generation'
        >>> freed = kept.remove()
        >>> len(hfnb.exports("hfnb/numbers-fr", weight_format="int8"))
        0
    """
    wanted = check_weight_format(weight_format)
    name = os.fspath(model) if model is not None else None
    place = cache.root() / "exports"
    found = [_read(each) for each in (place.iterdir() if place.is_dir() else ()) if _is_entry(each)]
    kept = [
        each
        for each in found
        if name in (None, each.model) and wanted in (None, each.weight_format)
    ]
    return Exports(sorted(kept, key=lambda each: each.when, reverse=True))


def _is_entry(folder: Path) -> bool:
    return folder.is_dir() and not folder.name.startswith(".")


def _read(folder: Path) -> Export:
    manifest = cache.read_manifest(folder)
    size = sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())
    if manifest is None:
        shown, weight_format = (*folder.name.split("--"), "")[:2]
        when = datetime.datetime.fromtimestamp(folder.stat().st_mtime).astimezone()
        return Export(shown, weight_format, "", size, when, 0.0, False, "", {}, folder)
    return Export(
        model=manifest.model,
        weight_format=manifest.weight_format,
        task=manifest.task,
        size=size,
        when=datetime.datetime.fromtimestamp(manifest.when).astimezone(),
        seconds=manifest.seconds,
        whole=cache.damage(folder) is None,
        source=manifest.source,
        versions=manifest.versions,
        path=folder,
    )
