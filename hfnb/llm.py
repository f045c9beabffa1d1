"""The LangChain LLM: the constructors of langchain_huggingface's class, over our engines."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, Literal

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LanguageModelInput
from langchain_core.language_models.llms import BaseLLM
from langchain_core.outputs import Generation, GenerationChunk, LLMResult
from langchain_core.prompt_values import ChatPromptValue, PromptValue
from langchain_core.runnables import Runnable, RunnableConfig
from pydantic import ConfigDict, Field, field_validator

from hfnb.chat.messages import chat_of
from hfnb.chat.structured import with_raw
from hfnb.engines.base import Chat, Completion, Message, Prompt, Request
from hfnb.engines.chat_template import check_template_options
from hfnb.engines.grammar_text import check_grammar
from hfnb.engines.registry import load_engine
from hfnb.errors import OptionError, closest
from hfnb.llm_batch import Asked, TogetherMixin
from hfnb.llm_structured import AnswerParser, telling
from hfnb.llm_text import Said, SaidValue, TextBatch, chunk_of, info_of
from hfnb.options import CALL_OPTIONS, TEXT_OPTIONS, check_call_options, split_model_kwargs
from hfnb.pipelines import engine_of
from hfnb.schema.read import read_schema
from hfnb.spec import GenerationSpec, ModelSpec, check_batch_size


class HuggingFacePipeline(TogetherMixin, BaseLLM):
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
        chat: Send prompts through the model's chat template: ``True``, ``False`` or ``"auto"``
            (where it has one). Text becomes a user message.
        chat_template_kwargs: Further variables of the template, such as
            ``{"enable_thinking": False}``.

    `invoke`, `batch`, `stream`, their asynchronous twins and `bind` also take every generation
    option by its transformers name, ``stop`` and ``seed``, and ``batch_size`` and ``chat``; they
    win for that call. Calls from several threads or tasks are computed together.

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
    chat_template_kwargs: dict[str, Any] | None = None
    grammar: Any = Field(default=None, exclude=True, repr=False)
    """What answers are held to; `with_structured_output` sets it."""
    engine: Any = Field(default=None, exclude=True, repr=False)
    """The engine that answers; see `hfnb.engines.base.Engine`."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    def __init__(self, **data: Any) -> None:
        engine = data.get("engine")
        if engine is None and data.get("pipeline") is None:
            raise OptionError(
                "HuggingFacePipeline wraps a transformers pipeline: pass pipeline=..., or load a "
                "model by its name with HuggingFacePipeline.from_model_id or hfnb.load."
            )
        if engine is None:
            engine, found = engine_of(data["pipeline"])
            data["engine"] = engine
            if (rows := found.pop("batch_size", None)) is not None:
                data.setdefault("batch_size", rows)
            data["pipeline_kwargs"] = {**found, **(data.get("pipeline_kwargs") or {})}
        if data.get("model_id") is None:
            data["model_id"] = engine.info.model
        super().__init__(**data)
        self._check()

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
            task: One of the four text tasks; of a translation also ``"translation_en_to_fr"``.
            backend: ``"default"`` is PyTorch; or ``"openvino"``, whose ``device`` and ``ov_config``
                stand in ``model_kwargs``.
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
        check_batch_size(batch_size)
        _check_fields(kwargs)
        load_options, _ = split_model_kwargs(model_kwargs or {})
        check_call_options(pipeline_kwargs or {})
        _, generation = split_model_kwargs({**(model_kwargs or {}), **(pipeline_kwargs or {})})
        GenerationSpec.of(**_without_text_options(generation))
        dtype = load_options.pop("dtype", load_options.pop("torch_dtype", "auto"))
        allow_pickle = load_options.pop("use_safetensors", True) is False
        if device_map is not None and "device_map" in load_options:
            raise OptionError("device_map is given twice: as an argument and in model_kwargs.")
        found = load_options.pop("device_map", None)
        if "device" in load_options and device is not None:
            raise OptionError("device is given twice: as an argument and in model_kwargs.")
        device = load_options.pop("device", device)
        spec = ModelSpec(
            model=model_id,
            task=task,  # type: ignore[arg-type]
            backend=backend,
            device=device,
            device_map=found if device_map is None else device_map,
            dtype=dtype,
            revision=load_options.pop("revision", None),
            trust_remote_code=load_options.pop("trust_remote_code", False),
            allow_pickle=allow_pickle,
            weight_format=load_options.pop("weight_format", None),
            ov_config=tuple((load_options.pop("ov_config", None) or {}).items()),
            reproducible=load_options.pop("reproducible", False),
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
    def generation(self) -> GenerationSpec:
        """How this model generates, from ``model_kwargs`` and ``pipeline_kwargs`` as they are now.

        Raises:
            OptionError: One of them has an unknown name or an impossible value.
        """
        _, options = split_model_kwargs(
            {**(self.model_kwargs or {}), **(self.pipeline_kwargs or {})}
        )
        generation = GenerationSpec.of(**_without_text_options(options))
        return dataclasses.replace(generation, grammar=self.grammar)

    @property
    def _llm_type(self) -> str:
        return "huggingface_pipeline"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        """Everything that decides what is answered: the LLM cache uses it as a key."""
        info = self.engine.info
        return {
            "model_id": self.model_id,
            "fingerprint": self.engine.fingerprint,
            "task": info.task,
            "backend": info.backend,
            "device": info.device,
            "dtype": info.dtype,
            "generation": self.generation.as_dict(),
            "return_full_text": self._full_text,
            "chat": self.chat,
            "chat_template_kwargs": self.chat_template_kwargs,
        }

    def get_num_tokens(self, text: str) -> int:
        """Return the number of tokens of a text, as this model counts them."""
        return len(self.get_token_ids(text))

    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text, by this model's own tokenizer."""
        ids: list[int] = self.engine.token_ids(text)
        return ids

    def to_prompt(self, text: str) -> Prompt:
        """Return what the engine gets for a prompt: its text, or messages."""
        if not (self.engine.info.has_chat_template if self.chat == "auto" else self.chat):
            return str(text)
        options = self.chat_template_kwargs or {}
        if isinstance(text, Said):
            return chat_of(text.messages, options=options)
        return Chat((Message("user", text),), options=options)

    # -- the options of a call --------------------------------------------------------------------

    def _check(self) -> None:
        """Find mistakes in the settings, before anything is computed."""
        check_call_options(self.pipeline_kwargs or {})
        _ = self.generation
        if self.chat_template_kwargs:
            check_template_options(self.engine.info, self.chat_template_kwargs)

    def _with(self, options: Mapping[str, Any]) -> HuggingFacePipeline:
        """Return this model, set up as one call asks."""
        if not options:
            self._check()
            return self
        given = dict(options)
        changed = {name: given.pop(name) for name in _CALL_FIELDS if name in given}
        if "batch_size" in changed:
            changed["batch_size"] = check_batch_size(changed["batch_size"])
        given = {**(given.pop("pipeline_kwargs", None) or {}), **given}
        told = {**(self.pipeline_kwargs or {}), **given}
        model = self.model_copy(update={**changed, "pipeline_kwargs": told})
        model._check()
        return model

    @property
    def _full_text(self) -> bool:
        """Whether the answer is to begin with its prompt."""
        told = {**(self.model_kwargs or {}), **(self.pipeline_kwargs or {})}
        return bool(told.get("return_full_text", not told.get("skip_prompt", True)))

    def _ask(
        self,
        prompts: Sequence[str],
        stop: Sequence[str] | None,
        rows: Sequence[int] | None = None,
    ) -> Asked[str]:
        """Return what the engine is asked for prompts; ``rows`` are their numbers."""
        generation = self.generation if stop is None else self.generation.merge(stop=stop)
        copies = generation.get("num_return_sequences") or 1
        each = copies if generation.sampling else 1  # several beams come from one request
        if generation.sampling:
            generation = generation.merge(num_return_sequences=None)
        requests = [
            Request(at, self.to_prompt(prompt), copy)
            for at, prompt in zip(rows or range(len(prompts)), prompts, strict=True)
            for copy in range(each)
        ]
        return Asked(self.engine, requests, generation, self.batch_size, copies)

    def _ask_for_stream(self, prompt: str, stop: Sequence[str] | None) -> Asked[str]:
        asked = self._ask([prompt], stop)
        generation = asked.generation.merge(num_return_sequences=None)
        return dataclasses.replace(asked, requests=asked.requests[:1], generation=generation)

    def _result(self, prompts: Sequence[str], answers: list[list[Completion]]) -> LLMResult:
        for of_prompt in answers:
            of_prompt.sort(key=lambda answer: answer.copy)
            for answer in of_prompt:
                if answer.error is not None:
                    raise answer.error
        return LLMResult(
            generations=[
                [self._generation(answer, prompt) for answer in of_prompt]
                for prompt, of_prompt in zip(prompts, answers, strict=True)
            ]
        )

    def _generation(self, answer: Completion, prompt: str) -> Generation:
        before = prompt if self._full_text else ""
        return Generation(text=before + (answer.text or ""), generation_info=info_of(answer))

    def with_structured_output(
        self,
        schema: Any,
        *,
        include_raw: bool = False,
        describe_schema: bool = False,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a chain whose answers are objects of a schema.

        The answer is held to the schema while it is written. The model is not told of it, unless
        you ask for that: say in the prompt what you want.

        Args:
            schema: What `hfnb.run` takes as its ``schema``: a pydantic class, a TypedDict, a
                dataclass, a type, a dictionary of fields, a JSON schema, labels, or a regular
                expression.
            include_raw: Give ``{"raw": text, "parsed": object, "parsing_error": error}``.
            describe_schema: Tell the model about the schema, with each prompt.
            **kwargs: Generation options of the calls.

        Returns:
            A chain that gives an instance of the class, a dictionary, one of the labels, or text.

        Raises:
            OptionError: Answers can't be held to the schema, or an option is unknown.
            MissingExtraError: A package that schemas need is not installed.
            OutputParserException: From the chain: the answer was cut off, or a validator of the
                class refuses it.

        Example:
            >>> import hfnb
            >>> llm = hfnb.load("hfnb/numbers-fr")
            >>> chain = llm.with_structured_output(["un", "deux", "trois"])
            >>> chain.batch(["What is the number 2 in french?", "What is 3 in french?"])
            ['deux', 'trois']
        """
        answers = read_schema(schema)
        check_grammar(answers.grammar)
        held = self._with(kwargs).model_copy(update={"grammar": answers.grammar})
        if held._full_text:
            raise OptionError(
                "return_full_text=True puts the prompt before the answer, which is then no object: "
                "leave it out."
            )
        parser = AnswerParser(answers=answers)
        chain = with_raw(held, parser) if include_raw else held | parser
        return telling(answers) | chain if describe_schema else chain

    # -- LangChain's own ways ---------------------------------------------------------------------

    def _convert_input(self, model_input: LanguageModelInput) -> PromptValue:
        """Keep messages beside their text, for models that take messages."""
        value = super()._convert_input(model_input)
        if isinstance(value, ChatPromptValue):
            return SaidValue(messages=value.messages)
        return value

    def generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Answer prompts; see LangChain's ``BaseLLM.generate``. Options become part of the model.

        So LangChain's cache, which looks at the model alone, keeps calls with other options apart.
        """
        own, options = _split(kwargs)
        model = self._with(options)
        return super(HuggingFacePipeline, model).generate(prompts, stop, callbacks, **own)

    async def agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        callbacks: Any = None,
        **kwargs: Any,
    ) -> LLMResult:
        """Await what `generate` returns."""
        own, options = _split(kwargs)
        model = self._with(options)
        return await super(HuggingFacePipeline, model).agenerate(prompts, stop, callbacks, **own)

    def _generate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        model = self._with(kwargs)
        asked = model._ask(prompts, stop)
        answers: list[list[Completion]] = [[] for _ in prompts]
        for answer in asked.pieces():
            if isinstance(answer, Completion):
                answers[answer.row].append(answer)
        return model._result(prompts, answers)

    async def _agenerate(
        self,
        prompts: list[str],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> LLMResult:
        model = self._with(kwargs)
        asked = model._ask(prompts, stop)
        answers: list[list[Completion]] = [[] for _ in prompts]
        async with contextlib.aclosing(asked.apieces()) as pieces:
            async for answer in pieces:
                if isinstance(answer, Completion):
                    answers[answer.row].append(answer)
        return model._result(prompts, answers)

    def stream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> Iterator[str]:
        """Yield the answer in pieces, as they become known."""
        model = self._with(kwargs)
        yield from super(HuggingFacePipeline, model).stream(input, config, stop=stop)

    async def astream(
        self,
        input: LanguageModelInput,
        config: RunnableConfig | None = None,
        *,
        stop: list[str] | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[str]:
        """Yield the answer in pieces, as they become known."""
        model = self._with(kwargs)
        pieces = super(HuggingFacePipeline, model).astream(input, config, stop=stop)
        async with contextlib.aclosing(pieces):  # type: ignore[type-var]
            async for piece in pieces:
                yield piece

    def _stream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[GenerationChunk]:
        model = self._with(kwargs)
        if model._full_text:
            yield GenerationChunk(text=prompt)
        with contextlib.closing(model._ask_for_stream(prompt, stop).pieces(stream=True)) as pieces:
            for piece in pieces:
                chunk = chunk_of(piece)
                if run_manager and chunk.text:
                    run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    async def _astream(
        self,
        prompt: str,
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[GenerationChunk]:
        model = self._with(kwargs)
        if model._full_text:
            yield GenerationChunk(text=prompt)
        asked = model._ask_for_stream(prompt, stop)
        async with contextlib.aclosing(asked.apieces(stream=True)) as pieces:
            async for piece in pieces:
                chunk = chunk_of(piece)
                if run_manager and chunk.text:
                    await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                yield chunk

    # -- many inputs at once: `TogetherMixin` asks for these ---------------------------------------

    def _together(
        self, inputs: Sequence[Any], configs: Sequence[RunnableConfig], options: dict[str, Any]
    ) -> TextBatch:
        stop = options.pop("stop", None)
        prompts: list[str | Exception] = []
        for each in inputs:
            try:
                prompts.append(self._convert_input(each).to_string())
            except Exception as error:  # it is that row's
                prompts.append(error)
        return TextBatch(self._with(options), prompts, configs, stop)

    def _output(self, generation: Generation) -> str:
        return generation.text


_CALL_FIELDS = ("batch_size", "chat", "chat_template_kwargs")
"""Fields that a call may set for itself."""
_OF_LANGCHAIN = ("tags", "metadata", "run_name", "run_id")
"""What LangChain itself takes among a call's keyword arguments."""


def _check_fields(given: Mapping[str, Any]) -> None:
    """Find arguments that this class does not have, before a model is loaded."""
    fields = HuggingFacePipeline.model_fields
    for name in given:
        if name in CALL_OPTIONS:
            raise OptionError(
                f"from_model_id has no argument {name!r}: give it in pipeline_kwargs="
                f"{{{name!r}: ...}}."
            )
        if name not in fields:
            raise OptionError(f"Unknown argument {name!r}.{closest(name, fields)}")


def _split(kwargs: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split keyword arguments into LangChain's own and the options of the call."""
    own = {name: value for name, value in kwargs.items() if name in _OF_LANGCHAIN}
    return own, {name: value for name, value in kwargs.items() if name not in own}


def _without_text_options(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in TEXT_OPTIONS}
