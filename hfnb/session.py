"""What this session holds: the models in memory, and the one that panel and magics share."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import psutil

from hfnb.engines import loaded as in_memory
from hfnb.engines.base import Engine, EngineInfo, is_engine
from hfnb.engines.shortage import give_back
from hfnb.errors import ModelError, OptionError, closest, listing
from hfnb.hardware import memory_free
from hfnb.measure import device_memory
from hfnb.show import html_table, size, text_table

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline

_HEAD = ("model", "task", "backend", "device", "dtype", "weights")

_current: HuggingFacePipeline | None = None
_watchers: list[Callable[[HuggingFacePipeline | None], Any]] = []


def current() -> HuggingFacePipeline | None:
    """Return the model that panel and magics share; ``None`` while there is none.

    Example:
        >>> import hfnb
        >>> from hfnb.session import current, use
        >>> use(hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine()))
        >>> current().invoke("hello")
        'hello'
        >>> use(None)
    """
    return _current


def use(llm: HuggingFacePipeline | None) -> None:
    """Make a model the one that panel and magics share; ``None`` leaves them without.

    Raises:
        OptionError: It is no model of hfnb's.
    """
    global _current
    if llm is not None and not is_engine(getattr(llm, "engine", None)):
        raise OptionError(
            f"use takes what hfnb.load returns; not {type(llm).__name__}. A name is loaded first: "
            "use(hfnb.load(name))."
        )
    _current = llm
    for each in list(_watchers):
        each(llm)


def watch(watcher: Callable[[HuggingFacePipeline | None], Any]) -> None:
    """Call a function with the model that panel and magics share, each time that it changes."""
    _watchers.append(watcher)


def unwatch(watcher: Callable[[HuggingFacePipeline | None], Any]) -> None:
    """Call the function no more."""
    if watcher in _watchers:
        _watchers.remove(watcher)


@dataclasses.dataclass(frozen=True)
class LoadedModel:
    """A model in memory."""

    model: str
    task: str
    backend: str
    device: str
    dtype: str
    """What it computes in."""
    parameters: int
    weight_bytes: int
    """Bytes of its weights. Keys, values and what is computed with come on top while it runs."""
    engine: Engine = dataclasses.field(repr=False)

    def unload(self) -> Unloaded:
        """Give its memory back; see `hfnb.unload`."""
        return unload(self)


class LoadedModels(Sequence[LoadedModel]):
    """The models in memory, the largest first; `weight_bytes` of all together, and `unload`."""

    def __init__(self, every: Sequence[LoadedModel] = ()) -> None:
        self._every = tuple(every)

    @overload
    def __getitem__(self, index: int) -> LoadedModel: ...
    @overload
    def __getitem__(self, index: slice) -> LoadedModels: ...
    def __getitem__(self, index: int | slice) -> LoadedModel | LoadedModels:
        if isinstance(index, slice):
            return LoadedModels(self._every[index])
        return self._every[index]

    def __iter__(self) -> Iterator[LoadedModel]:
        return iter(self._every)

    def __len__(self) -> int:
        return len(self._every)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the weights, all together."""
        return sum(each.weight_bytes for each in self._every)

    def unload(self) -> Unloaded:
        """Give the memory of all of them back; see `hfnb.unload`."""
        return _unload([each.engine for each in self._every])

    def __repr__(self) -> str:
        return text_table(_HEAD, self._rows(), self._notes()) if self._every else self._notes()[0]

    def _repr_html_(self) -> str:
        return html_table(_HEAD, self._rows(), self._notes(), name="hfnb-loaded")

    def _rows(self) -> list[list[str]]:
        return [
            [each.model, each.task, each.backend, each.device, each.dtype, size(each.weight_bytes)]
            for each in self._every
        ]

    def _notes(self) -> list[str]:
        free = f"{size(memory_free())} of memory free"
        if not self._every:
            return [f"no model in memory · {free}"]
        return [f"{size(self.weight_bytes)} of weights · {free} · hfnb.unload(model) gives it back"]


def loaded() -> LoadedModels:
    """Return the models that `hfnb.load` has put into memory, and that are still there.

    A model stays in memory as long as something uses it: a variable, a chain, a result that can be
    retried. `hfnb.unload` gives its memory back at once.

    Returns:
        A sequence, shown as a table. Each has ``model``, ``task``, ``backend``, ``device``,
        ``dtype``, ``parameters``, ``weight_bytes`` and its own ``unload()``.

    Example:
        >>> import hfnb
        >>> llm = hfnb.load("hfnb/numbers-fr")
        >>> [each.model for each in hfnb.loaded()]
        ['hfnb/numbers-fr']
    """
    return LoadedModels([_described(each) for each in in_memory.engines()])


def _described(engine: Engine) -> LoadedModel:
    info: EngineInfo = engine.info
    return LoadedModel(
        info.model,
        info.task,
        info.backend,
        info.device,
        info.dtype,
        info.parameters,
        info.weight_bytes,
        engine,
    )


class Unloaded(NamedTuple):
    """What `hfnb.unload` has done."""

    models: tuple[str, ...]
    freed_bytes: int
    """Memory of this process, and of its accelerator, that was given back: measured, not added."""

    def __repr__(self) -> str:
        if not self.models:
            return "no model was in memory"
        return f"unloaded {listing(self.models)}: {size(self.freed_bytes)} given back"


def unload(model: object = None) -> Unloaded:
    """Give the memory of a model back, or of all. Who still has it is told so at the next call.

    Args:
        model: What `hfnb.load` returned, the name it was loaded by, or an entry of `hfnb.loaded`;
            ``None`` is all of them. Of several by one name, all are unloaded.

    Returns:
        The models' names and the bytes that were given back, measured.

    Raises:
        ModelError: No model of that name is in memory, with those that are.
        OptionError: It is no model of hfnb's.

    Example:
        >>> import hfnb
        >>> llm = hfnb.load("hfnb/numbers-fr")
        >>> hfnb.unload("hfnb/numbers-fr").models
        ('hfnb/numbers-fr',)
    """
    every = in_memory.engines()
    if model is None:
        return _unload(every)
    if isinstance(model, (str, os.PathLike)):
        name = os.fspath(model)
        found = [each for each in every if each.info.model == name]
        if not found:
            names = list(dict.fromkeys(each.info.model for each in every))
            here = f"Loaded are {listing(names)}." if names else "None is."
            raise ModelError(f"No model {name!r} is in memory.{closest(name, names)} {here}")
        return _unload(found)
    return _unload([_engine_of(model)])


def _engine_of(model: Any) -> Engine:
    """Return the engine of a model, of a chat model over one, or of an entry of `loaded`."""
    for each in (model, getattr(model, "llm", None)):
        engine = getattr(each, "engine", each)
        if is_engine(engine):
            return engine
    raise OptionError(
        f"unload takes what hfnb.load returned, or a model's name; not {type(model).__name__}. "
        "hfnb.loaded() lists the models in memory."
    )


def _unload(engines: Sequence[Engine]) -> Unloaded:
    before = _held()
    for each in engines:
        each.close()
    if _current is not None and any(each is _current.engine for each in engines):
        use(None)
    give_back()
    return Unloaded(tuple(each.info.model for each in engines), max(0, before - _held()))


def _held() -> int:
    """Return the bytes that this process holds now, on the host and on the accelerator."""
    return int(psutil.Process().memory_info().rss) + (device_memory() or 0)
