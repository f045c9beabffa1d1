"""Find a model: packaged with hfnb, a local folder, or on the Hub; and check its files.

Everything ends as a folder whose files were checked, before torch is imported.
"""

from __future__ import annotations

import dataclasses
import json
import re
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnb.errors import (
    ModelError,
    ModelFilesError,
    ModelNotFoundError,
    OptionError,
    closest,
    listing,
)
from hfnb.spec import ModelSpec, Task

_DEMO = Path(__file__).parent / "demo"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_SEQ2SEQ_TASKS: tuple[Task, ...] = ("text2text-generation", "translation", "summarization")
_NOT_TEXT = frozenset(
    "whisper speech_to_text speecht5 moonshine vision-encoder-decoder pix2struct seamless_m4t "
    "seamless_m4t_v2 musicgen musicgen_melody bark donut-swin kosmos-2 udop".split()
)
_FILES = ["*.json", "*.safetensors", "*.txt", "*.model", "*.jinja", "*.tiktoken"]
_PICKLES = ["pytorch_model*.bin"]


@dataclasses.dataclass(frozen=True)
class ModelFiles:
    """A model that was found."""

    name: str
    """What the user called it."""
    folder: Path
    task: Task
    config: Mapping[str, Any]


def packaged() -> dict[str, Path]:
    """Return the models that come with hfnb: name to folder."""
    folders = sorted(each for each in _DEMO.iterdir() if (each / "config.json").is_file())
    return {f"hfnb/{each.name}": each for each in folders}


def find(spec: ModelSpec) -> ModelFiles:
    """Find a model, fetch it from the Hub where needed, and check its files and its task.

    Raises:
        ModelNotFoundError: There is no such model, with the closest name that is here.
        ModelFilesError: Files are missing, truncated, of another backend, or pickles.
        OptionError: The model can't do the task that was asked for.
    """
    packed = packaged()
    if spec.model in packed:
        return _checked(spec, packed[spec.model])
    if spec.model.startswith("hfnb/"):
        raise ModelNotFoundError(
            f"There is no packaged model {spec.model!r}.{closest(spec.model, packed)} "
            f"hfnb comes with {listing(packed)}."
        )
    folder = Path(spec.model).expanduser()
    if folder.is_dir():
        return _checked(spec, folder)
    if folder.is_file():
        raise ModelFilesError(
            f"{spec.model!r} is a file. Give the folder that holds the model: config.json, "
            "the tokenizer, and *.safetensors."
        )
    if _looks_like_a_path(spec.model):
        raise ModelNotFoundError(f"There is no folder {spec.model!r}. Check the path.")
    if not _HUB_ID.fullmatch(spec.model) or ".." in spec.model:
        raise ModelNotFoundError(
            f"{spec.model!r} is neither a folder nor the id of a model on the Hub, which looks "
            "like 'gpt2' or 'Qwen/Qwen3-0.6B'."
        )
    return _checked(spec, _fetch(spec))


def tasks_of(config: Mapping[str, Any]) -> tuple[Task, ...]:
    """Return the tasks that a model can do, by its config; none when hfnb can't run it."""
    kind = str(config.get("model_type", ""))
    architectures = config.get("architectures") or []
    head = str(architectures[0]) if architectures else ""
    if kind in _NOT_TEXT:
        return ()
    if config.get("is_encoder_decoder"):
        fits = not head or head.endswith(("ForConditionalGeneration", "MTModel"))
        return _SEQ2SEQ_TASKS if fits else ()
    if head.endswith(("ForCausalLM", "LMHeadModel")):
        return ("text-generation",)
    return _tasks_by_transformers(kind) if not head else ()


def _tasks_by_transformers(kind: str) -> tuple[Task, ...]:
    """Ask transformers about a config that names no architecture. Slow: it imports transformers."""
    from transformers.models.auto import modeling_auto

    if kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return ("text-generation",)
    if kind in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return _SEQ2SEQ_TASKS
    return ()


def _looks_like_a_path(model: str) -> bool:
    return model.startswith((".", "/", "~", "\\")) or model.count("/") > 1 or ":\\" in model


def _checked(spec: ModelSpec, folder: Path) -> ModelFiles:
    config = _read_config(spec.model, folder)
    task = _check_task(spec, config)
    check_weights(spec.model, folder, allow_pickle=spec.allow_pickle)
    return ModelFiles(spec.model, folder, task, config)


def _read_config(name: str, folder: Path) -> dict[str, Any]:
    file = folder / "config.json"
    if not file.is_file():
        inside = sorted(each.name for each in folder.iterdir())
        what = f"It holds {listing(inside, 6)}." if inside else "It is empty."
        raise ModelFilesError(
            f"The folder {name!r} is not a model: it has no config.json. {what} Give the folder "
            "that holds config.json, the tokenizer, and *.safetensors."
        )
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise ModelFilesError(
            f"{file} can't be read as JSON ({error}). Get the file again."
        ) from error
    if not isinstance(config, dict):
        raise ModelFilesError(f"{file} does not hold a JSON object. Get the file again.")
    return config


