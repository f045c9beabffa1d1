"""The LangChain chat model: messages, tools and structured answers over an engine."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.base import LangSmithParams
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import BaseTool
from pydantic import ConfigDict, Field, PrivateAttr

from hfnb.chat.batch import TogetherChatModel
from hfnb.chat.call import OWN_OPTIONS, Call
from hfnb.chat.messages import chat_of, is_prefill
from hfnb.chat.structured import Method, structured
from hfnb.chat.tools import Template, choose, need_xgrammar, openai_tools
from hfnb.engines.base import Completion
from hfnb.errors import ModelError, OptionError, closest
from hfnb.llm import HuggingFacePipeline
from hfnb.options import split_options

_REMOTE = frozenset({"api_key", "base_url", "max_retries", "timeout"})
"""LangChain's standard settings that only a service far away has a use for."""
_OWN_ARGUMENTS = frozenset(
    "chat_template_kwargs temperature max_tokens max_new_tokens stop streaming".split()
)
"""What `ChatHuggingFace.from_model_id` keeps to itself."""


class ChatHuggingFace(TogetherChatModel):
    """A local Hugging Face model as a LangChain chat model.

    Messages go through the model's own chat template. Options are those of ``llm``, live, then
    this class's, then a call's. When the last message is an ``AIMessage`` without tool calls, the
    answer continues it and holds only the new text. Reasoning between ``<think>`` tags is put into
    ``additional_kwargs["reasoning_content"]``. A batch is one call of the engine.

    Args:
        llm: The model, from `hfnb.load` or `hfnb.HuggingFacePipeline.from_model_id`.
        chat_template_kwargs: Further variables of the chat template, such as
            ``{"enable_thinking": False}``; a call may give its own.
        temperature: Instead of the model's; 0 always takes the likeliest token.
        max_tokens: The most new tokens; ``max_new_tokens`` is the same.
        stop: Strings that end an answer, instead of the model's.
        streaming: Let ``invoke`` stream too, for callbacks that want each token.

    Raises:
        ModelError: The model has no chat template.
        OptionError: An argument has an unknown name or an impossible value.

    Example:
        >>> import hfnb
        >>> chat = hfnb.ChatHuggingFace(llm=hfnb.load("hfnb/numbers-fr"))
        >>> chat.invoke("What is the number 72 in french?").content
        'soixante-douze'
    """

    llm: HuggingFacePipeline
    chat_template_kwargs: dict[str, Any] = Field(default_factory=dict)
    temperature: float | None = None
    max_tokens: int | None = None
    stop: list[str] | None = None
    streaming: bool = False

    model_config = ConfigDict(extra="forbid")

    _template: Template | None = PrivateAttr(default=None)

    def __init__(self, **data: Any) -> None:
        data = {name: value for name, value in data.items() if name not in _REMOTE}
        if "max_new_tokens" in data:
            data.setdefault("max_tokens", data.pop("max_new_tokens"))
        fields = type(self).model_fields
        for name in data:
            if name not in fields:
                raise OptionError(
                    f"ChatHuggingFace has no argument {name!r}.{closest(name, fields)} How to "
                    "generate is set on llm, bound (chat.bind(top_p=0.9)), or given to a call."
                )
        if not isinstance(data.get("llm"), HuggingFacePipeline):
            old = type(data.get("llm")).__module__.startswith("langchain_huggingface")
            hint = " This one is langchain_huggingface's: change that import too." if old else ""
            raise OptionError(
                "ChatHuggingFace needs llm, a model that was loaded: "
                f'ChatHuggingFace(llm=hfnb.load("hfnb/numbers-fr")).{hint}'
            )
        if isinstance(data.get("stop"), str):
            data["stop"] = [data["stop"]]
        super().__init__(**data)
        if not self.llm.engine.info.has_chat_template:
            raise ModelError(
                f"{self.llm.model_id!r} has no chat template, so it takes text and no messages. "
                "Use the model itself with a plain prompt (llm.invoke, PromptTemplate), or load "
                "an instruct model."
            )
        self._call_of(None, {})

    @classmethod
    def from_model_id(
        cls, model_id: str, task: str = "text-generation", backend: str = "default", **kwargs: Any
    ) -> ChatHuggingFace:
        """Load a model by its name; see `HuggingFacePipeline.from_model_id`.

        Args:
            model_id: A packaged model, a local folder, or a Hub id.
            task: The model's task.
            backend: As there; ``"pipeline"``, langchain_huggingface's name, is the default.
            **kwargs: This class's own arguments, and those of `HuggingFacePipeline.from_model_id`.

        Raises:
            ModelError: The model can't be found or read, or has no chat template.
            OptionError: An argument has an unknown name or an impossible value.

        Example:
            >>> chat = hfnb.ChatHuggingFace.from_model_id("hfnb/numbers-fr")
            >>> chat.invoke("What is the number 8 in french?").content
            'huit'
        """
        own = {name: kwargs.pop(name) for name in [*kwargs] if name in _OWN_ARGUMENTS}
        backend = "default" if backend == "pipeline" else backend
        return cls(llm=HuggingFacePipeline.from_model_id(model_id, task, backend, **kwargs), **own)

    @property
    def model_id(self) -> str | None:
        """The model's name."""
        return self.llm.model_id

    @property
    def template(self) -> Template:
        """What the model's chat template says about tools and reasoning."""
        if self._template is None or self._template.engine is not self.llm.engine:
            self._template = Template(self.llm.engine)
        return self._template

    def own_generation(self) -> dict[str, Any]:
        """Return the generation options that are set here and not on ``llm``."""
        given = {"temperature": self.temperature, "max_new_tokens": self.max_tokens}
        if self.stop is not None:
            given["stop"] = self.stop  # type: ignore[assignment]
        return {name: value for name, value in given.items() if value is not None}

    def template_options(self) -> dict[str, Any]:
        """Return the chat template's further variables: the model's, then this class's own."""
        return {**(self.llm.chat_template_kwargs or {}), **self.chat_template_kwargs}

    def _call_of(self, stop: Sequence[str] | None, kwargs: Mapping[str, Any]) -> Call:
        return Call.of(self, stop, kwargs)

    @property
    def _llm_type(self) -> str:
        return "chat_huggingface"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        """Everything that decides what is answered: the LLM cache uses it as a key."""
        return {
            **self.llm._identifying_params,
            "chat_template_kwargs": self.template_options(),
            **self.own_generation(),
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        generation = self.llm.generation
        told = {
            "temperature": generation.temperature,
            "max_new_tokens": generation.get("max_new_tokens"),
            "stop": list(generation.stop),
            **self.own_generation(),
            **kwargs,
        }
        params = LangSmithParams(
            ls_provider="huggingface",
            ls_model_type="chat",
            ls_model_name=str(kwargs.get("model") or self.llm.model_id),
        )
        if isinstance(told["temperature"], (int, float)):
            params["ls_temperature"] = told["temperature"]
        if isinstance(most := told.get("max_tokens") or told["max_new_tokens"], int):
            params["ls_max_tokens"] = most
        if stops := told["stop"] if stop is None else stop:
            params["ls_stop"] = [stops] if isinstance(stops, str) else list(stops)
        return params

    def get_token_ids(self, text: str) -> list[int]:
        """Return the token ids of a text, by this model's own tokenizer."""
        return self.llm.get_token_ids(text)

    def get_num_tokens_from_messages(
        self, messages: list[BaseMessage], tools: Sequence[Any] | None = None
    ) -> int:
        """Return the number of tokens of messages, as the model's chat template renders them.

        Args:
            messages: The messages, to which the model would answer.
            tools: What is bound to the model; its descriptions are part of the prompt.
        """
        chat = chat_of(
            messages,
            tools=openai_tools(tools or ()),
            options=self.template_options(),
            prefill=is_prefill(messages),
        )
        return int(self.llm.engine.count_tokens(chat))

    # --- one answer ----------------------------------------------------------------------------

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call_of(stop, kwargs)
        chat = call.chat(messages)
        pieces = call.ask({0: chat}).pieces()
        answers = [piece for piece in pieces if isinstance(piece, Completion)]
        return ChatResult(generations=call.generations(chat, answers))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        call = self._call_of(stop, kwargs)
        chat = call.chat(messages)
        async with contextlib.aclosing(call.ask({0: chat}).apieces()) as pieces:
            answers = [piece async for piece in pieces if isinstance(piece, Completion)]
        return ChatResult(generations=call.generations(chat, answers))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        call = self._call_of(stop, kwargs)
        chat = call.chat(messages)
        stream = call.stream(chat)
        with contextlib.closing(call.ask({0: chat}, one=True).pieces(stream=True)) as pieces:
            for piece in pieces:
                for chunk in stream.chunks(piece):
                    if run_manager:
                        run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        call = self._call_of(stop, kwargs)
        chat = call.chat(messages)
        stream = call.stream(chat)
        asked = call.ask({0: chat}, one=True)
        async with contextlib.aclosing(asked.apieces(stream=True)) as pieces:
            async for piece in pieces:
                for chunk in stream.chunks(piece):
                    if run_manager:
                        await run_manager.on_llm_new_token(chunk.text, chunk=chunk)
                    yield chunk

    # --- tools and structured answers ----------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        strict: bool | None = None,
        parallel_tool_calls: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """Return this model with tools that it may call.

        Args:
            tools: Functions, pydantic classes, LangChain's tools, TypedDicts, or JSON schemas.
            tool_choice: ``None`` or ``"auto"`` leaves it to the model, ``"any"``, ``"required"``
                or ``True`` makes it call one of them, a tool's name that one, ``"none"`` none.
                A call that is made to be is held to its schema while it is written.
            strict: As LangChain writes it into the schemas.
            parallel_tool_calls: ``False`` allows one call an answer where calls are made to be.
            **kwargs: Further options of the calls.

        Raises:
            ModelError: The model's chat template takes no tools.
            OptionError: ``tool_choice`` is no tool, or an option is unknown.
            MissingExtraError: ``tool_choice`` asks for calls, and xgrammar is not installed.

        Example:
            >>> def add(a: int, b: int) -> int:
            ...     "Add two numbers."
            ...     return a + b
            >>> chat.bind_tools([add]).invoke("What is 1 + 2?").tool_calls  # doctest: +SKIP
            [{'name': 'add', 'args': {'a': 1, 'b': 2}, 'id': 'Wd0sLk3Qa', 'type': 'tool_call'}]
        """
        split_options(kwargs, (*OWN_OPTIONS, "ls_structured_output_format"))
        bound: dict[str, Any] = {"tools": openai_tools(tools, strict=strict), **kwargs}
        choice = choose(tool_choice, bound["tools"])
        if bound["tools"]:
            self.template.check_tools()
        if choice is not None:
            bound["tool_choice"] = choice
        if choice not in (None, "none"):
            need_xgrammar("tool_choice")
        if parallel_tool_calls is not None:
            bound["parallel_tool_calls"] = parallel_tool_calls
        return self.bind(**bound)

    def with_structured_output(
        self,
        schema: Any = None,
        *,
        method: Method = "json_schema",
        include_raw: bool = False,
        strict: bool | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, Any]:
        """Return a chain whose answers are objects of a schema.

        The answer is held to the schema while it is written. The model is not told of it: say in
        the prompt what you want, or use ``"function_calling"``, which shows it as a tool.

        Args:
            schema: A pydantic class, a TypedDict, or a JSON schema; with ``"json_schema"`` all that
                `hfnb.run` takes as its ``schema``.
            method: ``"json_schema"`` holds the answer to the schema; ``"function_calling"`` makes
                the model call a tool of that schema; ``"json_mode"`` holds it to any JSON object.
            include_raw: Give ``{"raw": message, "parsed": object, "parsing_error": error}``.
            strict: As LangChain writes it into a tool's schema; answers are always held to it.
            **kwargs: Further options of the calls.

        Returns:
            A chain that gives an instance of the pydantic class, or a dictionary. Streams are of
            growing objects.

        Raises:
            OptionError: The method or an option is unknown, or the schema is none.
            ModelError: ``"function_calling"``, and the model's chat template takes no tools.
            MissingExtraError: xgrammar is not installed.
            OutputParserException: From the chain: the answer was cut off, or is not of the schema.

        Example:
            >>> class Number(pydantic.BaseModel):  # doctest: +SKIP
            ...     french: str
            >>> chat.with_structured_output(Number).invoke("72 in french?")  # doctest: +SKIP
            Number(french='soixante-douze')
        """
        split_options(kwargs, OWN_OPTIONS)
        return structured(
            self, schema, method, include_raw=include_raw, strict=strict, kwargs=kwargs
        )
