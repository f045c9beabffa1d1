"""One model of a list, and what its files tell of it without loading anything."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnb.engines.openvino_folder import exported_task, weight_format_of
from hfnb.engines.openvino_load import parameters_of
from hfnb.errors import ModelFilesError
from hfnb.hub import SEQ2SEQ_TASKS, tasks_of
from hfnb.sizes import Weights, context_length, weights_of
from hfnb.spec import Task
from hfnb.weights import check_weights


@dataclasses.dataclass(frozen=True)
class ModelEntry:
    """A model that can be picked."""

    name: str
    """What `hfnb.load` takes."""
    source: str
    """``"packaged"``, ``"folder"``, ``"export"``, ``"cache"`` or ``"hub"``."""
    tasks: tuple[Task, ...]
    """What it can do; the first is what it is loaded for unless another is asked for."""
    backends: tuple[str, ...]
    """Those that can run it: ``"pytorch"``, ``"openvino"``."""
    parameters: int | None
    dtype: str
    """What most weights are kept in: ``"float32"``, ``"bfloat16"``, ``"int8"``, ..."""
    size: int | None
    """Bytes of its files on disk; of its weights on the Hub."""
    context_length: int | None
    """The most tokens, prompt and answer together; ``None`` without a limit, or if not known."""
    has_chat_template: bool
    folder: Path | None = None
    """Where its files are; ``None`` on the Hub."""
    downloads: int | None = None
    """From the Hub, in the last 30 days."""
    license: str = ""
    gated: bool = False
    """Whether the Hub gives it only to those who have accepted its terms."""

    @property
    def task(self) -> Task:
        """What it is loaded for unless another task is asked for."""
        return self.tasks[0]


def entry_of(name: str, folder: Path, source: str) -> ModelEntry | None:
    """Return what a folder's files tell of its model; ``None`` where hfnb can't run it."""
    config = read_json(folder / "config.json")
    if not config:
        return None
    exported = exported_task(folder)
    weights = _weights(name, folder, config)
    tasks = _tasks(config)
    if exported is not None and not tasks:
        tasks = ("text-generation",) if exported == "text-generation" else SEQ2SEQ_TASKS
    if not tasks or (weights is None and exported is None):
        return None
    backends = backends_of(config, has_weights=weights is not None, exported=exported is not None)
    return ModelEntry(
        name=name,
        source=source,
        tasks=tasks,
        backends=backends,
        parameters=weights.parameters if weights else parameters_of(folder),
        dtype=weights.dtype if weights else weight_format_of(folder),
        size=sum(each.stat().st_size for each in folder.iterdir() if each.is_file()),
        context_length=context_length(config) if tasks == ("text-generation",) else None,
        has_chat_template=(folder / "chat_template.jinja").is_file()
        or bool(read_json(folder / "tokenizer_config.json").get("chat_template")),
        folder=folder,
    )


def backends_of(config: Mapping[str, Any], *, has_weights: bool, exported: bool) -> tuple[str, ...]:
    """Return the backends that can run a model, as far as its files tell."""
    if not has_weights:
        return ("openvino",) if exported else ()
    # Quantised weights are PyTorch's own; OpenVINO quantises when it exports.
    quantised = bool(config.get("quantization_config")) and not exported
    return ("pytorch",) if quantised else ("pytorch", "openvino")


def read_json(file: Path) -> dict[str, Any]:
    """Return a JSON object; an empty one where the file is not there, or holds something else."""
    try:
        read = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def _tasks(config: Mapping[str, Any]) -> tuple[Task, ...]:
    """Return a model's tasks; transformers, which is slow to import, is not asked."""
    return tasks_of(config) if config.get("architectures") else ()


def _weights(name: str, folder: Path, config: Mapping[str, Any]) -> Weights | None:
    """Return what a folder's safetensors hold; ``None`` without, and where they are damaged."""
    try:
        check_weights(name, folder)
    except ModelFilesError:
        return None
    return weights_of(folder, config)
