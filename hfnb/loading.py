"""`hfnb.load`: a model by name, ready to use."""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from hfnb import hardware, meanwhile, steps
from hfnb.engines.registry import load_engine
from hfnb.engines.telling import Tell, is_watched, say, silent
from hfnb.errors import OptionError
from hfnb.options import TEXT_OPTIONS, split_model_kwargs, split_options
from hfnb.spec import GenerationSpec, ModelSpec, check_backend, check_batch_size

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline

_OWN_ARGUMENTS = {
    "device_map": "device_map=...",
    "dtype": "dtype=...",
    "torch_dtype": "dtype=...",
    "revision": "revision=...",
    "trust_remote_code": "trust_remote_code=...",
    "use_safetensors": "allow_pickle=...",
}


def load(
    model: str | os.PathLike[str],
    task: str | None = None,
    *,
    backend: str = "pytorch",
    device: str | int | Sequence[str | int] | None = None,
    device_map: Any = None,
    dtype: Any = "auto",
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    chat: bool | Literal["auto"] = "auto",
    chat_template_kwargs: dict[str, Any] | None = None,
    batch_size: int | Literal["auto"] = "auto",
    weight_format: str | None = None,
    ov_config: Mapping[str, Any] | None = None,
    reproducible: bool = False,
    model_kwargs: dict[str, Any] | None = None,
    progress: bool | Literal["auto"] = "auto",
    **options: Any,
) -> HuggingFacePipeline:
    """Load a model, ready to use with `hfnb.run` and in LangChain chains.

    Names, values and the model's files are checked before torch is imported.

    Args:
        model: A packaged model (``"hfnb/numbers-fr"``), a local folder (a ``Path`` too),
            or a Hub id.
        task: ``"text-generation"``, ``"text2text-generation"``, ``"translation"`` (also
            ``"translation_en_to_fr"`` and the like) or ``"summarization"``; by default the model's
            config decides.
        backend: ``"pytorch"`` or ``"openvino"``. With OpenVINO a model is exported once, and kept.
        device: ``"auto"`` (or ``None``) takes the best there is; ``"cpu"`` or ``-1``;
            ``"cuda:0"``, ``"mps"``, ``"xpu"`` or an accelerator's number. With OpenVINO ``"CPU"``
            (by default), ``"GPU"``, ``"NPU"`` or ``"AUTO"``. Of a list, such as
            ``["cuda:0", "cuda:1"]``, each gets a copy of the model, and they share the rows.
        device_map: What Accelerate takes, such as ``"auto"``; excludes ``device``.
        dtype: ``"auto"`` is bfloat16 where the device multiplies it, else what the checkpoint
            has. ``"float32"``, ``"bfloat16"``, ``"float16"``, or a torch dtype.
        revision: Branch, tag or commit on the Hub.
        trust_remote_code: Run Python code that comes with the model.
        allow_pickle: Load pickled weights where there are no safetensors. A pickle can run code.
        chat: Wrap plain prompts in the model's chat template: ``"auto"`` where it has one.
        chat_template_kwargs: Further variables of the chat template, such as
            ``{"enable_thinking": False}``.
        batch_size: The most rows computed together, or ``"auto"``.
        weight_format: With OpenVINO: ``"fp32"``, ``"fp16"``, ``"bf16"``, ``"int8"`` or ``"int4"``;
            with PyTorch on CUDA ``"int8"`` or ``"int4"``, by bitsandbytes (``hfnb[quant]``).
            ``None`` keeps the checkpoint's precision.
        ov_config: OpenVINO's properties, such as ``{"PERFORMANCE_HINT": "LATENCY"}``.
        reproducible: With OpenVINO: compute in float32, keys and values too, so that greedy answers
            are PyTorch's in float32.
        model_kwargs: Further arguments of transformers' ``from_pretrained``, such as
            ``attn_implementation``, ``token`` or ``cache_dir``.
        progress: Say what is loaded and how (task, backend, dtype, device) before it takes long,
            and once a session where OpenVINO would be faster. ``"auto"`` says it in notebooks and
            terminals, not in logs.
        **options: How to generate, by transformers' names (``max_new_tokens``, ``temperature``,
            ``top_p``, ...), ``stop`` and ``seed``; ``src_lang`` and ``tgt_lang`` of a translation;
            ``truncation="value"`` for prompts that are too long. Greedy by default.

    Returns:
        A LangChain LLM that `hfnb.run` takes too.

    Raises:
        ModelNotFoundError: There is no such model, with the closest name that is here.
        ModelFilesError: Its files are broken, or not what they should be.
        OptionError: An unknown or impossible argument, with the closest name.

    Example:
        >>> import hfnb
        >>> llm = hfnb.load("hfnb/numbers-fr", max_new_tokens=32)
        >>> llm.invoke("What is the number 72 in french?")
        'soixante-douze'
    """
    spec, generation_options = _checked(**locals())
    with meanwhile.offer(partial(import_module, "hfnb.llm")):
        engine = load_engine(spec, _tell_for(progress))
    from hfnb.llm import HuggingFacePipeline

    return HuggingFacePipeline(
        engine=engine,
        model_id=spec.model,
        model_kwargs=model_kwargs,
        pipeline_kwargs=generation_options,
        batch_size=batch_size,
        chat=chat,
        chat_template_kwargs=chat_template_kwargs,
    )


