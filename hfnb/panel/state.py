"""All that the panel knows, as frozen values. Nothing here has a widget."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hfnb.frame.progress import Progress
from hfnb.spec import QUANTISED

if TYPE_CHECKING:
    from hfnb.catalogue.entry import ModelEntry
    from hfnb.comparing.comparison import Comparison
    from hfnb.estimating import Estimate
    from hfnb.frame.result import RunResult
    from hfnb.llm import HuggingFacePipeline
    from hfnb.machine import Devices

AUTO = "auto"
"""The choice that leaves it to hfnb."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Which model, and how it is loaded."""

    model: str = ""
    """A packaged model, a folder, or a Hub id."""
    task: str = AUTO
    backend: str = "pytorch"
    device: str = AUTO
    precision: str = AUTO
    """The dtype with PyTorch, the weight format with OpenVINO."""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> Choice:
        """Return the choice that gives `hfnb.load` these arguments, ``model`` among them."""
        precision = options.get("weight_format") or options.get("dtype")
        return cls(
            model=str(options["model"]),
            task=options.get("task") or AUTO,
            backend=options.get("backend") or "pytorch",
            device=str(options.get("device") or AUTO),
            precision=str(precision or AUTO),
        )

    def arguments(self) -> dict[str, Any]:
        """Return what `hfnb.load` is given beside the model, without what is its default.

        Example:
            >>> Choice("gpt2", backend="openvino", precision="int8").arguments()
            {'backend': 'openvino', 'weight_format': 'int8'}
        """
        own = self.backend == "openvino" or self.precision in QUANTISED
        precision = "weight_format" if own else "dtype"
        told = {
            "task": self.task,
            "backend": "" if self.backend == "pytorch" else self.backend,
            "device": self.device,
            precision: self.precision,
        }
        return {name: value for name, value in told.items() if value not in ("", AUTO)}


class SchemaField(NamedTuple):
    """A field of the answer, as it stands in the editor."""

    name: str = ""
    kind: str = "str"
    """One of `hfnb.panel.schema.KINDS`."""
    choices: str = ""
    """The labels of a choice, as they were typed, with bars between them."""


@dataclasses.dataclass(frozen=True)
class Asking:
    """What is asked of each row, as it stands in the controls."""

    table: str = ""
    """The variable that holds the table."""
    prompt: str = ""
    into: str = "output"
    chat: Literal["auto", "yes", "no"] = "auto"
    system: str = ""
    generation: tuple[tuple[str, str], ...] = ()
    """Options of generating by their names, as they were typed."""
    fields: tuple[SchemaField, ...] = ()
    """The fields of the answer; without any it is text."""

    @property
    def use_chat(self) -> bool | None:
        """What `hfnb.run` takes as ``chat``; ``None`` leaves it to the model."""
        return {"auto": None, "yes": True, "no": False}[self.chat]

    def option(self, name: str) -> str:
        """Return an option of generating as it was typed; empty where it was not."""
        return dict(self.generation).get(name, "")

    def with_option(self, name: str, text: str) -> Asking:
        """Return the same, with one option of generating typed anew."""
        told = {**dict(self.generation), name: text}
        kept = tuple((each, value) for each, value in told.items() if value)
        return dataclasses.replace(self, generation=kept)


class Candidate(NamedTuple):
    """One of the models that were compared."""

    choice: Choice
    label: str = ""
    """What the comparison calls it."""
    batch_size: str = ""
    """The batch size that is recommended with it; empty for hfnb's own."""


@dataclasses.dataclass(frozen=True)
class Comparing:
    """What is compared, how far it is, and what came of it."""

    candidates: tuple[Choice, ...] = ()
    reference: str = ""
    """The column of right answers; empty for none."""
    rows: str = "50"
    """How many of the rows, as it was typed; empty for all."""
    running: Literal["", "compare", "recommend"] = ""
    stopping: bool = False
    progress: Progress | None = None
    comparison: Comparison | None = None
    usable: tuple[Candidate, ...] = ()
    """Those that were measured, the recommended one first."""
    advice: str = ""
    """Which one is recommended, and why."""
    problem: str = ""


class Table(NamedTuple):
    """A table among the user's variables."""

    name: str
    columns: tuple[str, ...]
    rows: int


