"""Render a chat template as transformers does, without importing it."""

from __future__ import annotations

import copy
import datetime
import functools
import json
from collections.abc import Mapping
from typing import Any

from jinja2 import Environment, Template, TemplateError, nodes
from jinja2.ext import Extension
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from hfnb.engines.base import Chat

_MARK = "CONTINUE_FINAL_MESSAGE_TAG "


def rendered(template: str, chat: Chat, special_tokens: Mapping[str, str]) -> str:
    """Return a chat's text.

    Args:
        template: The chat template.
        chat: What is said, and the template's further variables.
        special_tokens: The tokenizer's special tokens, by names such as ``"bos_token"``.

    Raises:
        jinja2.TemplateError: The template refuses the messages.
    """
    messages = [
        {"role": each.role, "content": each.content, **each.fields} for each in chat.messages
    ]
    final = messages[-1]["content"] if chat.prefill else ""
    if chat.prefill:  # a mark shows where the last message ends, as in transformers
        messages = _marked(messages)
    text: str = _compiled(template).render(
        messages=messages,
        tools=list(chat.tools) or None,
        documents=None,
        add_generation_prompt=not chat.prefill,
        **{**special_tokens, **chat.options},
    )
    return _cut_at_mark(text, final) if chat.prefill else text


class _GenerationTag(Extension):
    """transformers' own tag around what the assistant says; here it changes nothing."""

    def __init__(self, environment: Environment) -> None:
        self.tags = {"generation"}
        super().__init__(environment)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Return what stands within."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _environment() -> ImmutableSandboxedEnvironment:
    """Return what transformers renders chat templates with."""

    def to_json(
        value: Any,
        ensure_ascii: bool = False,
        indent: int | None = None,
        separators: tuple[str, str] | None = None,
        sort_keys: bool = False,
    ) -> str:
        return json.dumps(
            value,
            ensure_ascii=ensure_ascii,
            indent=indent,
            separators=separators,
            sort_keys=sort_keys,
        )

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def now(form: str) -> str:
        return datetime.datetime.now().strftime(form)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=[_GenerationTag, "jinja2.ext.loopcontrols"],
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = now
    return environment


@functools.lru_cache(maxsize=32)
def _compiled(template: str) -> Template:
    return _environment().from_string(template)


def _marked(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return messages with a mark at the end of the last one's text."""
    messages = [*messages[:-1], copy.deepcopy(messages[-1])]
    content = messages[-1]["content"]
    if isinstance(content, str):
        messages[-1]["content"] = content + _MARK
        return messages
    for part in reversed(content):
        if "text" in part:
            part["text"] += _MARK
            return messages
    raise TemplateError("the last message has no text to continue")


def _cut_at_mark(text: str, final: Any) -> str:
    """Cut a rendered chat at the mark; where the template strips messages, before the space too."""
    at = text.rfind(_MARK.strip())
    if at < 0 or (isinstance(final, str) and final.strip() not in text):
        raise TemplateError(
            "the last message can't be continued, since the template does not write it as it is"
        )
    return text[:at] if text.startswith(_MARK, at) else text[:at].rstrip()
