"""Models that are on this machine: packaged, in folders, exported, in the HF cache."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from hfnb import hub
from hfnb.catalogue.entry import ModelEntry, entry_of
from hfnb.exporting import exports


def packaged() -> Iterator[ModelEntry]:
    """Yield the models that come with hfnb."""
    for name, folder in hub.packaged().items():
        if (found := entry_of(name, folder, "packaged")) is not None:
            yield found


def folders(query: str | None) -> Iterator[ModelEntry]:
    """Yield the models in the working folder, and in the folder that ``query`` names."""
    places = [Path.cwd()]
    if query and Path(query).expanduser().is_dir():
        places.append(Path(query).expanduser())
    for place in places:
        for folder in (place, *sorted(_inside(place))):
            if (folder / "config.json").is_file():
                found = entry_of(_shown(folder), folder, "folder")
                if found is not None:
                    yield found


def _inside(place: Path) -> list[Path]:
    try:
        return [each for each in place.iterdir() if each.is_dir()]
    except OSError:  # a folder that may not be read
        return []


def _shown(folder: Path) -> str:
    """Return a folder as `hfnb.load` takes it, short where it is below the working folder."""
    try:
        short = os.fspath(folder.resolve().relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(folder)
    return "." if short == "." else f"./{short}"


def exported() -> Iterator[ModelEntry]:
    """Yield the models that were exported to OpenVINO and are kept."""
    for each in exports():
        found = entry_of(each.model, each.path, "export") if each.whole else None
        if found is not None:
            yield found


def cached() -> Iterator[ModelEntry]:
    """Yield the models in the HF cache that are whole enough to be loaded."""
    import huggingface_hub
    from huggingface_hub import constants

    if not Path(constants.HF_HUB_CACHE).is_dir():
        return
    try:
        repos = huggingface_hub.scan_cache_dir().repos
    except (OSError, ValueError):  # a cache that is damaged or being written
        return
    for repo in sorted(repos, key=lambda each: each.repo_id):
        latest = max(repo.revisions, key=lambda each: each.last_modified, default=None)
        if repo.repo_type != "model" or latest is None:
            continue
        found = entry_of(repo.repo_id, Path(latest.snapshot_path), "cache")
        if found is not None:
            yield found
