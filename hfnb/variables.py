"""The tables and models among a user's variables, for the magics and the panel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfnb.engines.base import is_engine
from hfnb.frame.tables import is_lazy, is_table


def tables(names: Mapping[str, Any]) -> dict[str, Any]:
    """Return the variables that are tables, in the order in which they were made."""
    return {
        name: value
        for name, value in list(names.items())
        if not name.startswith("_") and not isinstance(value, type) and is_rows(value)
    }


def is_rows(value: object) -> bool:
    """Whether a value is a table whose rows can be run."""
    try:
        return is_table(value) or is_lazy(value)
    except Exception:  # the value's own code runs here, for every variable that Tab looks at
        return False


def is_model(value: object) -> bool:
    """Whether a value is a model that can be run: of `hfnb.load`, or an engine."""
    if isinstance(value, type):
        return False
    try:
        return is_engine(value) or is_engine(getattr(value, "engine", None))
    except Exception:  # as above
        return False
