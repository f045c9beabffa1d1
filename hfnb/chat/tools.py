"""Tools for chat models: what a model's chat template takes, and how its calls are forced."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from langchain_core.utils.function_calling import convert_to_openai_tool

from hfnb.chat.reply import ARGS, CALL, END_CALL, END_THINK, PYTHON_TAG, THINK, TOOL_CALLS
from hfnb.engines.base import Chat, Engine, Message
from hfnb.errors import MissingExtraError, ModelError, OptionError, closest, listing
from hfnb.spec import Grammar

ToolFormat = Literal["hermes", "qwen xml", "llama", "mistral list", "mistral args"]
_ANY = ("any", "required", True)


class Template:
    """What the chat template of an engine's model says about tools and reasoning."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._opens: dict[str, bool | None] = {}
        self.text = _template_text(engine)

    def check_tools(self) -> None:
        """Refuse tools where the template does not take any.

        Raises:
            ModelError: The model would not be told of its tools.
        """
        if "tools" not in self.engine.info.template_variables:
            raise ModelError(
                f"The chat template of {self.engine.info.model!r} takes no tools, so the model "
                "would not be told of them. Use a model that was trained to call tools, or "
                'with_structured_output(schema, method="json_schema"), which needs no tools.'
            )

    @property
    def format(self) -> ToolFormat:
        """How this model writes its tool calls."""
        text = self.text or ""
        if CALL in text:
            return "qwen xml" if "<function=" in text else "hermes"
        if TOOL_CALLS in text:
            return "mistral args" if ARGS in text else "mistral list"
        if PYTHON_TAG in text or '"parameters"' in text:
            return "llama"
        return "hermes"

    def opens_reasoning(self, chat: Chat) -> bool | None:
        """Return whether the prompt ends inside of the reasoning; ``None`` when nobody knows."""
        if chat.prefill:
            text = chat.messages[-1].content
            return text.rfind(THINK) > text.rfind(END_THINK)
        if self.text is None:
            return None
        if THINK not in self.text:
            return False
        key = repr(sorted(chat.options.items(), key=lambda item: item[0])) + str(bool(chat.tools))
        if key not in self._opens:
            self._opens[key] = self._render_opens(chat)
        return self._opens[key]

    def _render_opens(self, chat: Chat) -> bool | None:
        tokenizer = getattr(getattr(self.engine, "loaded", None), "tokenizer", None)
        if tokenizer is None:
            return None
        try:
            text = tokenizer.apply_chat_template(
                [{"role": "user", "content": "a"}],
                tools=list(chat.tools) or None,
                add_generation_prompt=True,
                tokenize=False,
                **chat.options,
            )
        except Exception:  # the real messages will say what is wrong
            return None
        return bool(str(text).rstrip().endswith(THINK))


def _template_text(engine: Engine) -> str | None:
    """Return the chat template's text where the engine shows it."""
    found = getattr(engine, "chat_template", None)
    if found is None:
        tokenizer = getattr(getattr(engine, "loaded", None), "tokenizer", None)
        found = getattr(tokenizer, "chat_template", None)
    if isinstance(found, Mapping):
        found = found.get("tool_use") or found.get("default") or next(iter(found.values()), None)
    return found if isinstance(found, str) else None


def probe(options: Mapping[str, Any], tools: Sequence[Mapping[str, Any]]) -> Chat:
    """Return a chat that stands for all those with these options."""
    return Chat((Message("user", "a"),), tuple(tools), options)


def openai_tools(tools: Sequence[Any], *, strict: bool | None = None) -> list[dict[str, Any]]:
    """Return tools of any kind that LangChain knows as JSON schemas in OpenAI's form.

    Raises:
        OptionError: One of them is no function.
    """
    converted = []
    for each in tools:
        tool = convert_to_openai_tool(each, strict=strict)
        if not isinstance(tool.get("function"), dict) or "name" not in tool["function"]:
            raise OptionError(
                f"A tool of type {tool.get('type')!r} runs on a provider's servers. A local model "
                "calls functions: pass a function, a pydantic class, a BaseTool or a JSON schema."
            )
        converted.append(tool)
    return converted


