"""Convert a model and its tokenizer to OpenVINO: what the child process of an export runs.

`hfnb.engines.openvino_child` starts it. It writes one JSON object a line to its standard output:
``{"step": TEXT}`` as it goes, and its result, or ``{"error": TEXT, "kind": NAME}``, at the end.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from hfnb.engines.openvino_folder import DETOKENIZER, TOKENIZER
from hfnb.engines.openvino_telemetry import opt_out
from hfnb.errors import ModelError

EXPORT_TASKS = {"text-generation": "text-generation-with-past"}
"""A task's name for optimum-intel; all others are encoder-decoders."""
SEQ2SEQ_TASK = "text2text-generation-with-past"
GROUP_SIZE = 128
"""Weights of int4 that share a scale, where a layer's width allows it."""
_LEAST_GROUP = 32
_TOKENIZER_FILES = ("*.json", "*.txt", "*.jinja", "*.model", "*.spm", "*.tiktoken", "*.codes")

Say = Callable[[str], None]


def main(job_text: str) -> None:
    """Do one job and exit: with code 0 and a result, or with code 1 and an error."""
    # Libraries print to standard output too: the parent's pipe moves to a descriptor of its own.
    pipe = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def send(message: Mapping[str, Any]) -> None:
        print(json.dumps(message), file=pipe, flush=True)

    job = json.loads(job_text)
    try:
        opt_out()
        result = _JOBS[job["do"]](job, lambda step: send({"step": step}))
        send(result)
    except Exception as error:
        import traceback

        traceback.print_exc()
        send({"error": str(error) or repr(error), "kind": type(error).__name__})
        pipe.flush()
        os._exit(1)  # without waiting for what a failed conversion left running
    pipe.close()
    sys.stderr.flush()
    os._exit(0)  # the destructors of torch and OpenVINO take seconds, and free what ends anyway


def _end_with_parent() -> None:
    """End this process when its parent is gone: then its end of the pipe is closed."""
    sys.stdin.buffer.read()
    os._exit(1)


def export(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Export a model: IR, tokenizers and the model's own files into ``job["part"]``."""
    source, part = Path(job["source"]), Path(job["part"])
    trust, weight_format = bool(job["trust_remote_code"]), str(job["weight_format"])
    say("importing torch and optimum-intel")
    check_supported(job["model"], source, job["export_task"], trust)
    from optimum.exporters.openvino import main_export
    from optimum.intel import OVConfig, OVWeightQuantizationConfig

    compression = None
    if weight_format in ("int8", "int4"):
        narrow = {"group_size": GROUP_SIZE, "group_size_fallback": "adjust"}
        compression = OVWeightQuantizationConfig(
            bits=int(weight_format[3:]), sym=False, **(narrow if weight_format == "int4" else {})
        )
        settings = OVConfig(quantization_config=compression)
    else:
        # It knows two names; bf16 weights stay as they are loaded where it says fp32.
        settings = OVConfig(dtype="fp16" if weight_format == "fp16" else "fp32")
    say("converting the model")
    main_export(
        str(source),
        part,
        task=job["export_task"],
        framework="pt",
        library_name="transformers",
        trust_remote_code=trust,
        local_files_only=True,
        ov_config=settings,
        model_loading_kwargs={"torch_dtype": job["dtype"]},
        convert_tokenizer=False,
    )
    notes = _compress(part, compression.to_nncf_dict(), say) if compression is not None else []
    for file in own_files(source, with_code=trust):
        copy = part / file.relative_to(source)
        copy.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, copy)
    say("converting the tokenizer")
    notes += _convert_tokenizer(source, part, left=job["left"], trust=trust)
    return {"notes": notes}