def _check_task(spec: ModelSpec, config: Mapping[str, Any]) -> Task:
    can = tasks_of(config)
    what = ", ".join(config.get("architectures") or []) or config.get("model_type", "no model type")
    if not can:
        raise ModelError(
            f"hfnb can't run {spec.model!r} ({what}): it is neither a text decoder "
            "(text-generation) nor a text encoder-decoder (text2text-generation, translation, "
            "summarization). Choose a model whose Hub page names one of these tasks."
        )
    if spec.task is None:
        return can[0]
    if spec.task not in can:
        raise OptionError(
            f"{spec.model!r} ({what}) can't do task={spec.task!r}. It does {listing(can)}: use "
            f"task={can[0]!r}, or leave task out."
        )
    return spec.task


def check_weights(name: str, folder: Path, *, allow_pickle: bool = False) -> None:
    """Check that a model's weights are there, are safetensors, and are whole.

    Only the headers are read.

    Raises:
        ModelFilesError: What is wrong, and what to do.
    """
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (ValueError, KeyError, AttributeError) as error:
            raise ModelFilesError(f"{index} is damaged ({error}). Get the file again.") from error
        missing = [each for each in shards if not (folder / each).is_file()]
        if missing:
            raise ModelFilesError(
                f"{name!r} lacks {len(missing)} of its {len(shards)} weight files: "
                f"{listing(missing, 4)}. Get the model again."
            )
    else:
        shards = sorted(each.name for each in folder.glob("*.safetensors"))
    if not shards:
        _refuse_without_safetensors(name, folder, allow_pickle=allow_pickle)
    for each in shards:
        _check_safetensors(folder / each)


def _refuse_without_safetensors(name: str, folder: Path, *, allow_pickle: bool) -> None:
    if list(folder.glob("pytorch_model*.bin")):
        if allow_pickle:
            return
        raise ModelFilesError(
            f"{name!r} has its weights only as pickles (pytorch_model.bin), and loading a pickle "
            "can run code. If you trust its source, pass allow_pickle=True; better, convert it "
            "to safetensors."
        )
    if list(folder.glob("openvino*.xml")):
        raise ModelFilesError(
            f"{name!r} holds an exported OpenVINO model and no weights for PyTorch. "
            "Use backend='openvino', or give the folder it was exported from."
        )
    raise ModelFilesError(
        f"{name!r} has a config.json and no weights. Expected model.safetensors beside it."
    )


def _check_safetensors(file: Path) -> None:
    """Compare a safetensors file's size with what its header promises.

    The format: 8 bytes with the header's length, the header as JSON, then the tensors' bytes
    (https://github.com/huggingface/safetensors#format).
    """
    size = file.stat().st_size
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            if length > size:
                raise ValueError("the header is cut off")
            header = json.loads(stream.read(length))
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        promised = 8 + length + max(ends, default=0)
    except (ValueError, struct.error, KeyError, TypeError, AttributeError) as error:
        raise ModelFilesError(
            f"{file} is not a whole safetensors file ({error}). Get the file again."
        ) from error
    if size < promised:
        raise ModelFilesError(
            f"{file} is truncated: it has {size:,} of {promised:,} bytes. Get the file again."
        )


def _fetch(spec: ModelSpec) -> Path:
    """Return the folder in the HF cache, filled from the Hub where it has to be."""
    import huggingface_hub
    from huggingface_hub import constants, errors

    name, revision = spec.model, spec.revision
    patterns = [*_FILES, *(_PICKLES if spec.allow_pickle else [])]
    patterns += ["*.py"] if spec.trust_remote_code else []
    try:
        config = huggingface_hub.hf_hub_download(name, "config.json", revision=revision)
        _check_task(spec, _read_config(name, Path(config).parent))
        return Path(
            huggingface_hub.snapshot_download(
                name, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]
            )
        )
    except errors.GatedRepoError as error:
        raise ModelNotFoundError(
            f"{name!r} is gated. Accept its terms at https://huggingface.co/{name}, then log in "
            "on this machine with `hf auth login`."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFoundError(f"{name!r} has no revision {revision!r}.") from error
    except errors.RepositoryNotFoundError as error:
        near = closest(name, [*packaged(), *_cached(Path(constants.HF_HUB_CACHE))])
        raise ModelNotFoundError(
            f"The Hub has no model {name!r}, or it is private.{near} For a private model, log in "
            "with `hf auth login`."
        ) from error
    except errors.EntryNotFoundError as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            here = _cached(Path(constants.HF_HUB_CACHE))
            why = (
                "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub can't be reached"
            )
            raise ModelNotFoundError(
                f"{name!r} is neither a packaged model, nor a folder, nor in the HF cache, and "
                f"{why}.{closest(name, [*packaged(), *here])} Here are "
                f"{listing([*packaged(), *here])}."
            ) from error
        raise ModelFilesError(f"{name!r} on the Hub has no config.json: it is no model.") from error
    except errors.HfHubHTTPError as error:
        raise ModelNotFoundError(f"The Hub did not give {name!r}: {error}") from error


def _cached(cache: Path) -> list[str]:
    """Return the ids of the models in the HF cache."""
    folders = cache.glob("models--*") if cache.is_dir() else ()
    return sorted(each.name.removeprefix("models--").replace("--", "/", 1) for each in folders)
