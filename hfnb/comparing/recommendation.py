"""What `hfnb.recommend` says: which arguments to load a model with, and why."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hfnb.comparing.comparison import Comparison
from hfnb.show import html_figures, text_figures

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline


@dataclasses.dataclass(frozen=True)
class Recommendation:
    """What to load, and why."""

    options: Mapping[str, Any]
    """The arguments for `hfnb.load`, ``model`` among them."""
    why: str
    """The figures it rests on, in words."""
    comparison: Comparison
    """All that was measured."""

    @property
    def code(self) -> str:
        """The call that loads it."""
        rest = {name: value for name, value in self.options.items() if name != "model"}
        given = "".join(f", {name}={value!r}" for name, value in rest.items())
        return f"hfnb.load({os.fspath(self.options['model'])!r}{given})"

    def load(self) -> HuggingFacePipeline:
        """Load it, as `hfnb.load` does."""
        from hfnb.loading import load

        return load(**self.options)

    def _lines(self) -> list[tuple[str, str]]:
        return [("use", self.code), ("why", self.why)]

    def __repr__(self) -> str:
        return f"{text_figures(self._lines())}\n\n{self.comparison!r}"

    def _repr_html_(self) -> str:
        figures = html_figures(self._lines(), name="hfnb-recommendation")
        return f"{figures}{self.comparison._repr_html_()}"
