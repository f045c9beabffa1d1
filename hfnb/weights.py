"""A model's weight files, read by their headers: there, safetensors, whole, and how large."""

from __future__ import annotations

import fnmatch
import json
import math
import struct
from collections import Counter
from pathlib import Path
from typing import NoReturn

from hfnb.errors import ModelFilesError, listing

_LFS_POINTER = b"version https://git-lfs"
PICKLES = ["pytorch_model*.bin"]


def check_weights(name: str, folder: Path, *, allow_pickle: bool = False) -> None:
    """Check that a model's weights are there, are safetensors, and are whole.

    Only the headers are read.

    Raises:
        ModelFilesError: What is wrong, and what to do.
    """
    index = folder / "model.safetensors.index.json"
    if (folder / "model.safetensors").is_file():  # transformers looks for it first, too
        shards = ["model.safetensors"]
    elif index.is_file():
        try:
            weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
            shards = sorted({str(each) for each in weight_map.values()})
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
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
        inside = sorted(each.name for each in folder.iterdir())
        _refuse_without_safetensors(name, inside, allow_pickle=allow_pickle)
    for each in shards:
        _check_safetensors(folder / each)


def say_why_no_weights(name: str, folder: Path, on_the_hub: list[str] | None) -> NoReturn:
    """Raise for a folder in the HF cache that lacks weights."""
    if on_the_hub is None:
        raise ModelFilesError(
            f"{name!r} is in the HF cache without its weights ({folder}), and the Hub can't be "
            "asked. Load it once while connected, without HF_HUB_OFFLINE or local_files_only."
        )
    _refuse_without_safetensors(name, on_the_hub, allow_pickle=False)
    raise AssertionError("a folder without weights was not refused")


def _refuse_without_safetensors(name: str, files: list[str], *, allow_pickle: bool) -> None:
    if fnmatch.filter(files, "pytorch_model*.bin"):
        if allow_pickle:
            return
        raise ModelFilesError(
            f"{name!r} has its weights only as pickles (pytorch_model.bin), and loading a pickle "
            "can run code. If you trust its source, pass allow_pickle=True; better, convert it "
            "to safetensors."
        )
    if fnmatch.filter(files, "openvino*.xml"):
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
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            start = stream.read(len(_LFS_POINTER))
            if start == _LFS_POINTER:
                raise ModelFilesError(
                    f"{file} is only Git LFS's note of where the weights are. Run `git lfs pull` "
                    "in the folder, or get the model again."
                )
            (length,) = struct.unpack("<Q", start[:8])
            if length > size - 8:
                raise ValueError("the header is cut off")
            stream.seek(8)
            header = json.loads(stream.read(length))
        ends = [v["data_offsets"][1] for k, v in header.items() if k != "__metadata__"]
        promised = 8 + length + max(ends, default=0)
    except OSError as error:
        raise ModelFilesError(f"{file} can't be read ({error}). Get the file again.") from error
    except (ValueError, struct.error, LookupError, TypeError, AttributeError) as error:
        raise ModelFilesError(
            f"{file} is not a whole safetensors file ({error}). Get the file again."
        ) from error
    if size != promised:
        what = "truncated" if size < promised else "damaged"
        raise ModelFilesError(
            f"{file} is {what}: it has {size:,} of {promised:,} bytes. Get the file again."
        )


def weight_files(folder: Path) -> list[Path]:
    """Return the files that transformers loads a model's weights from, in its order of choice."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.is_file():
        return [single]
    if index.is_file():
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return sorted({folder / str(each) for each in weight_map.values()})
    return sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))


def parameters_by_dtype(file: Path) -> Counter[str]:
    """Count a safetensors file's parameters by its header, which `check_weights` has checked."""
    with file.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(8))
        header = json.loads(stream.read(length))
    counts: Counter[str] = Counter()
    for name, each in header.items():
        if name != "__metadata__":
            counts[each["dtype"]] += math.prod(each["shape"])
    return counts
