"""What can happen to the panel: a person's doing, or news from its workers."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from hfnb.frame.progress import Progress
from hfnb.panel.state import Candidate, Choice, Memory, Point, Recipe, Rendered, Table

if TYPE_CHECKING:
    from hfnb.catalogue.entry import ModelEntry
    from hfnb.comparing.comparison import Comparison
    from hfnb.frame.result import RunResult
    from hfnb.llm import HuggingFacePipeline
    from hfnb.machine import Devices

# -- a person's doing -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Chosen:
    """Something of the model's choice was set: the field's name in `Choice`, and its value."""

    field: Literal["model", "task", "backend", "device", "precision"]
    value: str


@dataclasses.dataclass(frozen=True)
class Asked:
    """Something of what is asked was set: the field's name in `Asking`, and its value."""

    field: Literal["table", "prompt", "into", "chat", "system"]
    value: str


@dataclasses.dataclass(frozen=True)
class Typed:
    """An option of generating was typed."""

    option: str
    text: str


@dataclasses.dataclass(frozen=True)
class FieldAdded:
    """The answer is to have another field."""


@dataclasses.dataclass(frozen=True)
class FieldRemoved:
    """A field of the answer is to go."""

    at: int


@dataclasses.dataclass(frozen=True)
class FieldSet:
    """A part of a field was set."""

    at: int
    part: Literal["name", "kind", "choices"]
    value: str


@dataclasses.dataclass(frozen=True)
class ColumnAdded:
    """A column is to be put at the prompt's end."""

    name: str


@dataclasses.dataclass(frozen=True)
class Moved:
    """Another row's prompt is to be shown."""

    by: int


@dataclasses.dataclass(frozen=True)
class LoadPressed:
    """The chosen model is to be loaded."""

    anyway: bool = False


@dataclasses.dataclass(frozen=True)
class UnloadPressed:
    """The model's memory is to be given back."""


@dataclasses.dataclass(frozen=True)
class RefreshPressed:
    """The user's variables are to be looked at again."""


@dataclasses.dataclass(frozen=True)
class RunPressed:
    """Rows are to be run: the first ``limit`` of them, or all."""

    limit: int | None = None


@dataclasses.dataclass(frozen=True)
class AgainPressed:
    """Rows of the result are to be run again: the row that is looked at, or all that failed."""

    failed: bool = False


@dataclasses.dataclass(frozen=True)
class StopPressed:
    """The run is to end; what is finished stays."""


@dataclasses.dataclass(frozen=True)
class Filtered:
    """Only some rows of the result are to be shown."""

    shown: Literal["all", "failed"]


@dataclasses.dataclass(frozen=True)
class Turned:
    """Another page of the result is to be shown."""

    by: int


@dataclasses.dataclass(frozen=True)
class RowPicked:
    """A row of the result is to be looked at; ``None`` closes it."""

    at: int | None


@dataclasses.dataclass(frozen=True)
class AnswerEdited:
    """The output of the row that is looked at was edited."""

    text: str


@dataclasses.dataclass(frozen=True)
class ExamplePressed:
    """The row that is looked at is to become an example in the prompt."""


@dataclasses.dataclass(frozen=True)
class Folded:
    """A fold was opened or closed."""

    name: str
    is_open: bool


@dataclasses.dataclass(frozen=True)
class TabPicked:
    """Rows are to be run, or models compared."""

    tab: Literal["run", "compare"]


@dataclasses.dataclass(frozen=True)
class CandidateAdded:
    """What is chosen is to be compared with others."""


@dataclasses.dataclass(frozen=True)
class CandidateRemoved:
    """A candidate is not to be compared after all."""

    at: int


@dataclasses.dataclass(frozen=True)
class CompareSet:
    """Something of the comparison was set: the field's name in `Comparing`, and its value."""

    field: Literal["reference", "rows"]
    value: str


@dataclasses.dataclass(frozen=True)
class ComparePressed:
    """The candidates are to be measured; or the ways to run the chosen model, for the fastest."""

    fastest: bool = False


@dataclasses.dataclass(frozen=True)
class CompareStopped:
    """The comparison is to end; what is measured stays."""


@dataclasses.dataclass(frozen=True)
class UsePressed:
    """A candidate is to be loaded."""

    candidate: Candidate


# -- news from the workers ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Found:
    """The models on this machine are known."""

    entries: tuple[ModelEntry, ...]


@dataclasses.dataclass(frozen=True)
class Searched:
    """The Hub has answered, or has not."""

    query: str
    entries: tuple[ModelEntry, ...]
    note: str = ""


@dataclasses.dataclass(frozen=True)
class DevicesFound:
    """The machine's devices are known."""

    devices: Devices


@dataclasses.dataclass(frozen=True)
class Estimated:
    """The memory for a choice was estimated."""

    choice: Choice
    memory: Memory


@dataclasses.dataclass(frozen=True)
class Stepped:
    """Loading has come to another step."""

    step: str


@dataclasses.dataclass(frozen=True)
class Loaded:
    """The model is in memory."""

    llm: HuggingFacePipeline
    took_s: float


@dataclasses.dataclass(frozen=True)
class LoadFailed:
    """The model is not in memory, and why."""

    problem: str


@dataclasses.dataclass(frozen=True)
class Unloaded:
    """The model's memory was given back."""

    note: str


@dataclasses.dataclass(frozen=True)
class OtherInUse:
    """A cell has loaded or unloaded the model that panel and magics share."""

    llm: HuggingFacePipeline | None


@dataclasses.dataclass(frozen=True)
class TablesFound:
    """The user's tables are known."""

    tables: tuple[Table, ...]


@dataclasses.dataclass(frozen=True)
class PromptRendered:
    """The shown row's prompt is known."""

    rendered: Rendered


@dataclasses.dataclass(frozen=True)
class RunBegan:
    """A run is under way."""

    result: RunResult
    recipe: Recipe


@dataclasses.dataclass(frozen=True)
class Seen:
    """The run was looked at."""

    progress: Progress
    point: Point


@dataclasses.dataclass(frozen=True)
class RunEnded:
    """The run has ended: as it should, by a stop, or by a problem."""

    result: RunResult | None
    """What it left; ``None`` where it did not begin."""
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class RowRead:
    """The row that is looked at was read from the result."""

    at: int
    asked: str
    answer: str


@dataclasses.dataclass(frozen=True)
class CompareTold:
    """How far the comparison is."""

    progress: Progress


@dataclasses.dataclass(frozen=True)
class Compared:
    """The comparison has ended: as it should, by a stop, or by a problem."""

    comparison: Comparison | None = None
    usable: tuple[Candidate, ...] = ()
    advice: str = ""
    problem: str = ""


@dataclasses.dataclass(frozen=True)
class Failed:
    """Something in the panel itself went wrong."""

    problem: str


Event = (
    Chosen | Asked | Typed | ColumnAdded | FieldAdded | FieldRemoved | FieldSet | Moved
    | LoadPressed | UnloadPressed | RefreshPressed
    | RunPressed | AgainPressed | StopPressed | Filtered | Turned | RowPicked | AnswerEdited
    | ExamplePressed | Folded | TabPicked | CandidateAdded | CandidateRemoved | CompareSet
    | ComparePressed | CompareStopped | UsePressed
    | Found | Searched | DevicesFound | Estimated | Stepped | Loaded | LoadFailed | Unloaded
    | OtherInUse | TablesFound | PromptRendered | RunBegan | Seen | RunEnded | RowRead
    | CompareTold | Compared | Failed
)  # fmt: skip