def choose(tool_choice: Any, tools: Sequence[Mapping[str, Any]]) -> str | None:
    """Return ``tool_choice`` as ``None``, ``"none"``, ``"any"``, or the name of a tool.

    Raises:
        OptionError: It names no tool.
    """
    if tool_choice in (None, False, "auto", "none"):
        return "none" if tool_choice == "none" else None
    names = [tool["function"]["name"] for tool in tools]
    if isinstance(tool_choice, Mapping):
        inner = tool_choice.get("function")
        name = inner.get("name") if isinstance(inner, Mapping) else tool_choice.get("name")
        if name is None:
            return choose(tool_choice.get("type"), tools)
        tool_choice = name
    if not names:
        raise OptionError(f"tool_choice={tool_choice!r} is given without any tools.")
    if tool_choice in names:
        return str(tool_choice)
    if tool_choice in _ANY:
        return "any"
    words = ("auto", "any", "required", "none")
    raise OptionError(
        f"tool_choice={tool_choice!r} is no tool.{closest(tool_choice, (*names, *words))} "
        f"The tools are {listing(names)}; or give one of {listing(words)}."
    )


def need_xgrammar(what: str) -> None:
    """Raise `MissingExtraError` where the package that holds answers to a grammar is missing."""
    if importlib.util.find_spec("xgrammar") is None:
        raise MissingExtraError(
            f"{what} holds the answer to a grammar, which needs the package xgrammar. Install it "
            'with: pip install "hfnb[structured]"'
        )


def call_grammar(
    tools: Sequence[Mapping[str, Any]],
    choice: str,
    written: ToolFormat,
    *,
    several: bool = True,
    opened: bool = False,
    text: str = "",
) -> Grammar:
    """Return the grammar of an answer that must call tools.

    Args:
        tools: The functions that may be called, in OpenAI's form.
        choice: ``"any"``, or the name of the one to call.
        written: How the model writes its calls.
        several: Whether there may be more than one call. One that is named is called once.
        opened: Whether the answer begins inside of the reasoning.
        text: The chat template, whose own spaces are kept.
    """
    functions = [tool["function"] for tool in tools]
    if choice != "any":
        functions = [each for each in functions if each["name"] == choice]
    several = several and choice == "any"
    tags = [_call_tag(each, written) for each in functions]
    separators = {"llama": "; ", "mistral list": ", ", "mistral args": ""}
    calls: dict[str, Any] = {
        "type": "tags_with_separator",
        "tags": tags,
        "separator": separators.get(written, "\n"),
        "at_least_one": True,
        "stop_after_first": not several,
    }
    if written == "mistral list":
        begin = f"{TOOL_CALLS} [" if f"{TOOL_CALLS} [" in text else f"{TOOL_CALLS}["
        calls = _sequence(_constant(begin), calls, _constant("]"))
    return Grammar("structural_tag", _structural(calls, opened))


def json_grammar(schema: Mapping[str, Any], *, opened: bool = False) -> Grammar:
    """Return the grammar of an answer that is JSON of a schema."""
    if not opened:
        return Grammar("json_schema", json.dumps(schema, ensure_ascii=False))
    answer = {"type": "json_schema", "json_schema": dict(schema)}
    return Grammar("structural_tag", _structural(answer, opened))


def _call_tag(function: Mapping[str, Any], written: ToolFormat) -> dict[str, Any]:
    name = function["name"]
    quoted = json.dumps(name, ensure_ascii=False)
    begin, end = f'{{"name": {quoted}, "arguments": ', "}"
    if written == "llama":
        begin = f'{{"name": {quoted}, "parameters": '
    elif written == "mistral args":
        begin, end = f"{TOOL_CALLS}{name}{ARGS}", ""
    elif written == "hermes":
        begin, end = f"{CALL}\n{begin}", f"}}\n{END_CALL}"
    elif written == "qwen xml":
        begin, end = f"{CALL}\n<function={name}>\n", f"\n</function>\n{END_CALL}"
    schema = function.get("parameters") or {"type": "object", "properties": {}}
    content: dict[str, Any] = {"type": "json_schema", "json_schema": schema}
    if written == "qwen xml":
        content["style"] = "qwen_xml"
    return {"type": "tag", "begin": begin, "content": content, "end": end}


def _structural(answer: Mapping[str, Any], opened: bool) -> str:
    if opened:
        reasoning = {"type": "tag", "begin": "", "content": {"type": "any_text"}, "end": END_THINK}
        space = {"type": "regex", "pattern": "\\n{0,2}"}
        answer = _sequence(reasoning, space, answer)
    return json.dumps({"type": "structural_tag", "format": answer}, ensure_ascii=False)


def _sequence(*elements: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "sequence", "elements": list(elements)}


def _constant(text: str) -> dict[str, Any]:
    return {"type": "const_string", "value": text}
