"""Which model a cell runs: the one that is in use, one that a variable holds, or one to load."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hfnb import session
from hfnb.engines.base import is_engine
from hfnb.errors import OptionError
from hfnb.variables import is_model

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline


class Models:
    """The models of one shell's magics. The one in use is the session's, and so the panel's."""

    def __init__(self) -> None:
        self._loaded: tuple[weakref.ref[Any], str, dict[str, Any]] | None = None
        """The last engine that was loaded here, and what was asked for; it is not kept alive."""

    def find(
        self, model: str | None, loading: Mapping[str, Any], names: Mapping[str, Any], default: str
    ) -> HuggingFacePipeline | str:
        """Return the model that is meant; its name, where it is to be loaded first.

        Args:
            model: What was given as ``--model``.
            loading: The options of loading that were given with it.
            names: The user's variables.
            default: The name of the model to load where none is given or in use.

        Raises:
            OptionError: No model is meant, or options of loading come too late.
        """
        if model is None and (in_use := session.current()) is not None:
            _refuse(loading, "the model in use is in memory already")
            return in_use
        if model is None:
            if not default:
                raise OptionError(
                    "Which model? Load one with %hfnb load hfnb/numbers-fr, or give --model "
                    "hfnb/numbers-fr here. It is kept for the next cells."
                )
            model = default
        if model.isidentifier() and is_model(names.get(model)):
            _refuse(loading, f"the model in {model} is in memory already")
            return _as_llm(names[model])
        in_use = session.current()
        if in_use is not None and self._is(in_use, model, loading):
            return in_use
        return model

    def load(
        self, model: str, options: Mapping[str, Any], *, quiet: bool = False
    ) -> HuggingFacePipeline:
        """Load a model, and make it the one in use.

        Args:
            model: What `hfnb.load` takes.
            options: Its options.
            quiet: Say nothing while it loads.

        Raises:
            ModelError: It can't be found or read.
            OptionError: An option's name or value is wrong.
        """
        from hfnb.loading import load

        llm = load(model, progress=False if quiet else "auto", **options)
        self._loaded = weakref.ref(llm.engine), model, dict(options)
        session.use(llm)
        return llm

    def _is(self, llm: HuggingFacePipeline, model: str, loading: Mapping[str, Any]) -> bool:
        """Whether a model is what loading would give again."""
        if self._loaded is not None and self._loaded[0]() is llm.engine:
            return self._loaded[1:] == (model, dict(loading))
        return llm.model_id == model and not loading


def _as_llm(value: Any) -> HuggingFacePipeline:
    if is_engine(value):
        from hfnb.llm import HuggingFacePipeline

        return HuggingFacePipeline(engine=value, batch_size="auto", chat="auto")
    llm: HuggingFacePipeline = value
    return llm


def _refuse(loading: Mapping[str, Any], why: str) -> None:
    if loading:
        first = next(iter(loading)).replace("_", "-")
        raise OptionError(
            f"--{first} says how a model is loaded, and {why}. Give --model with its name, too."
        )
