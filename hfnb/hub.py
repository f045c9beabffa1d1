"""Find a model: packaged with hfnb, a local folder, or on the Hub; and check its files.

Everything ends as a folder whose files were checked, before torch is imported.
"""

from __future__ import annotations

import dataclasses
import json
import re
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
from hfnb.hub_fetch import EXPORTS, fetch
from hfnb.spec import ModelSpec, Task
from hfnb.weights import check_weights

_DEMO = Path(__file__).parent / "demo"
_HUB_ID = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_LONGEST_HUB_ID = 96
SEQ2SEQ_TASKS: tuple[Task, ...] = ("text2text-generation", "translation", "summarization")
_NOT_TEXT = frozenset(
    "whisper speech_to_text speecht5 moonshine vision-encoder-decoder pix2struct seamless_m4t "
    "seamless_m4t_v2 musicgen musicgen_melody bark donut-swin kosmos-2 udop".split()
)
# transformers has a decoder class for each of these; an ordinary checkpoint gives noise with it.
_ENCODERS = frozenset(
    "albert bert big_bird camembert convbert data2vec-text deberta deberta-v2 distilbert electra "
    "ernie esm eurobert longformer megatron-bert modernbert mpnet nomic_bert rembert roberta "
    "roberta-prelayernorm roc_bert roformer squeezebert xlm-roberta xlm-roberta-xl xmod".split()
)
_VOCABULARIES = (
    *("tokenizer.json", "tokenizer.model", "*.model", "*.spm", "*.tiktoken", "tekken.json"),
    *("vocab*.json", "vocab*.txt", "*.codes"),
)
"""The files that tokenizers keep their vocabularies in."""


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
    folder = _as_path(spec.model)
    if folder is not None and folder.is_dir():
        return _checked(spec, folder)
    if folder is not None and folder.is_file():
        raise ModelFilesError(
            f"{spec.model!r} is a file. Give the folder that holds the model: config.json, "
            "the tokenizer, and *.safetensors."
        )
    if _looks_like_a_path(spec.model):
        raise ModelNotFoundError(f"There is no folder {spec.model!r}. Check the path.")
    if not is_hub_id(spec.model):
        raise ModelNotFoundError(
            f"{spec.model!r} is neither a folder nor the id of a model on the Hub, which looks "
            "like 'gpt2' or 'Qwen/Qwen3-0.6B'."
        )

    def check(folder: Path) -> None:
        check_task(spec, _read_config(spec.model, folder))

    return _checked(spec, fetch(spec, check, packed))


def tasks_of(config: Mapping[str, Any]) -> tuple[Task, ...]:
    """Return the tasks that a model can do, by its config; none when hfnb can't run it."""
    kind = str(config.get("model_type", ""))
    architectures = _architectures(config)
    head = architectures[0] if architectures else ""
    if kind in _NOT_TEXT:
        return ()
    if config.get("is_encoder_decoder"):
        # T5WithLMHeadModel is what T5ForConditionalGeneration was called at first.
        ends = ("ForConditionalGeneration", "MTModel", "T5WithLMHeadModel")
        return SEQ2SEQ_TASKS if not head or head.endswith(ends) else ()
    if kind in _ENCODERS and not config.get("is_decoder"):
        return ()
    if head.endswith(("ForCausalLM", "LMHeadModel")):
        return ("text-generation",)
    return _tasks_by_transformers(kind) if not head else ()


def _architectures(config: Mapping[str, Any]) -> list[str]:
    named = config.get("architectures")
    return [str(each) for each in named] if isinstance(named, list) else []


def _tasks_by_transformers(kind: str) -> tuple[Task, ...]:
    """Ask transformers about a config that names no architecture. Slow: it imports transformers."""
    from transformers.models.auto import modeling_auto

    if kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        return ("text-generation",)
    if kind in modeling_auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES:
        return SEQ2SEQ_TASKS
    return ()


def _as_path(model: str) -> Path | None:
    """Return a name as a path, or ``None`` where this system can have no such path."""
    try:
        folder = Path(model).expanduser()
        folder.exists()
    except (OSError, RuntimeError, ValueError):  # too long a name, no such user, a null character
        return None
    return folder


def is_hub_id(model: str) -> bool:
    """Whether the Hub would take it as a model's id, by the rules of ``validate_repo_id``."""
    return (
        bool(_HUB_ID.fullmatch(model))
        and len(model) <= _LONGEST_HUB_ID
        and not any(each in model for each in ("..", "--"))
        and not model.endswith((".git", ".", "-"))
        and "-/" not in model
        and "./" not in model
    )


def _looks_like_a_path(model: str) -> bool:
    return model.startswith((".", "/", "~", "\\")) or model.count("/") > 1 or ":\\" in model


def _checked(spec: ModelSpec, folder: Path) -> ModelFiles:
    config = _read_config(spec.model, folder)
    task = check_task(spec, config)
    if not (spec.backend == "openvino" and any(folder.glob(EXPORTS))):
        check_weights(spec.model, folder, allow_pickle=spec.allow_pickle)
    _check_tokenizer(spec, folder)
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
    except (ValueError, OSError, RecursionError) as error:
        raise ModelFilesError(
            f"{file} can't be read as JSON ({error}). Get the file again."
        ) from error
    if not isinstance(config, dict):
        raise ModelFilesError(f"{file} does not hold a JSON object. Get the file again.")
    return config


def check_task(spec: ModelSpec, config: Mapping[str, Any]) -> Task:
    """Return the task that a model is loaded for, or say that it can't do it.

    Raises:
        ModelError: It does none that hfnb runs.
        OptionError: It can't do the one that was asked for.
    """
    can = tasks_of(config)
    what = ", ".join(_architectures(config)) or config.get("model_type", "no model type")
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


def _check_tokenizer(spec: ModelSpec, folder: Path) -> None:
    """Look for a vocabulary. Without one, transformers makes an empty tokenizer and says nothing.

    A tokenizer with code of its own may keep its vocabulary anywhere.
    """
    if spec.trust_remote_code or any(any(folder.glob(each)) for each in _VOCABULARIES):
        return
    raise ModelFilesError(
        f"{spec.model!r} has no tokenizer. Expected tokenizer.json beside its weights: save it "
        "there with tokenizer.save_pretrained, or copy it from the model that this one is made of."
    )
