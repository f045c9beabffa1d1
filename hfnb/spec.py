"""What to load and how to generate, as frozen values that are checked when they are made.

Nothing here imports torch or transformers: a typo is found before the slow part.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from hfnb.errors import OptionError, closest, listing
from hfnb.options import (
    CALL_OPTIONS,
    INTERNAL_OPTIONS,
    check_option,
    check_stop,
    freeze,
    is_whole,
    unknown_option,
)

Task = Literal["text-generation", "text2text-generation", "summarization", "translation"]
TASKS: tuple[Task, ...] = (
    "text-generation",
    "text2text-generation",
    "summarization",
    "translation",
)
BACKENDS = ("pytorch", "openvino")
_BACKEND_ALIASES = {"default": "pytorch", "torch": "pytorch", "pt": "pytorch", "ov": "openvino"}
_DEVICE_MAPS = (
    *("auto", "balanced", "sequential"),
    *("cpu", "cuda", "mps", "xpu", "npu", "disk", "meta"),
)
QUANTISED = ("int8", "int4")
"""What PyTorch can keep weights in that are less than a half-precision number."""
DTYPES = ("auto", "float32", "float16", "bfloat16")
_DTYPE_ALIASES = {
    "fp32": "float32",
    "f32": "float32",
    "fp16": "float16",
    "f16": "float16",
    "half": "float16",
    "bf16": "bfloat16",
}

DEFAULT_MAX_NEW_TOKENS = 256
"""New tokens a row when neither the caller nor the model says otherwise: what transformers'
text-generation pipeline uses too."""


_TRANSLATION = re.compile(r"translation_([\w-]+?)_to_([\w-]+)")


def languages_of(task: str | None) -> tuple[str, str] | None:
    """Return the source and the target that a task's name tells, as transformers 4 wrote them.

    Example:
        >>> languages_of("translation_en_to_fr")
        ('en', 'fr')
        >>> languages_of("translation") is None
        True
    """
    found = _TRANSLATION.fullmatch(task or "")
    return (found[1], found[2]) if found else None


def check_task(task: str | None) -> Task | None:
    """Return the task, or raise `OptionError` with the closest name. ``None`` asks the model.

    ``"translation_en_to_fr"`` is a translation; `languages_of` has the languages.
    """
    if task is None or task in TASKS:
        return task
    if languages_of(str(task)):
        return "translation"
    raise OptionError(f"Unknown task {task!r}.{closest(task, TASKS)} hfnb runs {listing(TASKS)}.")


def check_backend(backend: str) -> str:
    """Return the backend's one name, or raise `OptionError` with the closest name."""
    name = _BACKEND_ALIASES.get(backend, backend)
    if name in BACKENDS:
        return name
    known = (*BACKENDS, *_BACKEND_ALIASES)
    raise OptionError(
        f"Unknown backend {backend!r}.{closest(backend, known)} "
        f"This version of hfnb has {listing(BACKENDS)}."
    )


def check_dtype(dtype: object) -> str:
    """Return a dtype's name; takes ``"bf16"``, ``"bfloat16"``, ``torch.bfloat16``, ``"auto"``."""
    name = str(dtype).removeprefix("torch.")
    name = _DTYPE_ALIASES.get(name, name)
    if name in DTYPES:
        return name
    known = (*DTYPES, *_DTYPE_ALIASES)
    raise OptionError(f"Unknown dtype {dtype!r}.{closest(name, known)} Use {listing(DTYPES)}.")


