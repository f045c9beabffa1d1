"""The figures of a run in which no worker computed anything."""

from __future__ import annotations

import dataclasses
from typing import Any

from hfnb.engines.echo import EchoEngine
from hfnb.frame.prepare import Checked
from hfnb.frame.runner import Run
from hfnb.frame.stats import RunStats
from hfnb.ray.model import Recipe


def name_of(model: Any) -> str:
    """Return what a run's model is called, whatever was given as it."""
    if isinstance(model, str):
        return model
    if isinstance(model, Recipe):
        return model.spec.model
    name: str = getattr(model, "engine", model).info.model
    return name


def no_stats(checked: Checked) -> RunStats:
    """Return the figures of no row, by a model that was not loaded."""
    engine = EchoEngine()
    engine.info = dataclasses.replace(
        engine.info,
        model=name_of(checked.model),
        engine="not loaded: no rows",
        backend="none",
        device="none",
    )
    job = dataclasses.replace(checked.job, frame=checked.job.frame.iloc[:0], journal=None)
    return Run(job, engine).stats()
