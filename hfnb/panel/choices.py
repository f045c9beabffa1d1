"""What can be chosen for a model, and why something can't."""

from __future__ import annotations

from typing import NamedTuple

from hfnb.hub import is_hub_id
from hfnb.panel.state import AUTO, State
from hfnb.spec import BACKENDS, DTYPES, QUANTISED, TASKS

_BACKENDS = {"pytorch": "PyTorch", "openvino": "OpenVINO"}
_WEIGHT_FORMATS = (AUTO, "fp32", "fp16", "bf16", "int8", "int4")


class Option(NamedTuple):
    """One of several things to choose from."""

    value: str
    label: str
    why_not: str = ""
    """Why it can't be chosen here, and what mends that; empty where it can."""


def tasks(state: State) -> list[Option]:
    """Return the tasks, those that the chosen model can't do with the reason."""
    entry = state.entry
    options = [Option(AUTO, AUTO)]
    for task in TASKS:
        can = entry is None or task in entry.tasks
        options.append(Option(task, task, "" if can else f"{entry.name} can't do it"))  # type: ignore[union-attr]
    return options


def backends(state: State) -> list[Option]:
    """Return the backends; what is not installed comes with the line that installs it."""
    missing = {} if state.devices is None else {each.what: each for each in state.devices.missing}
    entry = state.entry
    options = []
    for name in BACKENDS:
        why_not = ""
        if name in missing:
            why_not = f"{missing[name].why}: {missing[name].mend}"
        elif entry is not None and name not in entry.backends:
            why_not = f"{entry.name} is an exported model: OpenVINO runs it"
            if name == "openvino":
                why_not = f"{entry.name} has quantised weights of PyTorch's own"
        options.append(Option(name, _BACKENDS[name], why_not))
    return options


def devices(state: State) -> list[Option]:
    """Return the devices of the chosen backend, and what is missing among them."""
    options = [Option(AUTO, AUTO)]
    backend = state.choice.backend
    if state.devices is None:  # as many as most machines have, so that nothing moves later
        first, other = ("CPU", "GPU") if backend == "openvino" else ("cpu", "cuda")
        return [*options, Option(first, first), Option(other, other, "being looked for")]
    own = [each for each in state.devices if each.backend == backend]
    options += [Option(each.name, each.name) for each in own]
    if backend == "pytorch" and all(each.name == "cpu" for each in own):
        missing = next((each for each in state.devices.missing if "PyTorch" in each.what), None)
        why_not = "this machine has none"
        if missing is not None:
            why_not = "; ".join(filter(None, (missing.why, missing.mend)))
        options.append(Option("cuda", "cuda", why_not))
    if backend == "openvino" and not any(each.name.startswith("GPU") for each in own):
        options.append(Option("GPU", "GPU", "OpenVINO finds none: it needs a GPU and its driver"))
    return options


def precisions(state: State) -> list[Option]:
    """Return the dtypes of PyTorch, or the weight formats of OpenVINO."""
    if state.choice.backend != "openvino":
        own = [] if state.devices is None else [each.name for each in state.devices]
        cuda = state.devices is None or any(each.startswith("cuda") for each in own)
        why_not = "" if cuda else "with PyTorch they need CUDA; on a CPU OpenVINO has them"
        return [
            *(Option(each, each) for each in DTYPES),
            *(Option(each, each, why_not) for each in QUANTISED),
        ]
    entry = state.entry
    exported = entry is not None and "pytorch" not in entry.backends
    return [
        Option(
            each,
            each,
            f"{entry.name} was exported in {entry.dtype}"  # type: ignore[union-attr]
            if exported and each not in (AUTO, entry.dtype)  # type: ignore[union-attr]
            else "",
        )
        for each in _WEIGHT_FORMATS
    ]


def reasons(options: list[Option]) -> list[str]:
    """Return what to say below the options: why some can't be chosen; the same reason once."""
    by_reason: dict[str, list[str]] = {}
    for each in options:
        if each.why_not:
            by_reason.setdefault(each.why_not, []).append(each.label)
    return [f"{', '.join(labels)}: {reason}." for reason, labels in by_reason.items()]


def why_not_load(state: State) -> str:
    """Return why the chosen model can't be loaded; empty where that can be tried."""
    choice = state.choice
    if not choice.model.strip():
        return "Choose a model, or type one's id."
    for options, value in (
        (tasks(state), choice.task),
        (backends(state), choice.backend),
        (devices(state), choice.device),
        (precisions(state), choice.precision),
    ):
        for each in options:
            if each.value == value and each.why_not:
                return f"{each.label}: {each.why_not}."
    return ""


def model_names(state: State) -> list[str]:
    """Return the names to pick a model from, those that can do the chosen task."""
    task = state.choice.task
    every = (*state.here, *state.on_hub)
    return list(dict.fromkeys(each.name for each in every if task in (AUTO, *each.tasks)))


def may_search(name: str) -> bool:
    """Whether the Hub is worth asking about what was typed."""
    return len(name) >= 3 and (is_hub_id(name) or name.replace(" ", "").isalnum())