def convert_tokenizer(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Convert only the tokenizer, into ``job["part"]``."""
    say("converting the tokenizer")
    source, part = Path(job["source"]), Path(job["part"])
    notes = _convert_tokenizer(source, part, left=job["left"], trust=job["trust_remote_code"])
    if notes:
        raise ModelError(notes[0])
    for name in ("tokenizer_config.json", "tokenizer.json", "chat_template.jinja"):
        if (source / name).is_file():
            shutil.copyfile(source / name, part / name)
    return {"notes": []}


_JOBS: dict[str, Callable[[Mapping[str, Any], Say], dict[str, Any]]] = {
    "export": export,
    "tokenizer": convert_tokenizer,
}


def own_files(source: Path, *, with_code: bool) -> list[Path]:
    """Return a model's own files beside its weights, which its export keeps byte for byte.

    Its config.json is not among them: optimum-intel writes the one that belongs to the export.
    """
    patterns = (*_TOKENIZER_FILES, "additional_chat_templates/*", *(["*.py"] if with_code else []))
    files = {file for pattern in patterns for file in source.glob(pattern) if file.is_file()}
    return sorted(
        each
        for each in files
        if each.name != "config.json" and not each.name.endswith(".index.json")
    )


def check_supported(name: str, source: Path, task: str, trust_remote_code: bool) -> None:
    """Refuse, before the weights are loaded, what optimum-intel can't export.

    Raises:
        ModelError: It does not know the model's type, the task, or this version of transformers.
    """
    from optimum.exporters.tasks import TasksManager
    from packaging.version import Version
    from transformers import AutoConfig

    importlib.import_module("optimum.exporters.openvino")  # registers what it can export
    config = AutoConfig.from_pretrained(source, trust_remote_code=trust_remote_code)
    kind = str(getattr(config, "export_model_type", None) or config.model_type)
    who = f"optimum-intel {version('optimum-intel')}"
    instead = "Use backend='pytorch' for this model."
    try:
        tasks = TasksManager.get_supported_tasks_for_model_type(
            kind, exporter="openvino", library_name="transformers"
        )
    except KeyError:
        raise ModelError(
            f"{name!r} is a {kind!r} model, a type that {who} can't export. {instead}"
        ) from None
    if task not in tasks:
        raise ModelError(
            f"{name!r} is a {kind!r} model, which {who} can't export for {task}. {instead}"
        )
    made = TasksManager.get_exporter_config_constructor(
        exporter="openvino", model_type=kind, task=task, library_name="transformers"
    )
    described = getattr(made, "func", made)
    try:
        described = made(config)  # some set their bounds by the model's config
    except Exception as error:
        # Configs that need more than this are asked again, in full, by the export itself.
        print(f"check_supported: {type(error).__name__}: {error}", file=sys.stderr)
    installed = version("transformers")
    least = getattr(described, "MIN_TRANSFORMERS_VERSION", None)
    most = getattr(described, "MAX_TRANSFORMERS_VERSION", None)
    if least is not None and Version(installed) < Version(str(least)):
        bound = f"at least {least}"
    elif most is not None and Version(installed) > Version(str(most)):
        bound = f"at most {most}"
    else:
        return
    raise ModelError(
        f"{name!r} is a {kind!r} model. {who} exports that type with transformers {bound}, and "
        f"{installed} is installed. {instead}"
    )


def _compress(part: Path, settings: Mapping[str, Any], say: Say) -> list[str]:
    """Compress the weights of all models in a folder, and say which layers were too narrow."""
    import gc

    import nncf
    import openvino

    core, notes = openvino.Core(), Counter[tuple[str, int]]()
    for file in sorted(part.glob("openvino*_model.xml")):
        say("compressing the weights")
        model = core.read_model(file)
        compressed = nncf.compress_weights(model, **settings)
        notes += layers_of(compressed)
        beside = file.with_name(f"{file.stem}_compressed.xml")
        openvino.save_model(compressed, beside, compress_to_fp16=False)
        del model, compressed
        gc.collect()
        beside.replace(file)
        beside.with_suffix(".bin").replace(file.with_suffix(".bin"))
    return describe_groups(notes) if settings["mode"].value.startswith("int4") else []


def layers_of(model: Any) -> Counter[tuple[str, int]]:
    """Count a compressed model's matrices by ``("int4", group)`` and ``("int8", width)``.

    An int4 weight has the shape (outputs, groups, group), or (outputs, width) without groups.
    Embeddings are not counted: they are in int8 always.
    """
    found: Counter[tuple[str, int]] = Counter()
    for node in model.get_ops():
        if node.get_type_name() != "Constant" or len(node.shape) < 2 or node.shape[-1] <= 1:
            continue
        kind = {"u4": "int4", "i4": "int4", "u8": "int8", "i8": "int8"}.get(
            node.get_element_type().get_type_name()
        )
        if kind is not None and _is_multiplied(node):
            found[kind, node.shape[-1]] += 1
    return found


def _is_multiplied(constant: Any) -> bool:
    """Whether a weight, once it is scaled back, goes into a matrix multiplication."""
    node = constant
    while True:
        users = [each.get_node() for each in node.output(0).get_target_inputs()]
        if not users or any(each.get_type_name() == "MatMul" for each in users):
            return bool(users)
        if users[0].get_type_name() not in ("Convert", "Subtract", "Multiply", "Reshape"):
            return False
        node = users[0]


def describe_groups(layers: Mapping[tuple[str, int], int]) -> list[str]:
    """Say in words where groups of `GROUP_SIZE` weights did not fit.

    Example:
        >>> describe_groups({("int4", 128): 80, ("int4", 64): 4})
        ['int4: groups of 64 weights in 4 layers, whose width is no multiple of 128.']
        >>> describe_groups({("int4", 128): 80, ("int8", 4096): 2})
        []
    """
    said = [
        f"groups of {size} weights in {n} layers, whose width is no multiple of {GROUP_SIZE}"
        for (kind, size), n in sorted(layers.items(), reverse=True)
        if kind == "int4" and size != GROUP_SIZE
    ]
    narrow = sum(n for (kind, size), n in layers.items() if kind == "int8" and size % _LEAST_GROUP)
    if narrow:
        said.append(
            f"int8 with one scale a column in {narrow} layers, whose width is no multiple of "
            f"{_LEAST_GROUP}"
        )
    return [f"int4: {'; '.join(said)}."] if said else []


def _convert_tokenizer(source: Path, part: Path, *, left: bool, trust: bool) -> list[str]:
    """Convert a model's tokenizer; return why not, where its kind can't be converted."""
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=trust)
    if left:
        tokenizer.padding_side = tokenizer.truncation_side = "left"
    try:
        converted, back = convert_tokenizer(tokenizer, with_detokenizer=True)
    except Exception as error:
        # It raises what its many steps raise; without it transformers' own tokenizer is used.
        return [
            f"openvino-tokenizers can't convert the tokenizer ({type(tokenizer).__name__}): "
            f"{type(error).__name__}: {error}"
        ]
    openvino.save_model(converted, part / TOKENIZER)
    openvino.save_model(back, part / DETOKENIZER)
    return []