def check_batch_size(batch_size: int | str) -> int | Literal["auto"]:
    """Return ``batch_size`` when it is ``"auto"`` or at least 1, else raise `OptionError`."""
    if isinstance(batch_size, str) and batch_size == "auto":
        return "auto"
    if is_whole(batch_size) and int(batch_size) >= 1:
        return int(batch_size)
    raise OptionError(f"batch_size is 'auto' or a number of rows, 1 or more; not {batch_size!r}.")


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """Which model to load, and where it runs.

    Args:
        model: A packaged name (``"hfnb/numbers-fr"``), a local folder (a ``Path`` too), or a Hub
            id.
        task: One of `TASKS` or ``"translation_xx_to_yy"``; ``None`` takes it from the model's
            config.
        backend: ``"pytorch"`` (also ``"default"``) or ``"openvino"``.
        device: ``"auto"``, ``"cpu"``, ``"cuda"``, ``"cuda:1"``, ``"mps"``, ``"xpu"``; ``-1`` is the
            CPU, ``0`` and up are the accelerators; ``None`` is ``"auto"``. Several of them in a
            list get a copy of the model each.
        device_map: What Accelerate takes (``"auto"``, a dict, ...); excludes ``device``.
        dtype: ``"auto"``, ``"float32"``, ``"bfloat16"`` or ``"float16"``.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run Python code that comes with the model. Off unless asked for.
        allow_pickle: Load ``pytorch_model.bin`` where there is no safetensors file. Unpickling
            can run code, so it is off unless asked for.
        load_options: Further arguments of ``from_pretrained``, as ``(name, value)`` pairs.
        languages: Source and target of a translation, taken from ``task`` where it names them.
        weight_format: What weights are kept in: with OpenVINO any of its formats, with PyTorch
            ``"int8"`` or ``"int4"``, on CUDA; ``None`` keeps the checkpoint's precision.
        ov_config: OpenVINO's properties, as ``(name, value)`` pairs.
        reproducible: Compute in float32 with OpenVINO, keys and values too.
    """

    model: str
    task: Task | None = None
    backend: str = "pytorch"
    device: str | int | tuple[str | int, ...] | None = None
    device_map: Any = None
    dtype: str = "auto"
    revision: str | None = None
    trust_remote_code: bool = False
    allow_pickle: bool = False
    load_options: tuple[tuple[str, Any], ...] = ()
    languages: tuple[str, str] | None = None
    weight_format: str | None = None
    ov_config: tuple[tuple[str, Any], ...] = ()
    reproducible: bool = False

    def __post_init__(self) -> None:
        model: object = self.model
        if isinstance(model, os.PathLike):
            object.__setattr__(self, "model", os.fspath(model))
            model = self.model
        if not isinstance(model, str) or not model.strip():
            raise OptionError(
                f"model is a name or a folder, such as 'hfnb/numbers-fr'; not {self.model!r}."
            )
        for name in ("trust_remote_code", "allow_pickle"):
            # A string such as "False" would be true, and let code run that nobody asked for.
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name} is True or False; not {getattr(self, name)!r}.")
        if isinstance(self.device, (list, tuple)):
            object.__setattr__(self, "device", _check_devices(self.device))
        object.__setattr__(self, "device_map", freeze(self.device_map))
        object.__setattr__(self, "load_options", freeze(self.load_options))
        object.__setattr__(self, "languages", self.languages or languages_of(self.task))
        object.__setattr__(self, "task", check_task(self.task))
        object.__setattr__(self, "backend", check_backend(self.backend))
        object.__setattr__(self, "dtype", check_dtype(self.dtype))
        self._check_backend_options()
        _check_device_map(self.device_map)
        if self.device is not None and self.device_map is not None:
            raise OptionError(
                f"Both device={self.device!r} and device_map={self.device_map!r} are given. Keep "
                "device to run on one device, or device_map to spread one model over several."
            )

    @property
    def one_device(self) -> str | int | None:
        """The device, where it is one.

        Raises:
            OptionError: There are several, and one copy of the model is asked about.
        """
        if isinstance(self.device, tuple):
            raise OptionError(f"device={list(self.device)!r} are several: give one of them.")
        return self.device

    def _check_backend_options(self) -> None:
        if self.backend == "openvino":
            if self.device_map is not None:
                raise OptionError(
                    "device_map spreads a PyTorch model. OpenVINO takes device='CPU', 'GPU', "
                    "'NPU' or 'AUTO'."
                )
            if self.dtype != "auto":
                raise OptionError(
                    f"dtype={self.dtype!r} is for PyTorch. With OpenVINO, weight_format says what "
                    "the weights are kept in, and ov_config={'INFERENCE_PRECISION_HINT': ...} what "
                    "is computed in."
                )
            return
        for name in ("ov_config", "reproducible"):
            if getattr(self, name):
                raise OptionError(
                    f"{name} is for OpenVINO: pass backend='openvino', or leave it out."
                )
        if self.weight_format is not None and self.weight_format not in QUANTISED:
            raise OptionError(
                f"weight_format={self.weight_format!r} is OpenVINO's. PyTorch takes "
                f"{listing(QUANTISED)}, on CUDA; dtype says what it keeps and computes other "
                "weights in."
            )


def _check_devices(devices: Sequence[object]) -> tuple[str | int, ...]:
    """Return the devices of several copies, or say what is wrong with them."""
    if not devices or any(isinstance(each, bool) for each in devices):
        raise OptionError(f"device is a device, or a list of them; not {devices!r}.")
    named = [each for each in devices if isinstance(each, (str, int))]
    if len(named) < len(devices):
        raise OptionError(f"device is a list of names and numbers of devices; not {devices!r}.")
    return tuple(named)


def _check_device_map(device_map: object) -> None:
    """Refuse a word that Accelerate does not know; devices and maps are its own business."""
    if isinstance(device_map, str) and device_map.isalpha() and device_map not in _DEVICE_MAPS:
        raise OptionError(
            f"Unknown device_map {device_map!r}.{closest(device_map, _DEVICE_MAPS)} Use "
            f"{listing(_DEVICE_MAPS)}, or a dictionary of a model's parts to devices."
        )


