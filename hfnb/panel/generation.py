"""The options of generating: what was typed, and what `hfnb.run` is given for it."""

from __future__ import annotations

import ast
from typing import Any

from hfnb.errors import HfnbError, OptionError
from hfnb.escapes import unescape
from hfnb.options import check_option, check_stop
from hfnb.panel.state import Asking
from hfnb.spec import check_batch_size

FIELDS = ("max_new_tokens", "temperature", "top_p", "seed", "batch_size", "stop")
"""The options that have a control."""


def options_of(asking: Asking) -> dict[str, Any]:
    r"""Return the options of a run that were typed, as `hfnb.run` takes them.

    Raises:
        OptionError: One of them can't be that.

    Example:
        >>> options_of(Asking().with_option("max_new_tokens", "32").with_option("stop", r"\n"))
        {'max_new_tokens': 32, 'stop': ['\n']}
    """
    read: dict[str, Any] = {}
    for name in FIELDS:
        text = asking.option(name)
        if text.strip():
            read[name] = _read(name, text)
    return read


def problem_of(asking: Asking) -> str:
    """Return what is wrong with the options that were typed; empty if nothing is."""
    try:
        options_of(asking)
    except HfnbError as error:
        return str(error)
    return ""


def _read(name: str, text: str) -> Any:
    if name == "stop":
        return list(check_stop([unescape(line) for line in text.split("\n") if line]))
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        value = text.strip()
    if name == "batch_size":
        return check_batch_size(value)
    if isinstance(value, str):
        raise OptionError(f"{name} is a number; not {value!r}.")
    return check_option(name, value)
