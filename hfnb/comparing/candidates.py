"""What is compared: models by their names, by the arguments of `hfnb.load`, or loaded already."""

from __future__ import annotations

import dataclasses
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hfnb import hub
from hfnb.engines.base import is_engine
from hfnb.errors import HfnbError, OptionError
from hfnb.loading import check_load
from hfnb.spec import ModelSpec, check_backend

_OWN = ("prompt", "label")
_ANYWAY = (("dtype", "auto"), ("batch_size", "auto"), ("device", "auto"))
"""What a candidate has where it says nothing."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """One of the models that are compared, with its prompt."""

    label: str
    """Its name in all tables, and of its column."""
    prompt: Any
    options: Mapping[str, Any] | None = None
    """The arguments of `hfnb.load`; ``None`` for a model that was loaded already."""
    pickled: bytes | None = None
    """A model that was loaded already, as how it was loaded."""
    told: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """What is known of it before it is loaded: ``model``, ``backend``, ``device``, ..."""

    def load(self) -> Any:
        """Load it in this process; return a model of hfnb's, or an engine."""
        if self.pickled is not None:
            return pickle.loads(self.pickled)
        from hfnb.loading import load

        return load(**{"progress": False, **(self.options or {})})


def candidates_of(given: Sequence[Any], prompt: Any) -> list[Candidate]:
    """Return what is compared, each with a label of its own.

    Args:
        given: For each a name, a dictionary of `hfnb.load`'s arguments (``model`` among them; also
            ``prompt`` and ``label``), or a model that `hfnb.load` has returned.
        prompt: The prompt of those that bring none.

    Raises:
        OptionError: One of them is none of these, or has a wrong argument.
        ModelError: A folder or a packaged model is not there.
    """
    if isinstance(given, (str, os.PathLike, Mapping)) or not isinstance(given, Sequence):
        raise OptionError(
            "compare takes a list of candidates: names, dictionaries of hfnb.load's arguments, or "
            f"loaded models; not {type(given).__name__}."
        )
    if not given:
        raise OptionError("compare needs candidates: at least one.")
    every = [_candidate(each, prompt) for each in given]
    return _labelled(every)


def _candidate(given: Any, prompt: Any) -> Candidate:
    if isinstance(given, (str, os.PathLike)):
        given = {"model": given}
    if isinstance(given, Mapping):
        options = {name: value for name, value in given.items() if name not in _OWN}
        if "model" not in options:
            raise OptionError(f"A candidate names its model: {{'model': ..., ...}}; not {given!r}.")
        _check_there(check_load(**options))
        told = {**options, "model": os.fspath(options["model"])}
        return Candidate(
            str(given.get("label", "")), given.get("prompt", prompt), options, None, told
        )
    if is_engine(given) or hasattr(given, "engine"):
        return _loaded(given, prompt)
    raise OptionError(
        "A candidate is a model's name, a dictionary of hfnb.load's arguments, or what hfnb.load "
        f"returned; not {type(given).__name__}."
    )


def _loaded(llm: Any, prompt: Any) -> Candidate:
    """Return a candidate of a model in memory, which its own process loads again."""
    engine = getattr(llm, "engine", llm)
    try:
        pickled = pickle.dumps(llm)
    except HfnbError as problem:  # it was wrapped
        raise OptionError(
            f"Each candidate is loaded again in a process of its own, and {problem}"
        ) from problem
    except Exception as problem:  # a user's function in it, such as an echo engine's
        raise OptionError(
            "Each candidate is loaded again in a process of its own, and this "
            f"{type(llm).__name__} can't be sent there: {problem}"
        ) from problem
    info, spec = engine.info, getattr(engine, "spec", None)
    told: dict[str, Any] = {"model": info.model, "backend": info.backend}
    if isinstance(spec, ModelSpec):
        told |= {"device": spec.device, "dtype": spec.dtype, "weight_format": spec.weight_format}
    return Candidate("", prompt, None, pickled, told)


def _check_there(spec: ModelSpec) -> None:
    """Find a wrong name before anything is loaded; what only the Hub knows is asked for later."""
    on_hub = hub.is_hub_id(spec.model) and not Path(spec.model).is_dir()
    if spec.model.startswith("hfnb/") or not on_hub:
        hub.find(spec)


def _labelled(every: Sequence[Candidate]) -> list[Candidate]:
    """Give each candidate a label that tells it from the others, as short as that allows."""
    found: list[Candidate] = []
    labels: set[str] = set()
    for each, words in zip(every, _described(every), strict=True):
        base = each.label or words or str(each.told.get("model", "model"))
        label, count = base, 2
        while label in labels:
            label, count = f"{base} #{count}", count + 1
        labels.add(label)
        found.append(dataclasses.replace(each, label=label))
    return found


def _described(every: Sequence[Candidate]) -> list[str]:
    """Return what tells each candidate from the others; empty where nothing does."""
    names = list(dict.fromkeys([*_FIRST, *(name for each in every for name in each.told)]))
    prompts: list[Any] = []
    for each in every:
        if each.prompt not in prompts:
            prompts.append(each.prompt)
    columns = [[_words(each, name) for each in every] for name in names]
    if len(prompts) > 1:
        columns.append([f"prompt {prompts.index(each.prompt) + 1}" for each in every])
    telling: list[list[str]] = []
    for column in columns:  # each is taken that tells some apart which the ones before do not
        before = set(zip(*telling, strict=True)) or {()}
        if len(set(zip(*telling, column, strict=True))) > len(before):
            telling.append(column)
    if not telling:
        return [""] * len(every)
    return [" ".join(filter(None, row)) for row in zip(*telling, strict=True)]


_FIRST = ("model", "backend", "weight_format", "device", "dtype")
"""Arguments whose values need no name beside them, in the order of a label."""


def _words(each: Candidate, name: str) -> str:
    """Return what a label says of an argument; nothing for what is so anyway."""
    value = each.told.get(name)
    if name == "backend":
        return check_backend(str(value or "pytorch")) if value != "echo" else "echo"
    if value is None or (name, value) in _ANYWAY:
        return ""
    return str(value) if name in _FIRST else f"{name}={value}"
