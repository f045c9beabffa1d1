"""The user's cache of exported models: whole or not there, however a process ends.

An export is written into a folder whose name begins with ``.hfnb-part-``; a manifest with the
sizes of all files is written last, everything is brought to disk, and the folder gets its name by
one rename. What a killed process left behind is swept by the next export.

    ~/.cache/hfnb/openvino/
        exports/NAME--TASK--FORMAT--KEY/    IR, tokenizers, config, and hfnb_export.json
        tokenizers/NAME--KEY/               converted tokenizers of exports that lack theirs
        locks/                              one process at a time exports one model
        sources/                            hashes of files, so that they are read once
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import platformdirs

MANIFEST = "hfnb_export.json"
_PART = ".hfnb-part-"
_VERSION = 1
_WAIT_S = 0.1


def root() -> Path:
    """Return the folder that holds all of it."""
    return Path(platformdirs.user_cache_dir("hfnb")) / "openvino"


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What an export says of itself."""

    model: str
    """What the user called the model that was exported."""
    source: str
    """Its Hub id and commit, or a hash of its files."""
    task: str
    weight_format: str
    when: float
    """Seconds since 1970."""
    seconds: float
    """How long the export took."""
    notes: tuple[str, ...]
    versions: Mapping[str, str]
    """Of the packages that made it."""
    files: Mapping[str, int]
    """All other files of the export, and their bytes."""
    version: int = _VERSION

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(self.files.values())


def entry(kind: str, parts: list[str], key: Mapping[str, Any]) -> Path:
    """Return the folder in the cache that belongs to a key; it need not exist.

    Args:
        kind: ``"exports"`` or ``"tokenizers"``.
        parts: What a person reads in the folder's name.
        key: Everything that the result depends on.
    """
    text = json.dumps({**key, "version": _VERSION}, sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    return root() / kind / "--".join([*_shown(parts), digest])


def has_any(kind: str, parts: Sequence[str]) -> bool:
    """Whether something of these parts' names is kept, whatever else it depends on."""
    beginning = "--".join([*_shown(parts), ""])
    return any(each.name.startswith(beginning) for each in (root() / kind).glob("*"))


def _shown(parts: Sequence[str]) -> list[str]:
    shown = (re.sub(r"[^\w.-]+", "-", each)[-40:].strip("-.") for each in parts)
    return [each for each in shown if each]


def read_manifest(folder: Path) -> Manifest | None:
    """Return what a folder's manifest says, whether the folder is whole or not."""
    try:
        read = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        manifest = Manifest(**{**read, "notes": tuple(read["notes"])})
        return manifest if manifest.version == _VERSION and manifest.files else None
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def damage(folder: Path, only: tuple[str, ...] = ("",)) -> str | None:
    """Say what is wrong with a folder that should be a whole export; ``None`` if nothing is.

    Args:
        folder: The export.
        only: The endings of the names that count: a user may change the others in a folder of
            their own.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        return f"{MANIFEST} is missing or can't be read"
    for name, size in manifest.files.items():
        if not name.endswith(only):
            continue
        try:
            found = (folder / name).stat().st_size
        except OSError:
            return f"{name} is missing"
        if found != size:
            return f"{name} has {found:,} of {size:,} bytes"
    return None


@contextlib.contextmanager
def locked(target: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock of a folder, in this process and against others; it ends with the process.

    Args:
        target: The folder that is about to be made or removed, in the cache or elsewhere.
        waiting: Called once if another process or thread holds it.
    """
    from filelock import FileLock, Timeout

    file = _lock_of(target)
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        waiting()
        lock.acquire(poll_interval=_WAIT_S)
    try:
        yield
    finally:
        lock.release()


def _lock_of(target: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(target.resolve())).hexdigest()[:24]
    return root() / "locks" / f"{digest}.lock"


def part_of(target: Path) -> Path:
    """Make the folder beside ``target`` in which it is put together, and return it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.parent / f"{_PART}{target.name}.{secrets.token_hex(4)}"
    part.mkdir()
    return part


@contextlib.contextmanager
def building(target: Path) -> Iterator[Path]:
    """Make a folder beside ``target`` for the time being; what is still there then is removed."""
    part = part_of(target)
    try:
        yield part
    finally:
        shutil.rmtree(part, ignore_errors=True)


def publish(part: Path, target: Path, manifest: Mapping[str, Any]) -> Manifest:
    """Write the manifest of a finished folder, bring it to disk, and give it its name.

    What was at ``target`` is replaced. The caller holds its lock.
    """
    files = {each.relative_to(part).as_posix(): each for each in part.rglob("*") if each.is_file()}
    files.pop(MANIFEST, None)
    sizes = {name: each.stat().st_size for name, each in sorted(files.items())}
    for each in files.values():
        _to_disk(each)
    write_json(part / MANIFEST, {**manifest, "files": sizes, "version": _VERSION})
    _to_disk(part)
    if target.exists():
        aside = part_of(target)
        target.replace(aside / "old")
        part.replace(target)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        part.replace(target)
    _to_disk(target.parent)
    written = read_manifest(target)
    assert written is not None
    return written


def sweep(folder: Path) -> None:
    """Remove what killed exports left in a folder of the cache, or beside a folder of the user's.

    A part belongs to a living export while its target's lock is held. The caller holds none.
    """
    for part in folder.glob(f"{_PART}*"):
        name = part.name.removeprefix(_PART).rpartition(".")[0]
        _remove_if_free(folder / name, part)


def _remove_if_free(target: Path, part: Path) -> None:
    from filelock import FileLock, Timeout

    file = _lock_of(target)
    file.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(Timeout), FileLock(file, timeout=0):
        shutil.rmtree(part, ignore_errors=True)


def remove(target: Path) -> bool:
    """Remove an export from the cache, and say whether it was there.

    It loses its name first, so that no part of it is taken for the whole.
    """
    with locked(target):
        if not target.exists():
            return False
        aside = part_of(target)
        target.replace(aside / "old")
        shutil.rmtree(aside, ignore_errors=True)
        return True


def write_json(file: Path, content: Any) -> None:
    """Write a file whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("x", encoding="utf-8") as stream:
            json.dump(content, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(file)
    finally:
        beside.unlink(missing_ok=True)


def _to_disk(path: Path) -> None:
    """Flush a file's or a folder's content to the disk, where the system can."""
    if os.name != "posix" and path.is_dir():
        return
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
