"""The weight formats of an OpenVINO export: their names, the best one, and the room they need."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hfnb import hardware
from hfnb.errors import ModelError, OptionError, closest, listing
from hfnb.sizes import Weights, weights_of

WEIGHT_FORMATS = ("fp32", "fp16", "bf16", "int8", "int4")
"""What a weight can be kept as, the largest first."""
_ALIASES = {
    "float32": "fp32",
    "f32": "fp32",
    "float16": "fp16",
    "f16": "fp16",
    "half": "fp16",
    "bfloat16": "bf16",
}
_OF_DTYPE = {"float64": "fp32", "float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}
BYTES_PER_PARAMETER = {"fp32": 4.0, "fp16": 2.0, "bf16": 2.0, "int8": 1.1, "int4": 0.75}
"""Bytes a parameter takes on disk; those of int4 with its scales, and its layers kept in int8."""
_IMPORTS = 750_000_000
"""Resident bytes of torch, transformers, optimum and OpenVINO before anything is loaded."""


def check_weight_format(name: str | None) -> str | None:
    """Return a weight format's one name, or raise `OptionError` with the closest name.

    Args:
        name: One of `WEIGHT_FORMATS`, a dtype's name such as ``"float16"``, or ``None`` for the
            precision of the checkpoint.

    Example:
        >>> check_weight_format("bfloat16")
        'bf16'
    """
    if name is None:
        return None
    found = _ALIASES.get(str(name), str(name))
    if found in WEIGHT_FORMATS:
        return found
    known = (*WEIGHT_FORMATS, *_ALIASES)
    raise OptionError(
        f"Unknown weight_format {name!r}.{closest(name, known)} Use {listing(WEIGHT_FORMATS)}, or "
        "leave it out to keep the precision that the model was saved in."
    )


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """What a model's weight files hold, by their headers."""

    parameters: int
    size: int
    """Bytes of the weight files."""
    precision: str
    """``"fp32"``, ``"fp16"`` or ``"bf16"``: that of most parameters."""


def read_checkpoint(name: str, folder: Path, config: Mapping[str, Any]) -> Checkpoint:
    """Read how many parameters a model has, and in which precision.

    Raises:
        ModelError: Its weights are quantised already.
    """
    quantised = config.get("quantization_config")
    if quantised:
        how = quantised.get("quant_method") if isinstance(quantised, Mapping) else None
        raise ModelError(
            f"The weights of {name!r} are quantised already ({how or 'quantization_config'}), and "
            "hfnb exports only fp32, fp16 and bf16 weights to OpenVINO. Use the model that it was "
            "made of, with weight_format='int8' or 'int4', or backend='pytorch'."
        )
    weights = weights_of(folder, config)
    return checkpoint_of(Weights(0, "float32", 0) if weights is None else weights)


def checkpoint_of(weights: Weights) -> Checkpoint:
    """Return a checkpoint by what its weight files hold."""
    precision = _OF_DTYPE.get(weights.dtype, "fp32")
    return Checkpoint(weights.parameters, weights.file_bytes, precision)


def dtype_to_load(weight_format: str, precision: str) -> str:
    """Return the torch dtype in which a checkpoint is loaded for its export."""
    if weight_format == "fp16":
        return "float32" if precision == "fp32" else "float16"
    kept = precision if weight_format in ("int8", "int4") else weight_format
    return {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[kept]


@dataclasses.dataclass(frozen=True)
class Room:
    """The bytes that an export takes."""

    memory: int
    """The most that the exporting process holds."""
    disk: int
    """The most that lies on disk while it exports."""


def room_for(checkpoint: Checkpoint, weight_format: str) -> Room:
    """Estimate the room that an export takes.

    Measured with random Llamas of 100 and 500 million parameters, the process holds the pages of
    the checkpoint's files, the weights again where they are loaded in another precision, and the
    compressed ones; a seventh more is for the trace and for writing.
    """
    loaded = dtype_to_load(weight_format, checkpoint.precision)
    as_loaded = checkpoint.parameters * (4 if loaded == "float32" else 2)
    converted = as_loaded if _OF_DTYPE[loaded] != checkpoint.precision else 0
    kept = int(checkpoint.parameters * BYTES_PER_PARAMETER[weight_format])
    compressed = weight_format in ("int8", "int4")
    memory = _IMPORTS + int(1.15 * (checkpoint.size + converted)) + (kept if compressed else 0)
    return Room(memory, kept + (as_loaded if compressed else 0) + 50_000_000)


def check_room(name: str, room: Room, weight_format: str, folder: Path) -> None:
    """Refuse an export for which this machine has too little memory or disk.

    Args:
        name: What the user called the model.
        room: What the export takes.
        weight_format: The format it is exported to.
        folder: Where it is written to; it need not exist.

    Raises:
        ModelError: With the figures, and what to do.
    """
    free = hardware.memory_free()
    if room.memory > free:
        raise ModelError(
            f"Exporting {name!r} to OpenVINO ({weight_format}) takes about {_gb(room.memory)} of "
            f"memory, and {_gb(free)} are free. Close other notebooks, or export it on a larger "
            "machine with hfnb.export(model, folder) and load that folder here."
        )
    existing = next(each for each in (folder, *folder.parents) if each.exists())
    free = shutil.disk_usage(existing).free
    if room.disk > free:
        raise ModelError(
            f"Exporting {name!r} to OpenVINO ({weight_format}) takes about {_gb(room.disk)} of "
            f"disk in {existing}, and {_gb(free)} are free. Make room: hfnb.exports() lists the "
            "exports that are kept, and hfnb.exports().remove() deletes them."
        )


def _gb(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"
