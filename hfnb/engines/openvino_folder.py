"""Recognise a folder that holds an exported OpenVINO model, by whatever tool it was made."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from hfnb.hub import tasks_of
from hfnb.spec import Task

TOKENIZER, DETOKENIZER = "openvino_tokenizer.xml", "openvino_detokenizer.xml"
_DECODER = ("openvino_model",)
_SEQ2SEQ = ("openvino_encoder_model", "openvino_decoder_model")
_CONSTANT = re.compile(r'<data element_type="(\w+)"[^>]*? size="(\d+)"')
_TRACE = 0.05
_OF_ELEMENTS = {
    "f64": "fp32",
    "f32": "fp32",
    "f16": "fp16",
    "bf16": "bf16",
    "u8": "int8",
    "i8": "int8",
    "u4": "int4",
    "i4": "int4",
    "nf4": "int4",
}


def is_exported(folder: Path) -> bool:
    """Whether a folder holds an exported model that hfnb can run, by whatever tool it was made.

    Example:
        >>> is_exported(Path("/no/such/folder"))
        False
    """
    return exported_task(folder) is not None


def exported_task(folder: Path) -> Task | None:
    """Return what an exported folder's model does, or ``None`` where it holds none for text.

    A decoder is ``openvino_model.xml``, an encoder-decoder is ``openvino_encoder_model.xml`` and
    ``openvino_decoder_model.xml``, each with its ``.bin``; config.json says what they are.
    """
    can: tuple[Task, ...]
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        can = tasks_of(config) if isinstance(config, dict) else ()
    except (OSError, ValueError):
        can = ("text-generation", "text2text-generation")
    if "text-generation" in can and _has_models(folder, _DECODER):
        return "text-generation"
    if "text2text-generation" in can and _has_models(folder, _SEQ2SEQ):
        return "text2text-generation"
    return None


def weight_format_of(folder: Path) -> str:
    """Return the weight format of an exported model, whatever tool made it.

    It is read from the lines that describe the constants. A model in int4 has its embeddings in
    int8, and they may be most of it: the smallest format that is more than a trace is its name.
    """
    counts: Counter[str] = Counter()
    for file in folder.glob("openvino*_model.xml"):
        for kind, size in _CONSTANT.findall(file.read_text(encoding="utf-8")):
            counts[_OF_ELEMENTS.get(kind, "")] += int(size)
    counts.pop("", None)
    for name in ("int4", "int8"):
        if counts[name] > _TRACE * counts.total():
            return name
    return counts.most_common(1)[0][0] if counts else "fp32"


def _has_models(folder: Path, names: tuple[str, ...]) -> bool:
    return all((folder / f"{name}{end}").is_file() for name in names for end in (".xml", ".bin"))


def has_tokenizer(folder: Path) -> bool:
    """Whether a folder has a converted tokenizer, and what turns tokens back into text."""
    return all((folder / each).is_file() for each in (TOKENIZER, DETOKENIZER))
