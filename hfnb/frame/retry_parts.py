"""Repeat the call that a result in parts came from, which tries its failed rows again."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from hfnb.errors import ModelError, OptionError
from hfnb.frame.parts_result import PartsResult


def repeatable(make: Callable[[], Any], call: Mapping[str, Any]) -> Any:
    """Return a run's result, which can repeat the call where it is one in parts.

    Args:
        make: Runs, and returns the result. An error's ``result`` can repeat the call as well.
        call: The arguments of `hfnb.run`.
    """
    try:
        result = make()
    except BaseException as problem:
        partial = getattr(problem, "result", None)
        if isinstance(partial, PartsResult):
            partial.repeat = Repeat(call)
        raise
    if isinstance(result, PartsResult):
        result.repeat = Repeat(call)
    return result


class Repeat:
    """Makes a call of `hfnb.run` again. It keeps no model in memory.

    Args:
        call: The arguments, with further ones as ``options``.
    """

    def __init__(self, call: Mapping[str, Any]) -> None:
        self._call = dict(call)
        self._options = self._call.pop("options")
        self._model = self._call.pop("llm")
        self._prompt: Callable[[], Any] | None = None
        if self._model is None and not isinstance(self._call["prompt"], str):  # it is in a chain
            self._prompt = weakref.ref(self._call.pop("prompt"))
        elif self._model is not None and not isinstance(self._model, str):
            self._model = weakref.ref(self._model)

    def __call__(self, llm: Any, progress: Any) -> PartsResult:
        """Run again, and return the new result; see `PartsResult.retry`."""
        from hfnb.frame.run import run

        if isinstance(self._call["df"], Iterator):
            raise OptionError(
                "The rows came from an iterator, which is used up. Call hfnb.run again with a new "
                "one and the same out: it tries the rows again that failed."
            )
        call = {**self._call, "progress": progress}
        if self._prompt is not None:
            call["prompt"] = self._prompt()
            if call["prompt"] is None:
                raise ModelError(
                    "The chain of this run is not in memory any more. Call hfnb.run again with the "
                    "same out: it tries the rows again that failed."
                )
        if llm is None:
            llm = self._model() if isinstance(self._model, weakref.ref) else self._model
            if llm is None and self._model is not None:
                raise ModelError(
                    "The model of this run is not in memory any more. Give it: "
                    "result.retry(llm=llm)."
                )
        result: PartsResult = run(llm=llm, **call, **self._options)
        return result
