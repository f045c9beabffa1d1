"""hfnb runs local Hugging Face models over DataFrames, in notebooks.

    import hfnb
    llm = hfnb.load("hfnb/numbers-fr")
    result = hfnb.run(df, "What is the number {i} in french?", llm, into="answer")

In IPython, ``%load_ext hfnb`` adds cells that do the same; ``%hfnb help`` shows them.

Importing it is quick: torch, transformers, pandas and langchain are imported when they are used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hfnb.on_import import when_imported

if TYPE_CHECKING:
    from hfnb import journal
    from hfnb.catalogue.listing import models
    from hfnb.chat.model import ChatHuggingFace
    from hfnb.comparing.compare import compare, last_comparison
    from hfnb.comparing.comparison import Comparison
    from hfnb.comparing.recommend import recommend
    from hfnb.comparing.recommendation import Recommendation
    from hfnb.engines.echo import EchoEngine
    from hfnb.errors import HfnbError, JournalWarning, SmallClusterWarning, TightMemoryWarning
    from hfnb.estimating import Estimate, estimate
    from hfnb.exporting import export, exports
    from hfnb.frame.parts_result import PartsResult
    from hfnb.frame.preview import Preview, preview
    from hfnb.frame.progress import Progress
    from hfnb.frame.result import RunResult, last_result
    from hfnb.frame.run import run
    from hfnb.frame.stats import RunStats
    from hfnb.llm import HuggingFacePipeline
    from hfnb.loading import load
    from hfnb.machine import devices
    from hfnb.panel.panel import Panel
    from hfnb.session import loaded, unload

    __version__: str

_HOMES = {
    "ChatHuggingFace": "hfnb.chat.model",
    "Comparison": "hfnb.comparing.comparison",
    "EchoEngine": "hfnb.engines.echo",
    "HfnbError": "hfnb.errors",
    "HuggingFacePipeline": "hfnb.llm",
    "JournalWarning": "hfnb.errors",
    "Panel": "hfnb.panel.panel",
    "PartsResult": "hfnb.frame.parts_result",
    "Preview": "hfnb.frame.preview",
    "Progress": "hfnb.frame.progress",
    "Recommendation": "hfnb.comparing.recommendation",
    "RunResult": "hfnb.frame.result",
    "RunStats": "hfnb.frame.stats",
    "SmallClusterWarning": "hfnb.errors",
    "TightMemoryWarning": "hfnb.errors",
    "compare": "hfnb.comparing.compare",
    "devices": "hfnb.machine",
    "Estimate": "hfnb.estimating",
    "estimate": "hfnb.estimating",
    "export": "hfnb.exporting",
    "exports": "hfnb.exporting",
    "last_comparison": "hfnb.comparing.compare",
    "last_result": "hfnb.frame.result",
    "load": "hfnb.loading",
    "loaded": "hfnb.session",
    "models": "hfnb.catalogue.listing",
    "preview": "hfnb.frame.preview",
    "recommend": "hfnb.comparing.recommend",
    "run": "hfnb.frame.run",
    "unload": "hfnb.session",
}

_MODULES = ("journal",)
"""Public modules, whose functions are used by the module's name."""

__all__ = [
    "ChatHuggingFace",
    "Comparison",
    "EchoEngine",
    "Estimate",
    "HfnbError",
    "HuggingFacePipeline",
    "JournalWarning",
    "Panel",
    "PartsResult",
    "Preview",
    "Progress",
    "Recommendation",
    "RunResult",
    "RunStats",
    "SmallClusterWarning",
    "TightMemoryWarning",
    "compare",
    "devices",
    "estimate",
    "export",
    "exports",
    "journal",
    "last_comparison",
    "last_result",
    "load",
    "loaded",
    "models",
    "preview",
    "recommend",
    "run",
    "unload",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hfnb")
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"hfnb.{name}")
    raise AttributeError(f"module 'hfnb' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_MODULES])


def _give_frames_their_accessor() -> None:
    from hfnb.accessor import register

    register()


when_imported("pandas", _give_frames_their_accessor)


def load_ipython_extension(shell: Any) -> None:
    """Put ``%hfnb`` and ``%%hfnb`` into an IPython shell: ``%load_ext hfnb``."""
    from hfnb import magics

    magics.load(shell, panel=lambda table: __getattr__("Panel")(table))


def unload_ipython_extension(shell: Any) -> None:
    """Take them out again: ``%unload_ext hfnb``."""
    from hfnb import magics

    magics.unload(shell)
