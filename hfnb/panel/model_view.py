"""The panel's first part: which model, where it runs, whether it fits; load and unload."""

from __future__ import annotations

import html
from collections.abc import Callable
from typing import Any

import ipywidgets as widgets

from hfnb.catalogue.entry import ModelEntry
from hfnb.frame.progress import duration
from hfnb.panel import choices
from hfnb.panel import events as on
from hfnb.panel.parts import Choose, Field, Line, Problem, button, column, draw, row, show_if, title
from hfnb.panel.state import InUse, State
from hfnb.show import count, size

_VERDICTS = {"fits": "✓", "tight": "!", "does not fit": "✗"}


class ModelView:
    """Shows the model's choice, and tells what a person does there.

    Args:
        post: Takes what a person does.
    """

    def __init__(self, post: Callable[[on.Event], Any]) -> None:
        self._model = Field(
            widgets.Combobox(
                description="Model",
                placeholder="packaged model, folder, or Hub id",
                ensure_option=False,
            ),
            lambda value: post(on.Chosen("model", value)),
        )
        self._about, self._hub = Line("hfnb-note"), Line("hfnb-note")
        self._task = Choose("Task", lambda value: post(on.Chosen("task", value)))
        self._backend = Choose("Backend", lambda value: post(on.Chosen("backend", value)))
        self._device = Choose("Device", lambda value: post(on.Chosen("device", value)))
        self._precision = Choose("Precision", lambda value: post(on.Chosen("precision", value)))
        self._reasons = widgets.HTML()
        self._memory, self._advice = Line("hfnb-memory"), Line("hfnb-note")
        self._load = button("Load", lambda: post(on.LoadPressed()), primary=True)
        self._anyway = button(
            "Load anyway",
            lambda: post(on.LoadPressed(anyway=True)),
            tip="Load it although it seems not to fit: the kernel may run out of memory",
        )
        self._unload = button("Unload", lambda: post(on.UnloadPressed()))
        self._status = Line("hfnb-status", live=True)
        self._problem = Problem()
        self._reasons.add_class("hfnb-note")
        self._reasons.add_class("hfnb-reasons")
        self.widget = column(
            title("Model"),
            column(self._model.widget, self._about.widget, self._hub.widget),
            self._task.widget,
            row(self._backend.widget, self._device.widget, self._precision.widget),
            self._reasons,
            self._memory.widget,
            self._advice.widget,
            row(self._load, self._anyway, self._unload),
            self._status.widget,
            self._problem.widget,
            name="hfnb-section",
        )

    def show(self, state: State) -> None:
        """Draw what has changed."""
        choice, entry = state.choice, state.entry
        names = choices.model_names(state)
        draw(self._model.widget, options=tuple(names))
        self._model.show(choice.model)
        self._about.show(_about(entry) if entry is not None else "")
        self._hub.show(state.hub_note)
        show_if(self._hub.widget, bool(state.hub_note))
        groups = (
            (self._task, choices.tasks(state), choice.task),
            (self._backend, choices.backends(state), choice.backend),
            (self._device, choices.devices(state), choice.device),
            (self._precision, choices.precisions(state), choice.precision),
        )
        reasons: list[str] = []
        for group, options, value in groups:
            group.show(options, value)
            reasons += choices.reasons(options)
        draw(self._reasons, value="".join(f"<div>{html.escape(each)}</div>" for each in reasons))
        self._memory.show(_memory(state))
        advice = "" if state.memory is None else state.memory.advice
        self._advice.show(advice)
        show_if(self._advice.widget, bool(advice))
        self._show_buttons(state)
        self._status.show(_status(state))
        self._problem.show(state.model_problem)

    def _show_buttons(self, state: State) -> None:
        busy = state.loading is not None or state.unloading
        estimate = None if state.memory is None else state.memory.estimate
        too_large = estimate is not None and estimate.verdict == "does not fit"
        blocked = busy or bool(choices.why_not_load(state))
        draw(self._load, disabled=blocked or too_large)
        draw(self._anyway, disabled=blocked)
        show_if(self._anyway, too_large)
        draw(self._unload, disabled=busy or state.in_use is None)


def _about(entry: ModelEntry) -> str:
    """Return what is known of a model that was picked from the list."""
    parts = [f"from: {entry.source}", ", ".join(entry.tasks)]
    if entry.parameters is not None:
        parts.append(f"{count(entry.parameters)} parameters")
    parts.append(entry.dtype)
    if entry.size is not None:
        parts.append(size(entry.size))
    if entry.context_length is not None:
        parts.append(f"context {entry.context_length:,}")
    parts.append("chat template" if entry.has_chat_template else "no chat template")
    if entry.license:
        parts.append(entry.license)
    if entry.gated:
        parts.append("gated: accept its terms on the Hub first")
    return " · ".join(filter(None, parts))


def _memory(state: State) -> str:
    """Return what the chosen model takes against what is free."""
    if not state.choice.model:
        return "Memory: choose a model to see whether it fits."
    if state.is_in_memory:
        return "Memory: this is the model that is loaded."
    if why_not := choices.why_not_load(state):
        return why_not
    if state.memory is None:
        return "Memory: estimating …"
    estimate = state.memory.estimate
    if estimate is None:
        return f"Memory: not known. {state.memory.why_not}"
    limit = f" (by {estimate.memory_limit})" if estimate.memory_limit else ""
    parts = [
        f"{_VERDICTS[estimate.verdict]} {estimate.verdict}: "
        f"{size(estimate.loading_bytes)} to load, {size(estimate.total_bytes)} to run, "
        f"{size(estimate.free_bytes)} free{limit}"
    ]
    if estimate.export_bytes:
        parts.append(f"{size(estimate.export_bytes)} while it is exported, once")
    if estimate.disk_bytes:
        parts.append(f"{size(estimate.disk_bytes)} on disk")
    return " · ".join(parts)


def _status(state: State) -> str:
    """Return which model is in memory, or on its way there or out."""
    if state.loading is not None:
        return f"Loading {state.loading.choice.model}: {state.loading.step} …"
    if state.unloading:
        return "Unloading …"
    if state.in_use is None:
        return state.model_note or "No model is loaded."
    changed = state.in_use.choice is not None and state.in_use.choice != state.choice
    note = " · the choices above differ: press Load to change to them" if changed else ""
    return f"Loaded: {_in_use(state.in_use)}{note}"


def _in_use(in_use: InUse) -> str:
    info = in_use.llm.engine.info
    took = info.load_s if in_use.load_s is None else in_use.load_s
    parts = [info.model, info.task, info.backend, info.device, info.dtype]
    parts += [info.note] if info.note else []
    return " · ".join(
        [*parts, f"{size(info.weight_bytes)} of weights", load_time(took, info.load_s)]
    )


def load_time(took_s: float, model_s: float) -> str:
    """Return how long loading took, and how much of that was for the model, where that is less."""
    whole, model = duration(took_s), duration(model_s)
    if whole == model or model_s > took_s:
        return f"in {whole}"
    return f"in {whole}, imports and checks included; model load {model}"
