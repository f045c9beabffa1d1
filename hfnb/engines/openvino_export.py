"""Export a model to OpenVINO once, and find the export again.

The result is a folder with OpenVINO's intermediate representation (IR), the converted tokenizer,
and the model's own tokenizer, config, generation config and chat template. It is kept in the
user's cache (`hfnb.engines.openvino_cache`) by everything that it depends on: the model's commit or
content, the task, the weight format, and the versions of the packages that made it.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from hfnb import steps
from hfnb.engines import openvino_cache as cache
from hfnb.engines import openvino_child as child
from hfnb.engines import openvino_formats as formats
from hfnb.engines.folder_identity import commit_of, identity_of
from hfnb.engines.openvino_child import Progress
from hfnb.engines.openvino_convert import EXPORT_TASKS, SEQ2SEQ_TASK
from hfnb.engines.openvino_folder import (
    exported_task,
    has_tokenizer,
    is_exported,
    weight_format_of,
)
from hfnb.engines.telling import say
from hfnb.errors import MissingExtraError, ModelError, ModelFilesError, OptionError
from hfnb.hub import ModelFiles
from hfnb.weights import weight_files

_PACKAGES = ("openvino", "openvino-tokenizers", "optimum-intel", "transformers")


@dataclasses.dataclass(frozen=True)
class Exported:
    """An exported model that can be loaded."""

    folder: Path
    weight_format: str
    """The precision that most of its weights are in."""
    tokenizer: Path | None
    """The folder with the converted tokenizer; ``None`` where its kind can't be converted."""
    notes: tuple[str, ...] = ()
    """What a user should know, such as smaller groups of int4 weights."""
    was_there: bool = True
    """Whether it had been exported before."""


def show(line: str) -> None:
    """Tell a step of an export, or print it, as what is said while a model loads."""
    if steps.listener() is None:
        say(line)
    else:
        steps.tell(line.strip())


def exported(
    files: ModelFiles,
    *,
    weight_format: str | None = None,
    trust_remote_code: bool = False,
    progress: Progress = show,
) -> Exported:
    """Return a model's export, made now or kept from before.

    Args:
        files: What `hfnb.hub.find` found: a PyTorch model, or a folder that is exported already.
        weight_format: One of `formats.WEIGHT_FORMATS`; ``None`` keeps the checkpoint's precision.
        trust_remote_code: Run Python code that comes with the model.
        progress: Told in a line of text what is being done; not called when nothing is.

    Raises:
        ModelError: It can't be exported, or this machine lacks the memory or the disk for it.
        OptionError: An unknown format, or another than an exported folder has.
        MissingExtraError: The packages of ``hfnb[openvino]`` are not installed.
    """
    wanted = formats.check_weight_format(weight_format)
    if is_exported(files.folder):
        done = _as_it_is(files, wanted, trust_remote_code, progress)
        if done is not None:
            return done
    return export_to(
        None, files, weight_format=wanted, trust_remote_code=trust_remote_code, progress=progress
    )