class Grammar(NamedTuple):
    """What new text must be; tokens that would lead away from it can't be chosen.

    With the kind ``"choice"`` the text is a JSON list of labels. Nothing is generated then: the
    answer is JSON with each label's probability, ``{"probabilities": {"good": 0.9, "bad": 0.1}}``.
    """

    kind: Literal["json_schema", "regex", "ebnf", "structural_tag", "choice"]
    text: str


@dataclasses.dataclass(frozen=True)
class GenerationSpec:
    """How to generate. Make one with `GenerationSpec.of`, which checks names and values.

    Args:
        temperature: 0 (the default) always takes the likeliest token; above 0 samples.
        stop: Strings that end a row; the text before the first one is kept.
        seed: Makes sampling repeat. A row's result depends on the seed and its prompt alone, not
            on the rows beside it.
        options: Every other option of a call by its name, as sorted pairs.
        grammar: What the new text must be, or ``None``.
        keep_tokens: Special tokens that stay in the text, such as those around a tool call.
    """

    temperature: float = 0.0
    stop: tuple[str, ...] = ()
    seed: int | None = None
    options: tuple[tuple[str, Any], ...] = ()
    grammar: Grammar | None = None
    keep_tokens: tuple[str, ...] = ()

    @classmethod
    def of(cls, **options: Any) -> GenerationSpec:
        r"""Make a specification from options by their transformers names.

        Raises:
            OptionError: An unknown name (with the closest one) or an impossible value.

        Example:
            >>> GenerationSpec.of(max_new_tokens=8, stop="\n").stop
            ('\n',)
        """
        return cls().merge(**options)

    def merge(self, **options: Any) -> GenerationSpec:
        """Return a copy in which ``options`` win over what was set; ``None`` unsets.

        A temperature of 0 is greedy, whatever ``do_sample`` was or is.
        """
        given = dict(options)
        if "stop_strings" in given:
            given.setdefault("stop", given.pop("stop_strings"))
        merged = dict(self.options)
        own: dict[str, Any] = {}
        for name, value in given.items():
            if name == "stop":
                own["stop"] = () if value is None else check_stop(value)
            elif name == "temperature":
                checked = check_option(name, value)
                own["temperature"] = 0.0 if checked is None else checked
            elif name == "seed":
                own["seed"] = check_option(name, value)
            elif name in CALL_OPTIONS:
                merged[name] = check_option(name, value)
            elif name == "use_cache" and value is not False:
                continue  # what is done anyway, and often found in code for transformers
            elif name in INTERNAL_OPTIONS:
                raise OptionError(f"{name} is not for callers of hfnb: the engine sets it itself.")
            else:
                raise unknown_option(name, CALL_OPTIONS)
        if given.get("max_new_tokens") is not None:
            merged.pop("max_length", None)
        elif given.get("max_length") is not None:
            merged.pop("max_new_tokens", None)
        if own.get("temperature") == 0.0 and given.get("temperature") is not None:
            merged.pop("do_sample", None)
        kept = tuple(sorted((k, v) for k, v in merged.items() if v is not None))
        spec = dataclasses.replace(self, **own, options=kept)
        spec._check_together()
        return spec

    def _check_together(self) -> None:
        if self.get("do_sample") is True and self.temperature == 0.0:
            # do_sample alone is how transformers asks for sampling; its temperature is then 1.
            object.__setattr__(self, "temperature", 1.0)
        beams, sequences = self.get("num_beams") or 1, self.get("num_return_sequences") or 1
        if beams > 1 and self.sampling:
            raise OptionError(
                f"num_beams={beams} looks for the likeliest answer, and temperature="
                f"{self.temperature:g} draws one at random: leave one of them out."
            )
        if sequences > beams and not self.sampling:
            raise OptionError(
                f"num_return_sequences={sequences} needs sampling (temperature above 0) or "
                f"num_beams of at least {sequences}: the likeliest answer is only one."
            )

    def get(self, name: str, default: Any = None) -> Any:
        """Return one of `options`, or ``default``."""
        return dict(self.options).get(name, default)

    @property
    def sampling(self) -> bool:
        """Whether tokens are drawn at random; otherwise each is the likeliest."""
        return self.temperature > 0 and self.get("do_sample") is not False

    @property
    def repeats(self) -> bool:
        """Whether the same prompt gives the same text again: greedy, or sampled with a seed."""
        return not self.sampling or self.seed is not None

    def as_dict(self) -> dict[str, Any]:
        """Return every option that is set, by name."""
        shown: dict[str, Any] = {"temperature": self.temperature, **dict(self.options)}
        if self.stop:
            shown["stop"] = list(self.stop)
        if self.seed is not None:
            shown["seed"] = self.seed
        if self.grammar is not None:
            shown["grammar"] = self.grammar
        return shown
