"""Answers as objects: schemas, and LangChain's parsers with an eye on answers that were cut off."""

from __future__ import annotations

import json
from collections.abc import Mapping
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.exceptions import OutputParserException
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import AIMessage
from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
from langchain_core.output_parsers.openai_tools import (
    JsonOutputKeyToolsParser,
    PydanticToolsParser,
)
from langchain_core.outputs import ChatGeneration, Generation
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
from langchain_core.utils.pydantic import is_basemodel_subclass
from pydantic import BaseModel
from typing_extensions import is_typeddict

from hfnb.chat.tools import need_xgrammar
from hfnb.errors import OptionError, closest, listing
from hfnb.schema.answer import refusal
from hfnb.schema.read import Schema, is_document, read_schema

if TYPE_CHECKING:
    from hfnb.chat.model import ChatHuggingFace

Method = Literal["json_schema", "function_calling", "json_mode"]
METHODS: tuple[Method, ...] = ("json_schema", "function_calling", "json_mode")


class _Json(JsonOutputParser):
    """LangChain's parser, which would make something of half an answer."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _refuse_cut_off(result)
        return super().parse_result(result, partial=partial)


class _Pydantic(PydanticOutputParser[Any]):
    """LangChain's parser, which would make something of half an answer."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _refuse_cut_off(result)
        return super().parse_result(result, partial=partial)


class _Value(_Json):
    """Makes of the JSON what a type of Python asks for."""

    answers: Any

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        value = super().parse_result(result, partial=partial)
        if self.answers.adapter is None:
            return value
        try:
            return self.answers.adapter.validate_python(value)
        except ValueError as error:  # pydantic's own is one
            if partial:
                return value  # of a stream, which grows
            raise OutputParserException(
                f"The answer {result[0].text!r} is refused: {refusal(error)}",
                llm_output=result[0].text,
            ) from error


class _KeyCall(JsonOutputKeyToolsParser):
    """LangChain's parser, which would make nothing of half an answer."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _refuse_cut_off(result)
        return super().parse_result(result, partial=partial)


class _PydanticCall(PydanticToolsParser):
    """LangChain's parser, which would make nothing of half an answer."""

    def parse_result(self, result: list[Generation], *, partial: bool = False) -> Any:
        _refuse_cut_off(result)
        return super().parse_result(result, partial=partial)


def structured(
    model: ChatHuggingFace,
    schema: Any,
    method: Method,
    *,
    include_raw: bool,
    strict: bool | None,
    kwargs: Mapping[str, Any],
) -> Runnable[LanguageModelInput, Any]:
    """Return a chain whose answers are objects; see `ChatHuggingFace.with_structured_output`."""
    if method not in METHODS:
        raise OptionError(
            f"Unknown method {method!r}.{closest(method, METHODS)} Use {listing(METHODS)}."
        )
    if schema is None and method != "json_mode":
        raise OptionError(f"with_structured_output needs a schema for method={method!r}.")
    told: dict[str, Any] = dict(kwargs)
    if schema is not None:
        shown = {"kwargs": {"method": method, "strict": strict}, "schema": schema}
        told["ls_structured_output_format"] = shown
    bound: Runnable[LanguageModelInput, AIMessage]
    if method == "json_schema" and not _is_of_langchain(schema):
        schema = read_schema(schema)
    if method == "function_calling":
        told["parallel_tool_calls"] = False
        bound = model.bind_tools([schema], tool_choice="any", strict=strict, **told)
    else:
        need_xgrammar("with_structured_output")
        form: dict[str, Any] = {"type": "json_object"}
        if method == "json_schema":
            form = {"type": "json_schema", "json_schema": {"schema": schema_of(schema)}}
        bound = model.bind(response_format=form, **told)
    parser = parser_of(schema, method)
    return with_raw(bound, parser) if include_raw else bound | parser


def schema_of(schema: Any) -> dict[str, Any]:
    """Return the JSON schema of a pydantic class, a TypedDict, a dictionary, or one of hfnb's.

    Raises:
        OptionError: It is none of them.
    """
    if isinstance(schema, Schema):
        if schema.form == "labels":
            return {"enum": list(schema.labels)}
        return schema.plain or {"type": "string", "pattern": schema.pattern}
    if isinstance(schema, type) and issubclass(schema, BaseModel):
        return schema.model_json_schema()
    if isinstance(schema, Mapping) and "function" not in schema and "parameters" not in schema:
        return dict(schema)
    try:
        return convert_to_json_schema(schema)
    except (ValueError, TypeError) as error:
        raise OptionError(
            f"schema is a pydantic class, a TypedDict or a JSON schema; not {schema!r}: {error}"
        ) from error


def _is_of_langchain(schema: Any) -> bool:
    """Whether LangChain itself makes a JSON schema of it; hfnb's own forms are more."""
    if isinstance(schema, Mapping):
        return is_document(schema) or "function" in schema or "parameters" in schema
    return is_typeddict(schema) or (isinstance(schema, type) and is_basemodel_subclass(schema))


def parser_of(schema: Any, method: Method) -> Runnable[Any, Any]:
    """Return the parser that makes an object of an answer."""
    if isinstance(schema, Schema):
        return _Value(answers=schema)
    pydantic = isinstance(schema, type) and is_basemodel_subclass(schema)
    if method == "function_calling":
        if pydantic:
            return _PydanticCall(tools=[schema], first_tool_only=True)
        name = convert_to_openai_tool(schema)["function"]["name"]
        return _KeyCall(key_name=name, first_tool_only=True)
    return _Pydantic(pydantic_object=schema) if pydantic else _Json()


def with_raw(model: Runnable[Any, Any], parser: Runnable[Any, Any]) -> Runnable[Any, Any]:
    """Return a chain that gives ``raw``, ``parsed`` and ``parsing_error``.

    Its batches are the model's own: `RunnableMap` would ask for one answer at a time.
    """
    parsed = RunnablePassthrough.assign(
        parsed=itemgetter("raw") | parser, parsing_error=lambda _: None
    )
    failed = RunnablePassthrough.assign(parsed=lambda _: None)
    return (
        model
        | RunnableLambda(_raw)
        | parsed.with_fallbacks([failed], exception_key="parsing_error")
    )


def _raw(message: Any) -> dict[str, Any]:
    return {"raw": message}


def _refuse_cut_off(result: list[Generation]) -> None:
    """Raise where the answer ended because it was as long as it may be, and is not whole."""
    generation = result[0]
    if not isinstance(generation, ChatGeneration):
        return
    message = generation.message
    if message.response_metadata.get("finish_reason") != "length":
        return
    if isinstance(message, AIMessage) and message.tool_calls and not message.invalid_tool_calls:
        return
    try:
        json.loads(generation.text)
    except ValueError:
        tokens = (getattr(message, "usage_metadata", None) or {}).get("output_tokens")
        raise OutputParserException(
            f"The answer was cut off after {tokens} new tokens, before its JSON was complete. "
            "Give more of them with max_new_tokens, or ask for less.",
            llm_output=generation.text,
        ) from None