def export_to(
    folder: Path | None,
    files: ModelFiles,
    *,
    weight_format: str | None,
    trust_remote_code: bool,
    progress: Progress,
) -> Exported:
    """Export a PyTorch model into a folder, or into the cache where ``folder`` is ``None``.

    A folder takes the export from the cache if it is there, and adds none to it. What is in the
    folder is replaced: the caller has asked whether it may be.
    """
    plan = _plan(files, weight_format, trust_remote_code, folder, progress)
    target = folder or plan.entry
    if folder is None and cache.damage(plan.entry) is None:
        return _from(plan.entry, was_there=True)
    try:
        cache.sweep(target.parent)
        with cache.locked(target, lambda: progress(f"Waiting: {_another(files)}.")):
            return _made(plan, target, progress)
    except OSError as error:
        raise ModelError(
            f"{files.name!r} could not be exported into {target.parent}: {error}. Give another "
            "folder with hfnb.export(model, folder) and load that one; the cache itself moves with "
            "the environment variable XDG_CACHE_HOME."
        ) from error


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What is to be exported, and where it is kept."""

    files: ModelFiles
    checkpoint: formats.Checkpoint
    weight_format: str
    export_task: str
    trust_remote_code: bool
    source: str
    versions: dict[str, str]
    entry: Path


def _plan(
    files: ModelFiles,
    weight_format: str | None,
    trust_remote_code: bool,
    folder: Path | None,
    progress: Progress,
) -> _Plan:
    packages = versions()
    checkpoint = formats.read_checkpoint(files.name, files.folder, files.config)
    kept_as = weight_format or checkpoint.precision
    if kept_as not in ("int8", "int4"):
        packages.pop("nncf")
    # A name that follows from the content: a copy of a folder is the same model.
    name = (commit_of(files.folder) or (str(files.config.get("model_type")), ""))[0]
    if not cache.has_any("exports", [name, kept_as]):
        # Now, since it takes minutes to read a large model's files.
        room = formats.room_for(checkpoint, kept_as)
        formats.check_room(files.name, room, kept_as, folder or cache.root())

    def reading(file: Path) -> None:
        progress(f"Reading {file.name} of {files.name}, to know it again.")

    source = identity_of(files.folder, with_code=trust_remote_code, reading=reading)
    export_task = EXPORT_TASKS.get(files.task, SEQ2SEQ_TASK)
    key = {
        "source": source,
        "task": export_task,
        "weight_format": kept_as,
        "code": trust_remote_code,
        "versions": packages,
    }
    entry = cache.entry("exports", [name, kept_as], key)
    return _Plan(
        files, checkpoint, kept_as, export_task, trust_remote_code, source, packages, entry
    )


def _made(plan: _Plan, target: Path, progress: Progress) -> Exported:
    """Make an export, or copy it from the cache, while its lock is held."""
    name = plan.files.name
    problem = cache.damage(plan.entry)
    if problem is None and target == plan.entry:
        return _from(target, was_there=True)
    with cache.building(target) as part:
        if problem is None and (kept := cache.read_manifest(plan.entry)) is not None:
            progress(f"Copying the export of {name} from the cache to {target}.")
            shutil.copytree(plan.entry, part, dirs_exist_ok=True)
            cache.publish(part, target, dataclasses.asdict(kept))
            return _from(target, was_there=True)
        if plan.entry.exists():
            progress(f"The export of {name} in the cache is damaged: {problem}.")
        room = formats.room_for(plan.checkpoint, plan.weight_format)
        formats.check_room(name, room, plan.weight_format, target.parent)
        progress(f"Exporting {name} to OpenVINO ({plan.weight_format}), once.")
        began = time.time()
        job = {
            "do": "export",
            "model": name,
            "source": str(plan.files.folder),
            "part": str(part),
            "export_task": plan.export_task,
            "left": plan.export_task in EXPORT_TASKS.values(),
            "weight_format": plan.weight_format,
            "dtype": formats.dtype_to_load(plan.weight_format, plan.checkpoint.precision),
            "trust_remote_code": plan.trust_remote_code,
        }
        result = child.run(job, lambda step: progress(f"  {step} ..."))
        if identity_of(plan.files.folder, with_code=plan.trust_remote_code) != plan.source:
            raise ModelFilesError(
                f"The files of {name!r} changed while they were exported. Load it again."
            )
        manifest = cache.publish(
            part,
            target,
            {
                "model": name,
                "source": plan.source,
                "task": plan.files.task,
                "weight_format": plan.weight_format,
                "when": began,
                "seconds": time.time() - began,
                "notes": result["notes"],
                "versions": plan.versions,
            },
        )
    took = f"{manifest.size / 1e6:,.0f} MB in {manifest.seconds:.0f} s"
    progress(f"Exported {name}: {took}, kept in {target}.")
    return _from(target, was_there=False)


def _another(files: ModelFiles) -> str:
    return f"another process or thread exports {files.name} to OpenVINO"


def _from(folder: Path, *, was_there: bool) -> Exported:
    manifest = cache.read_manifest(folder)
    assert manifest is not None
    tokenizer = folder if has_tokenizer(folder) else None
    return Exported(folder, manifest.weight_format, tokenizer, manifest.notes, was_there)


def _as_it_is(
    files: ModelFiles, wanted: str | None, trust_remote_code: bool, progress: Progress
) -> Exported | None:
    """Take a folder that is exported already; convert its tokenizer where it has only its own.

    ``None`` if another format is wanted, and it holds the weights to export it from.
    """
    folder = files.folder
    manifest = cache.read_manifest(folder)
    if manifest is not None and (problem := cache.damage(folder, only=(".xml", ".bin"))):
        raise ModelFilesError(
            f"The exported model {files.name!r} is damaged: {problem}. Export it again, with "
            "hfnb.export(model, folder, overwrite=True), or get its files again."
        )
    found = manifest.weight_format if manifest else weight_format_of(folder)
    if wanted is not None and wanted != found:
        if weight_files(folder):
            return None
        raise OptionError(
            f"{files.name!r} is exported already, with weight_format={found!r}: it can't become "
            f"{wanted!r}. Leave weight_format out, or give the model that it was exported from."
        )
    notes = manifest.notes if manifest else ()
    if has_tokenizer(folder):
        return Exported(folder, found, folder, notes)
    if manifest is not None:  # we tried when it was exported, and its notes say why not
        return Exported(folder, found, None, notes)
    return Exported(folder, found, _tokenizer_beside(files, trust_remote_code, progress), notes)


def _tokenizer_beside(files: ModelFiles, trust_remote_code: bool, progress: Progress) -> Path:
    """Return a folder in the cache with a folder's tokenizer, converted: the user's stays as is."""
    packages = versions()
    packages.pop("nncf")
    left = exported_task(files.folder) == "text-generation"
    source = identity_of(files.folder, with_code=trust_remote_code, with_weights=False)
    key = {"source": source, "left": left, "code": trust_remote_code, "versions": packages}
    entry = cache.entry("tokenizers", [str(files.config.get("model_type"))], key)
    if cache.damage(entry) is None:
        return entry
    cache.sweep(entry.parent)
    with cache.locked(entry, lambda: progress(f"Waiting: {_another(files)}.")):
        if cache.damage(entry) is None:
            return entry
        progress(f"Converting the tokenizer of {files.name} for OpenVINO, once.")
        began = time.time()
        with cache.building(entry) as part:
            job = {
                "do": "tokenizer",
                "model": files.name,
                "source": str(files.folder),
                "part": str(part),
                "left": left,
                "trust_remote_code": trust_remote_code,
            }
            child.run(job, lambda _step: None)
            cache.publish(
                part,
                entry,
                {
                    "model": files.name,
                    "source": source,
                    "task": "tokenizer",
                    "weight_format": "",
                    "when": began,
                    "seconds": time.time() - began,
                    "notes": (),
                    "versions": packages,
                },
            )
    return entry


def versions() -> dict[str, str]:
    """Return the versions of the packages that an export depends on, without importing them.

    Raises:
        MissingExtraError: One of them is not installed.
    """
    found = {}
    for name in (*_PACKAGES, "nncf"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            raise MissingExtraError(
                f"backend='openvino' needs the package {name}, which is not installed. Run "
                "pip install 'hfnb[openvino]'."
            ) from None
    return found
