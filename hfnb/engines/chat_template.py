"""What a model's chat template reads, so that a wrong name is found before it is rendered."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from hfnb.engines.base import EngineInfo
from hfnb.errors import OptionError, closest, listing

GENERATION_TAG = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""transformers' own tag, around what the assistant says; it reads no variable."""

_OURS = frozenset(
    """
    messages tools add_generation_prompt continue_final_message tokenize chat_template
    conversation return_tensors return_dict padding truncation max_length
    """.split()
)
"""What hfnb itself says to the template, or to transformers, which renders it."""


def check_template_options(info: EngineInfo, options: Mapping[str, Any]) -> None:
    """Refuse variables that a model's chat template does not read.

    Raises:
        OptionError: With the closest name.
    """
    known = info.template_variables - _OURS
    for name in options:
        if name in _OURS:
            raise OptionError(
                f"chat_template_kwargs has {name!r}, which hfnb sets itself: it holds the "
                "template's further variables, such as enable_thinking."
            )
        if name not in known:
            raise OptionError(
                f"The chat template of {info.model!r} reads no variable {name!r}."
                f"{closest(name, known)} It reads: "
                f"{listing(sorted(known)) or 'none besides the messages'}."
            )


def template_text(template: str | Mapping[str, str] | None, *, tools: bool = True) -> str:
    """Return a chat template; of several by name the one for calls with tools, or without."""
    if isinstance(template, Mapping):
        first = next(iter(template.values()), "")
        return (template.get("tool_use") if tools else None) or template.get("default") or first
    return template or ""


def template_variables(template: str | Mapping[str, str] | None) -> frozenset[str]:
    """Return the variables that a chat template, or any of several by name, reads.

    Example:
        >>> sorted(template_variables("{% for m in messages %}{{ m }}{% endfor %}{{ tools }}"))
        ['messages', 'tools']
    """
    if not template:
        return frozenset()
    from jinja2 import Environment, TemplateSyntaxError, meta

    several = template.values() if isinstance(template, Mapping) else [template]
    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    found: set[str] = set()
    for each in several:
        try:
            found |= meta.find_undeclared_variables(environment.parse(GENERATION_TAG.sub("", each)))
        except TemplateSyntaxError:  # rendering it will say so
            continue
    return frozenset(found)
