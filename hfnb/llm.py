"""The LangChain LLM: the constructors of langchain_huggingface's class, over our engines."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from pydantic import ConfigDict, PrivateAttr, field_validator

from hfnb.engines.base import Chat, Completion, Delta, Engine, Message, Prompt, Request
from hfnb.engines.registry import load_engine
from hfnb.errors import OptionError
from hfnb.options import TEXT_OPTIONS, split_model_kwargs
from hfnb.pipelines import engine_of
from hfnb.spec import GenerationSpec, ModelSpec, check_batch_size, check_task


class HuggingFacePipeline(BaseLLM):
    """A local Hugging Face model as a LangChain LLM.

    It takes the place of ``langchain_huggingface.HuggingFacePipeline``: the constructors are the
    same. Prompts that come together are computed together, stop strings stop, only the new text
    is returned, and options act at once, wherever they are given.

    Args:
        pipeline: A ``transformers.pipeline`` that exists already.
        engine: An engine that exists already, such as `hfnb.EchoEngine`.
        model_id: The model's name.
        model_kwargs: How it was loaded; generation options may stand here too.
        pipeline_kwargs: How to generate. Changes act at the next call.
        batch_size: The most rows computed together, or ``"auto"``.
        chat: Wrap plain prompts in the model's chat template: ``True``, ``False`` or ``"auto"``.

    Example:
        >>> from hfnb import HuggingFacePipeline
        >>> hf = HuggingFacePipeline.from_model_id(
        ...     model_id="hfnb/numbers-fr",
        ...     task="text-generation",
        ...     pipeline_kwargs={"max_new_tokens": 16},
        ... )
        >>> hf.invoke("What is the number 72 in french?")
        'soixante-douze'
    """

    pipeline: Any = None
    model_id: str | None = None
    model_kwargs: dict[str, Any] | None = None
    pipeline_kwargs: dict[str, Any] | None = None
    batch_size: int | Literal["auto"] = 4
    chat: bool | Literal["auto"] = False

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    _engine: Engine = PrivateAttr()

    def __init__(self, **data: Any) -> None:
        engine = data.pop("engine", None)
        if engine is None and data.get("pipeline") is None:
            raise OptionError(
                "HuggingFacePipeline wraps a transformers pipeline: pass pipeline=..., or load a "
                "model by its name with HuggingFacePipeline.from_model_id or hfnb.load."
            )
        if engine is None:
            engine, found = engine_of(data["pipeline"])
            data["pipeline_kwargs"] = {**found, **(data.get("pipeline_kwargs") or {})}
        data.setdefault("model_id", engine.info.model)
        super().__init__(**data)
        self._engine = engine
        _ = self.generation

    @field_validator("batch_size")
    @classmethod
    def _batch_size_is_possible(cls, value: int | str) -> int | str:
        return check_batch_size(value)

    @classmethod
    def from_model_id(
        cls,
        model_id: str,
        task: str,
        backend: str = "default",
        device: int | str | None = None,
        device_map: Any = None,
        model_kwargs: dict[str, Any] | None = None,
        pipeline_kwargs: dict[str, Any] | None = None,
        batch_size: int | Literal["auto"] = 4,
        **kwargs: Any,
    ) -> HuggingFacePipeline:
        """Load a model by its name, with the arguments of langchain_huggingface's constructor.

        Args:
            model_id: A packaged model, a local folder, or a Hub id.
            task: One of the four text tasks.
            backend: ``"default"`` is PyTorch.
            device: ``-1`` or ``"cpu"``, ``0`` and up or ``"cuda:0"``; ``None`` takes the best.
            device_map: What Accelerate takes; excludes ``device``.
            model_kwargs: Arguments of ``from_pretrained``; generation options may be among them.
            pipeline_kwargs: Generation options, and ``return_full_text``.
            batch_size: The most rows computed together, or ``"auto"``.
            **kwargs: Fields of this class, such as ``callbacks`` or ``chat``.

        Raises:
            ModelError: The model can't be found or read.
            OptionError: An argument has an unknown name or an impossible value.
        """
        model_id = os.fspath(model_id)
        load_options, _ = split_model_kwargs(model_kwargs or {})
        _, generation = split_model_kwargs({**(model_kwargs or {}), **(pipeline_kwargs or {})})
        GenerationSpec.of(**_without_text_options(generation))
        dtype = load_options.pop("dtype", load_options.pop("torch_dtype", "auto"))
        allow_pickle = load_options.pop("use_safetensors", True) is False
        if device_map is not None and "device_map" in load_options:
            raise OptionError("device_map is given twice: as an argument and in model_kwargs.")
        found = load_options.pop("device_map", None)
        spec = ModelSpec(
            model=model_id,
            task=check_task(task),
            backend=backend,
            device=device,
            device_map=found if device_map is None else device_map,
            dtype=dtype,
            revision=load_options.pop("revision", None),
            trust_remote_code=load_options.pop("trust_remote_code", False),
            allow_pickle=allow_pickle,
            load_options=tuple(load_options.items()),
        )
        return cls(
            engine=load_engine(spec),
            model_id=model_id,
            model_kwargs=model_kwargs,
            pipeline_kwargs=pipeline_kwargs,
            batch_size=batch_size,
            **kwargs,
        )

    @property
    def engine(self) -> Engine:
        """The engine that answers."""
        return self._engine

    @property
    def generation(self) -> GenerationSpec:
        """How this model generates, from ``model_kwargs`` and ``pipeline_kwargs`` as they are now.

        Raises:
            OptionError: One of them has an unknown name or an impossible value.
        """
        _, options = split_model_kwargs(
            {**(self.model_kwargs or {}), **(self.pipeline_kwargs or {})}
        )
        return GenerationSpec.of(**_without_text_options(options))

    @property
    def _llm_type(self) -> str:
        return "huggingface_pipeline"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        """Everything that decides what is answered: the LLM cache uses it as a key."""
        info = self._engine.info
        return {
            "model_id": self.model_id,
            "task": info.task,
            "backend": info.backend,
            "dtype": info.dtype,
            "model_kwargs": self.model_kwargs,
            "pipeline_kwargs": self.pipeline_kwargs,
            "generation": self.generation.as_dict(),
            "chat": self.chat,
        }

    def get_num_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, as this model counts them."""
        return self._engine.count_tokens(text)

    def to_prompt(self, text: str) -> Prompt:
        """Return what the engine gets for a text: the text, or a user message."""
        wrap = self._engine.info.has_chat_template if self.chat == "auto" else self.chat
        return Chat((Message("user", text),)) if wrap else text

    def _call_options(
        self, stop: list[str] | None, kwargs: dict[str, Any]
    ) -> tuple[GenerationSpec, bool]:
        """Merge what one call was given into what the model was set up with."""
        own = {**(self.pipeline_kwargs or {}), **kwargs.pop("pipeline_kwargs", {}), **kwargs}
        text = {name: own.pop(name) for name in TEXT_OPTIONS if name in own}
        _, options = split_model_kwargs({**(self.model_kwargs or {}), **own})
        generation = GenerationSpec.of(**_without_text_options(options))
        if stop is not None:
            generation = generation.merge(stop=stop)
        full = bool(text.get("return_full_text", not text.get("skip_prompt", True)))
        return generation, full

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        generation, full = self._call_options(stop, kwargs)
        copies = generation.get("num_return_sequences") or 1
        if generation.sampling:  # each sample is a request; several beams come from one
            generation = generation.merge(num_return_sequences=None)
        requests = [
            Request(at, self.to_prompt(prompt), copy)
            for at, prompt in enumerate(prompts)
            for copy in range(copies if generation.sampling else 1)
        ]
        answers: list[list[Completion]] = [[] for _ in prompts]
        for answer in self._engine.generate(requests, generation, batch_size=self.batch_size):
            if isinstance(answer, Completion):
                answers[answer.row].append(answer)
        for of_prompt in answers:
            of_prompt.sort(key=lambda answer: answer.copy)
            for answer in of_prompt:
                if answer.error is not None:
                    raise answer.error
        return LLMResult(
            generations=[
                [_as_generation(answer, prompt if full else "") for answer in of_prompt]
                for prompt, of_prompt in zip(prompts, answers, strict=True)
            ]
        )

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        generation, full = self._call_options(stop, kwargs)
        requests = [Request(0, self.to_prompt(prompt))]
        began = time.perf_counter()
        pieces = self._engine.generate(requests, generation, batch_size=1, stream=True)
        if full:
            yield GenerationChunk(text=prompt)
        for piece in pieces:
            if isinstance(piece, Delta):
                chunk = GenerationChunk(text=piece.text)
            elif piece.error is not None:
                raise piece.error
            else:
                info = _as_generation(piece, "").generation_info or {}
                info["latency_s"] = time.perf_counter() - began
                chunk = GenerationChunk(text="", generation_info=info)
            if run_manager and chunk.text:
                run_manager.on_llm_new_token(chunk.text, chunk=chunk)
            yield chunk


def _as_generation(answer: Completion, before: str) -> Generation:
    return Generation(
        text=before + (answer.text or ""),
        generation_info={
            "finish_reason": answer.finish_reason,
            "prompt_tokens": answer.prompt_tokens,
            "new_tokens": answer.new_tokens,
            "queue_s": answer.queue_s,
            "latency_s": answer.latency_s,
            "batch_rows": answer.batch_rows,
        },
    )


def _without_text_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in TEXT_OPTIONS}
