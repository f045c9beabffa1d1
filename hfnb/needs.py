"""What a model needs of memory, by its config, its weights' headers, and what was measured.

Measured with random Llamas of 100 and 500 million parameters in float32 and bfloat16, on a CPU;
``python bench/run.py estimate`` compares what is told here with what a machine really takes.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnb import sizes
from hfnb.engines import batches, openvino_formats
from hfnb.engines.openvino_folder import is_exported, weight_format_of
from hfnb.engines.openvino_load import parameters_of, weight_bytes_of
from hfnb.exporting import exports
from hfnb.machine import Device
from hfnb.sizes import Weights
from hfnb.spec import ModelSpec, Task

_LIBRARIES = {"transformers": 575_000_000, "openvino_genai": 145_000_000, "optimum": 690_000_000}
"""Resident bytes of what a backend imports, by the module that tells whether it has been."""
_LOOP, _OPENVINO = 20_000_000, 40_000_000
"""Resident bytes of what each sets up: a tokenizer, threads, the tables of a first call."""
_LAYERS_AT_ONCE = 3
"""How many of a layer's results PyTorch holds at once in a forward pass."""


@dataclasses.dataclass(frozen=True)
class Needs:
    """What a model needs of memory, in bytes."""

    parameters: int
    dtype: str
    """What it computes in; for OpenVINO also what its weights are kept in."""
    weights: int
    """In memory, once loaded."""
    setup: int
    """A tokenizer, what a first call sets up, and the like."""
    loading: int
    """The most while it loads."""
    libraries: int
    token: int
    """Keys and values of one token."""
    compute: int
    """A forward pass, for each of its tokens."""
    logits: int
    """The chances of all words, for each row."""
    pass_tokens: int
    """Tokens of one forward pass, unless a single prompt has more."""
    rows: batches.Rows
    """Rows that are computed together unless the caller says otherwise."""
    export: int = 0
    """The process that exports it."""
    disk: int = 0
    """What is written to disk."""

    def kv(self, rows: int, prompt: int, new: int) -> int:
        """Return the bytes of keys and values of rows at their longest."""
        return rows * (prompt + new) * self.token

    def computing(self, rows: int, prompt: int) -> int:
        """Return the bytes that a forward pass takes besides."""
        tokens = min(rows * prompt, max(self.pass_tokens, prompt))
        return tokens * self.compute + rows * self.logits

    def total(self, rows: int, prompt: int, new: int) -> int:
        """Return the most bytes that are taken while it loads and runs."""
        running = self.weights + self.kv(rows, prompt, new) + self.computing(rows, prompt)
        return self.libraries + max(self.loading, self.setup + running)


def with_torch(
    spec: ModelSpec, config: Mapping[str, Any], weights: Weights, place: Device, *, here: bool
) -> Needs:
    """Return what PyTorch needs for a model.

    Args:
        spec: What is to be loaded.
        config: The model's config.json.
        weights: What its weight files hold.
        place: The device.
        here: Whether its files are on this machine.
    """
    on_cpu = place.name == "cpu"
    dtype = weights.dtype if spec.dtype == "auto" else spec.dtype
    if spec.dtype == "auto" and "quantization_config" not in config:
        if place.bfloat16:
            dtype = "bfloat16"
        elif dtype == "float16" and on_cpu:
            dtype = "float32"
    in_memory = weights.bytes_as("auto" if "quantization_config" in config else dtype)
    computed = sizes.BYTES.get(dtype, 2)
    # A checkpoint in this dtype is mapped; another is read beside what is made of it.
    loading = in_memory if dtype == weights.dtype else in_memory + weights.file_bytes
    shown = dtype
    if spec.weight_format is not None:
        in_memory = sizes.quantised_bytes(weights, config, spec.weight_format, dtype)
        shown = f"{dtype}, weights {spec.weight_format}"
    return Needs(
        parameters=weights.parameters,
        dtype=shown,
        weights=in_memory,
        setup=_LOOP if on_cpu else 0,
        loading=loading if on_cpu else in_memory,
        libraries=_libraries("transformers") if on_cpu else 0,
        token=sizes.kv_bytes_per_token(config, "f32" if computed >= 4 else "f16"),
        compute=_LAYERS_AT_ONCE * sizes.bytes_to_compute(config, computed),
        logits=2 * 4 * sizes.vocabulary(config),
        pass_tokens=batches.prefill_tokens(place.name.partition(":")[0]),
        rows=batches.torch_rows(place.name.partition(":")[0], weights.parameters),
        disk=0 if here else weights.file_bytes,
    )


def with_openvino(
    spec: ModelSpec,
    config: Mapping[str, Any],
    weights: Weights | None,
    task: Task,
    place: Device,
    folder: Path | None,
) -> Needs:
    """Return what OpenVINO needs for a model, and its export where one has to be made.

    OpenVINO maps the weights' file and packs what it multiplies in an order of its own: it takes
    both, until the system needs the pages of the file for something else.
    """
    kept_as, parameters, file, export, disk = _exported(spec, weights, config, folder)
    computed = 2 if place.bfloat16 else 4
    packed, embeddings = file, 0
    if kept_as in ("int8", "int4"):  # embeddings are looked up, which needs them as numbers
        embeddings = sizes.vocabulary(config) * sizes.embedding_width(config) * computed
    else:
        packed = parameters * computed
    in_batches = task == "text-generation" and not place.name.startswith("NPU")
    return Needs(
        parameters=parameters,
        dtype=f"{'bf16' if place.bfloat16 else 'f32'}, weights {kept_as}",
        weights=file + packed + embeddings,
        setup=_OPENVINO,
        loading=file + packed,
        libraries=_libraries("openvino_genai" if in_batches else "optimum"),
        token=sizes.kv_bytes_per_token(config, "f16"),
        compute=sizes.bytes_to_compute(config, computed),
        logits=2 * 4 * sizes.vocabulary(config),
        pass_tokens=batches.openvino_step_tokens(parameters),
        rows=batches.openvino_rows(parameters),
        export=export,
        disk=disk,
    )


def _exported(
    spec: ModelSpec, weights: Weights | None, config: Mapping[str, Any], folder: Path | None
) -> tuple[str, int, int, int, int]:
    """Return an export's format, parameters and bytes; and the memory and disk to make it."""
    if folder is not None and is_exported(folder):
        file = weight_bytes_of(folder)
        return weight_format_of(folder), parameters_of(folder), file, 0, 0
    assert weights is not None
    checkpoint = openvino_formats.checkpoint_of(weights)
    kept_as = spec.weight_format or checkpoint.precision
    for each in exports(spec.model, kept_as):
        if each.whole:
            return kept_as, weights.parameters, weight_bytes_of(each.path), 0, 0
    room = openvino_formats.room_for(checkpoint, kept_as)
    file = int(weights.parameters * openvino_formats.BYTES_PER_PARAMETER[kept_as])
    fetched = 0 if folder is not None else weights.file_bytes
    return kept_as, weights.parameters, file, room.memory, room.disk + fetched


def _libraries(module: str) -> int:
    """Return the bytes that a backend's libraries will take; 0 where they are imported already."""
    return 0 if module in sys.modules else _LIBRARIES[module]
