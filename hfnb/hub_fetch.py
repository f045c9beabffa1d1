"""Fetch a model from the Hub into the HF cache, or find it there."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from hfnb.errors import ModelFilesError, ModelNotFoundError, closest, listing
from hfnb.hub_errors import refusal
from hfnb.spec import ModelSpec
from hfnb.steps import download_bar
from hfnb.weights import PICKLES, say_why_no_weights

EXPORTS = "openvino*_model.xml"
"""The files by which an exported model is known."""
_SHA256 = re.compile("[0-9a-f]{64}")
_FILES = [
    *("*.json", "*.safetensors", "*.txt", "*.jinja"),
    *("*.model", "*.spm", "*.tiktoken", "*.codes"),
]
_HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token")
"""What the caller may say about fetching, among the options of loading."""


def fetch(
    spec: ModelSpec,
    check: Callable[[Path], None],
    packaged: Iterable[str],
    unreachable: str = "",
) -> Path:
    """Return the folder in the HF cache, filled from the Hub where it has to be.

    Args:
        spec: The model.
        check: Called with the folder as soon as config.json is there, before the weights are.
        packaged: The models that come with hfnb, to name those that are here.
        unreachable: Why the Hub could not be asked; then only the cache is looked at.

    Raises:
        ModelNotFoundError: The Hub does not have it, or does not give it.
        ModelFilesError: It has no weights that may be loaded, or they arrived damaged.
    """
    import httpx
    import huggingface_hub
    from huggingface_hub import constants, errors

    name, revision = spec.model, spec.revision
    given = dict(spec.load_options)
    told: dict[str, Any] = {each: given[each] for each in _HUB_OPTIONS if each in given}
    if unreachable:
        told["local_files_only"] = True

    def snapshot(patterns: list[str]) -> Path:
        folder = Path(
            huggingface_hub.snapshot_download(
                name,
                revision=revision,
                allow_patterns=patterns,
                ignore_patterns=["*/*"],
                **download_bar(),
                **told,
            )
        )
        _check_arrived(name, folder, kept)
        return folder

    kept: set[Path] = set()
    try:
        config = huggingface_hub.hf_hub_download(name, "config.json", revision=revision, **told)
        check(Path(config).parent)
        kept = _blobs(Path(config).parent)
        patterns = [*_FILES, *(["*.py"] if spec.trust_remote_code else [])]
        if spec.backend == "openvino":
            small = [each for each in patterns if each != "*.safetensors"]
            folder = snapshot([*small, "openvino_*.xml", "openvino_*.bin"])
            if any(folder.glob(EXPORTS)):
                return folder
        folder = snapshot(patterns)
        if any(folder.glob("*.safetensors")):
            return folder
        if spec.allow_pickle:
            folder = snapshot([*patterns, *PICKLES])
        if not any(folder.glob(PICKLES[0])):
            say_why_no_weights(name, folder, _on_the_hub(spec))
        return folder
    except errors.RepositoryNotFoundError as error:
        here = [*packaged, *cached()]
        near = "" if isinstance(error, errors.GatedRepoError) else closest(name, here)
        raise ModelNotFoundError(f"{refusal(error, name, revision)}{near}") from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            if (told_by_hub := refusal(error.__cause__, name, revision)) is not None:
                raise told_by_hub from error
            here = cached()
            if constants.HF_HUB_OFFLINE:
                why = "HF_HUB_OFFLINE is set"
            elif told.get("local_files_only") and not unreachable:
                why = "local_files_only is set"
            else:
                why = "the Hub can't be reached" + (f" ({unreachable})" if unreachable else "")
            raise ModelNotFoundError(
                f"{name!r} is neither a packaged model, nor a folder, nor in the HF cache, and "
                f"{why}.{closest(name, [*packaged, *here])} Here are "
                f"{listing([*packaged, *here])}."
            ) from error
        raise ModelFilesError(f"{name!r} on the Hub has no config.json: it is no model.") from error
    except (errors.HfHubHTTPError, httpx.HTTPError, OSError, RuntimeError) as error:
        # Without a network huggingface_hub 1.x may end in "the client has been closed", a
        # RuntimeError, before it has looked into its cache.
        if (told_by_hub := refusal(error, name, revision)) is not None:
            raise told_by_hub from error
        if told.get("local_files_only"):
            raise ModelNotFoundError(f"The Hub did not give {name!r}: {error}") from error
        reason = "no connection" if isinstance(error, RuntimeError) else str(error)
        return fetch(spec, check, packaged, unreachable=reason or type(error).__name__)


def _blobs(snapshot: Path) -> set[Path]:
    """Return the files that the HF cache holds of a model, whatever revision they are of."""
    return set((snapshot.parents[1] / "blobs").glob("*"))


def _check_arrived(name: str, snapshot: Path, kept: set[Path]) -> None:
    """Compare large files that have just arrived with their hashes; huggingface_hub does not.

    In the cache such a file is called by its SHA-256. One that differs is removed, so that the
    next load gets it again.
    """
    for file in _blobs(snapshot) - kept:
        if not _SHA256.fullmatch(file.name):
            continue
        with file.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != file.name:
            file.unlink()
            raise ModelFilesError(
                f"A file of {name!r} arrived damaged: its bytes have another SHA-256 than the Hub "
                "says. It was removed. Load the model again; if it happens again, something "
                "between this machine and the Hub changes files."
            )
        kept.add(file)


def _on_the_hub(spec: ModelSpec) -> list[str] | None:
    """Return the names of a model's files on the Hub, or ``None`` where it can't be asked."""
    import httpx
    import huggingface_hub

    given = dict(spec.load_options)
    if given.get("local_files_only"):
        return None
    try:
        return huggingface_hub.list_repo_files(
            spec.model, revision=spec.revision, token=given.get("token")
        )
    except (OSError, httpx.HTTPError):
        return None


def cached() -> list[str]:
    """Return the ids of the models that have a folder in the HF cache; none of them is read."""
    from huggingface_hub import constants

    cache = Path(constants.HF_HUB_CACHE)
    folders = cache.glob("models--*") if cache.is_dir() else ()
    return sorted(each.name.removeprefix("models--").replace("--", "/", 1) for each in folders)
