"""The model of a run, from whatever the user gave."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from hfnb.engines.base import Engine, is_engine
from hfnb.errors import ModelError, OptionError
from hfnb.frame.prompts import Parts
from hfnb.spec import GenerationSpec

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a model was set up."""

    generation: GenerationSpec = dataclasses.field(default_factory=GenerationSpec)
    batch_size: int | Literal["auto"] = "auto"
    chat: bool | Literal["auto"] = False
    template_options: Mapping[str, Any] | None = None


def check_model(llm: object, parts: Parts) -> HuggingFacePipeline | Engine | str:
    """Return what the user gave as a model, or the chain's own.

    Raises:
        OptionError: There is none, or two, or it is something else.
    """
    if parts.llm is not None:
        if llm is not None:
            raise OptionError("The chain brings its own model: leave llm out.")
        return parts.llm
    if llm is None:
        raise OptionError(
            "Which model? Pass one as the third argument: hfnb.run(df, prompt, "
            "hfnb.load('hfnb/numbers-fr'))."
        )
    return _checked(llm)


def engine_of(llm: object) -> Engine:
    """Return the engine of a model, which is loaded where only its name is given."""
    return load_model(_checked(llm))[0]


def load_model(
    model: HuggingFacePipeline | Engine | str, *, load: bool = True, quiet: bool = False
) -> tuple[Engine, Settings]:
    """Return a model's engine, and how it was set up.

    Args:
        model: What `check_model` returned.
        load: Whether it will be asked; if not, a name is checked and nothing is loaded.
        quiet: Say nothing while it loads.
    """
    if isinstance(model, str):
        if not load:
            return _engine_for_no_rows(model), Settings()
        from hfnb.loading import load as load_by_name

        model = load_by_name(model, progress=False if quiet else "auto")
    if is_engine(model):
        return model, Settings()
    llm: Any = model
    return llm.engine, Settings(llm.generation, llm.batch_size, llm.chat, llm.chat_template_kwargs)


def decide_chat(chat: bool | Literal["auto"], engine: Engine) -> bool:
    """Return whether prompts go through the model's chat template.

    Raises:
        ModelError: They should, and it has none.
    """
    has = engine.info.has_chat_template
    if chat == "auto":
        return has
    if chat and not has:
        raise ModelError(
            f"{engine.info.model!r} has no chat template. Use chat=False to send plain text, or "
            "an instruct model."
        )
    return chat


def _checked(llm: object) -> HuggingFacePipeline | Engine | str:
    if isinstance(llm, str) or is_engine(llm) or hasattr(llm, "engine"):
        return llm  # type: ignore[return-value]
    raise OptionError(
        f"llm is what hfnb.load returns, a model's name, or an engine; not {type(llm).__name__}."
    )


def _engine_for_no_rows(model: str) -> Engine:
    """Return an engine that is never asked, and says which model it stands for."""
    from hfnb import hub
    from hfnb.engines.echo import EchoEngine
    from hfnb.spec import ModelSpec

    engine = EchoEngine(task=hub.find(ModelSpec(model)).task)
    engine.info = dataclasses.replace(
        engine.info, model=model, engine="not loaded: no rows", backend="none", device="none"
    )
    return engine