def check_load(model: str | os.PathLike[str], **options: Any) -> ModelSpec:
    """Check the arguments of `load` without loading anything, and return what it would load.

    Raises:
        OptionError: An unknown or impossible argument, with the closest name.
    """
    told = inspect.signature(load).bind(model, **options)
    told.apply_defaults()
    return _checked(**told.arguments)[0]


def _checked(
    *,
    model: Any,
    task: Any,
    backend: str,
    device: Any,
    device_map: Any,
    dtype: Any,
    revision: str | None,
    trust_remote_code: bool,
    allow_pickle: bool,
    chat: Any,
    batch_size: Any,
    weight_format: str | None,
    ov_config: Mapping[str, Any] | None,
    reproducible: bool,
    model_kwargs: dict[str, Any] | None,
    progress: Any,
    options: dict[str, Any],
    **_of_the_llm: Any,
) -> tuple[ModelSpec, dict[str, Any]]:
    """Check the arguments of `load`; return what to load, and the generation options."""
    _, generation_options = split_options(options, tuple(inspect.signature(load).parameters))
    load_options, also = split_model_kwargs(model_kwargs or {})
    for name, instead in _OWN_ARGUMENTS.items():
        if name in load_options:
            raise OptionError(f"model_kwargs has {name!r}: give hfnb.load {instead} instead.")
    also = {name: value for name, value in also.items() if name not in TEXT_OPTIONS}
    GenerationSpec.of(**{**also, **generation_options})
    check_batch_size(batch_size)
    if check_backend(backend) == "pytorch":
        for each in device if isinstance(device, (list, tuple)) else (device,):
            hardware.check_device(each)
    for name, value in (("chat", chat), ("progress", progress)):
        if value not in (True, False, "auto"):
            raise OptionError(f"{name} is True, False or 'auto'; not {value!r}.")
    spec = ModelSpec(
        model=model,
        task=task,
        backend=backend,
        device=device,
        device_map=device_map,
        dtype=dtype,
        revision=revision,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        load_options=tuple(load_options.items()),
        weight_format=weight_format,
        ov_config=tuple((ov_config or {}).items()),
        reproducible=reproducible,
    )
    return spec, generation_options


def _tell_for(progress: bool | str) -> Tell | None:
    """Return what takes the lines that are said while a model loads."""
    if steps.listener() is not None:  # the panel, which shows them itself
        return steps.tell
    if progress == "auto":
        return say if is_watched() else None
    return say if progress else silent
