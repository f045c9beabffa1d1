"""The style sheets that come with the panel."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def stylesheet(name: str) -> str:
    """Return a style sheet as an element of HTML."""
    text = files("hfnb.panel").joinpath(name).read_text(encoding="utf-8")
    return f"<style>{text}</style>"