@dataclasses.dataclass(frozen=True)
class Memory:
    """What is known of the memory that the chosen model takes."""

    estimate: Estimate | None = None
    why_not: str = ""
    """Why there is no estimate."""
    advice: str = ""
    """What would be faster here."""


@dataclasses.dataclass(frozen=True)
class Loading:
    """A model that is being loaded."""

    choice: Choice
    anyway: bool = False
    """Whether it is loaded although it seems not to fit."""
    step: str = "starting"


@dataclasses.dataclass(frozen=True)
class InUse:
    """The model in memory."""

    llm: HuggingFacePipeline
    choice: Choice | None = None
    """What was chosen to load it; ``None`` where something else than this panel did."""
    load_s: float | None = None
    """Seconds from the press of the button."""


@dataclasses.dataclass(frozen=True)
class Rendered:
    """A row's prompt, as the model would get it."""

    text: str = ""
    tokens: int | None = None
    """``None`` while no model is there to count them."""
    at: int = 0
    """The row's position."""
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A run that was asked for: enough to repeat it in code."""

    asking: Asking
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The options of generating, as `hfnb.run` takes them."""
    limit: int | None = None
    model: str = ""
    choice: Choice | None = None
    """How its model was loaded; ``None`` where something else than this panel did."""


@dataclasses.dataclass(frozen=True)
class Running:
    """A run that is under way."""

    recipe: Recipe
    again: tuple[int, ...] | Literal["failed"] = ()
    """The positions of the rows to run again, or all that failed; empty for a run of its own."""
    stopping: bool = False


@dataclasses.dataclass(frozen=True)
class Look:
    """A row of the result, by itself."""

    at: int
    """Its position."""
    asked: str = ""
    """Its prompt, before the chat template."""
    answer: str = ""
    """Its output, as it was edited."""


Point = tuple[float, int, int]
"""Seconds since the run began, rows done, bytes of memory."""


@dataclasses.dataclass(frozen=True)
class State:
    """All that the panel knows."""

    choice: Choice = dataclasses.field(default_factory=Choice)
    here: tuple[ModelEntry, ...] = ()
    """The models on this machine."""
    on_hub: tuple[ModelEntry, ...] = ()
    """What the Hub has found for the name that was typed."""
    hub_note: str = ""
    """Why the Hub was not asked, or is silent."""
    devices: Devices | None = None
    """What this machine has; ``None`` until it is known."""
    memory: Memory | None = None
    """``None`` while it is being estimated, or nothing is chosen."""

    loading: Loading | None = None
    unloading: bool = False
    in_use: InUse | None = None
    model_note: str = ""
    """What unloading gave back, and the like."""
    model_problem: str = ""

    tables: tuple[Table, ...] = ()
    refreshed: int = 0
    """How often the user's variables were to be looked at."""
    asking: Asking = dataclasses.field(default_factory=Asking)
    at: int = 0
    """The position of the row whose prompt is shown."""
    rendered: Rendered | None = None
    prompt_problem: str = ""
    """What is wrong with an option of generating."""

    running: Running | None = None
    progress: Progress | None = None
    result: RunResult | None = None
    recipe: Recipe | None = None
    """How `result` came about."""
    seen: int = 0
    """How often the result was looked at: what shows it is drawn again when this changes."""
    points: tuple[Point, ...] = ()
    run_problem: str = ""

    shown: Literal["all", "failed"] = "all"
    page: int = 0
    look: Look | None = None
    """The row that is looked at by itself."""

    tab: Literal["run", "compare"] = "run"
    comparing: Comparing = dataclasses.field(default_factory=Comparing)

    open: frozenset[str] = frozenset()
    """The folds that are open."""

    @property
    def table(self) -> Table | None:
        """The table that was chosen, where it is there."""
        return next((each for each in self.tables if each.name == self.asking.table), None)

    @property
    def is_in_memory(self) -> bool:
        """Whether the model in memory is what is chosen."""
        held = self.in_use
        if held is None:
            return False
        same = held.llm.model_id == self.choice.model
        return held.choice == self.choice or (held.choice is None and same)

    @property
    def entry(self) -> ModelEntry | None:
        """What is known of the chosen model."""
        every = (*self.here, *self.on_hub)
        return next((each for each in every if each.name == self.choice.model), None)
