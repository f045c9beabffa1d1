"""What of a model is sent to the workers: how to load it, never its weights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hfnb.engines.base import Engine, is_engine
from hfnb.errors import OptionError
from hfnb.spec import ModelSpec

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline

_SETTINGS = "model_id model_kwargs pipeline_kwargs batch_size chat chat_template_kwargs".split()


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a worker makes a model that was loaded elsewhere."""

    spec: ModelSpec
    settings: dict[str, Any] | None
    """Of the LangChain LLM around it; ``None`` for a bare engine."""

    def make(self, num_cpus: int) -> HuggingFacePipeline | Engine:
        """Load it, for so many cores."""
        from hfnb.engines.registry import load_engine
        from hfnb.engines.telling import silent

        engine = load_engine(_for_cores(self.spec, num_cpus), silent)
        if self.settings is None:
            return engine
        from hfnb.llm import HuggingFacePipeline

        return HuggingFacePipeline(engine=engine, **self.settings)


def portable(model: Any) -> Any:
    """Return what can be sent: a recipe, or an engine that holds no weights.

    Raises:
        OptionError: The model was made of something that only this process has.
    """
    if isinstance(model, str):
        return Recipe(_anywhere(ModelSpec(model)), {"batch_size": "auto", "chat": "auto"})
    engine = model if is_engine(model) else model.engine
    settings = None if is_engine(model) else {name: getattr(model, name) for name in _SETTINGS}
    spec = getattr(engine, "spec", None)
    if isinstance(spec, ModelSpec):
        if isinstance(spec.device, tuple):
            raise OptionError(
                f"The model is on several devices ({', '.join(map(str, spec.device))}), and each "
                "worker has its own. Load it without device=[...]; see concurrency and num_gpus."
            )
        return Recipe(_anywhere(spec), settings)
    if engine.info.parameters:
        raise OptionError(
            f"{engine.info.model!r} was made of a pipeline that only this process has, and workers "
            "load their own. Give the model's name, or what hfnb.load returns."
        )
    return model


def restored(sent: Any, num_cpus: int) -> Any:
    """Return the model that was sent, loaded."""
    return sent.make(num_cpus) if isinstance(sent, Recipe) else sent


def _anywhere(spec: ModelSpec) -> ModelSpec:
    """Return a specification that means the same in any folder."""
    folder = Path(spec.model).expanduser()
    if folder.is_dir():
        return dataclasses.replace(spec, model=str(folder.resolve()))
    return spec


def _for_cores(spec: ModelSpec, num_cpus: int) -> ModelSpec:
    """Return a specification that takes no more threads than there are cores for it."""
    config = dict(spec.ov_config)
    if spec.backend != "openvino" or "INFERENCE_NUM_THREADS" in config:
        return spec
    if str(spec.device or "CPU").upper() != "CPU":
        return spec
    config["INFERENCE_NUM_THREADS"] = num_cpus
    return dataclasses.replace(spec, ov_config=tuple(config.items()))
