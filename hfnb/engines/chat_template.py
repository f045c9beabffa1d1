"""What a model's chat template reads, so that a wrong name is found before it is rendered."""

from __future__ import annotations

import re
from collections.abc import Mapping

from jinja2 import Environment, TemplateSyntaxError, meta

_GENERATION = re.compile(r"\{%-?\s*(end)?generation\s*-?%\}")
"""transformers' own tag, around what the assistant says; it reads no variable."""


def template_variables(template: str | Mapping[str, str] | None) -> frozenset[str]:
    """Return the variables that a chat template, or any of several by name, reads.

    Example:
        >>> sorted(template_variables("{% for m in messages %}{{ m }}{% endfor %}{{ tools }}"))
        ['messages', 'tools']
    """
    several = template.values() if isinstance(template, Mapping) else [template or ""]
    environment = Environment(extensions=["jinja2.ext.loopcontrols"])
    found: set[str] = set()
    for each in several:
        try:
            found |= meta.find_undeclared_variables(environment.parse(_GENERATION.sub("", each)))
        except TemplateSyntaxError:  # rendering it will say so
            continue
    return frozenset(found)
