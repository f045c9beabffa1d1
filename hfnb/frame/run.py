"""`hfnb.run`: check everything that can be checked, load if need be, run, and keep the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from hfnb.engines.base import Engine
from hfnb.errors import ModelError, OptionError, TemplateError, closest
from hfnb.frame.progress import Progress, display_for
from hfnb.frame.prompts import Parts, take_apart
from hfnb.frame.result import RunResult, own_copy
from hfnb.frame.runner import Run
from hfnb.frame.template import check_columns
from hfnb.options import split_options
from hfnb.spec import GenerationSpec, check_batch_size

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline

_NULLS = ("skip", "empty", "raise")
_ON_ERROR = ("keep", "raise")
_OWN_OPTIONS = """
    df prompt llm into chat system nulls on_error batch_size limit overwrite progress
""".split()
_last: RunResult | None = None


def run(
    df: pd.DataFrame,
    prompt: Any,
    llm: HuggingFacePipeline | Engine | str | None = None,
    *,
    into: str = "output",
    chat: bool | Literal["auto"] | None = None,
    system: str | None = None,
    nulls: Literal["skip", "empty", "raise"] = "skip",
    on_error: Literal["keep", "raise"] = "keep",
    batch_size: int | Literal["auto"] | None = None,
    limit: int | None = None,
    overwrite: bool = False,
    progress: bool | Literal["auto"] | Callable[[Progress], Any] = "auto",
    **options: Any,
) -> RunResult:
    """Run a prompt for every row of a DataFrame.

    What can be wrong with the arguments is found before a model is loaded. A row that fails stays
    in ``result.errors``, and never ends the run.

    Args:
        df: The rows. It is not changed.
        prompt: Text with columns in braces (``"What is {x}?"``), a LangChain ``PromptTemplate``
            or ``ChatPromptTemplate`` whose variables are columns, or a chain with one hfnb model
            (``prompt | llm | parser``).
        llm: From `hfnb.load`; or a model's name, which is then loaded; or any engine. A chain
            brings its own.
        into: The name of the output column.
        chat: Send each text as a user message through the model's chat template: ``True``,
            ``False``, or ``"auto"`` for where the model has one. ``None`` does what ``llm`` does.
        system: A system message in front of each prompt; needs a chat template.
        nulls: For a row with None, NaN, NaT or pandas.NA in one of the prompt's columns:
            ``"skip"`` it, render it as ``"empty"`` text, or ``"raise"`` before anything runs.
        on_error: ``"keep"`` a failed row in the result, or ``"raise"`` its error at once; the
            exception then has the partial result as its ``result``.
        batch_size: The most rows computed together, or ``"auto"``.
        limit: Run only the first rows, this many.
        overwrite: Replace a column that has the name ``into`` already.
        progress: ``True`` or ``False``, or a function that is called with a `Progress`.
        **options: Every generation option by its transformers name (``max_new_tokens``,
            ``temperature``, ``top_p``, ...), ``stop`` and ``seed``. They win over what ``llm``
            was loaded with.

    Returns:
        A `RunResult` with ``data``, ``rows``, ``errors`` and ``stats``.

    Raises:
        TemplateError: The prompt does not fit the frame's columns.
        OptionError: An option's name or value is wrong.
        ModelError: The model can't be found, read or run.
        KeyboardInterrupt: As it came; `hfnb.last_result` has what was finished.

    Example:
        >>> import hfnb, pandas as pd
        >>> llm = hfnb.load("hfnb/numbers-fr")
        >>> df = pd.DataFrame({"i": [1, 72]})
        >>> hfnb.run(df, "What is the number {i} in french?", llm, into="answer").data
            i          answer
        0   1              un
        1  72  soixante-douze
    """
    global _last
    _check_frame(df)
    parts = take_apart(prompt)
    check_columns(parts.source.columns, df)
    _check_choice("nulls", nulls, _NULLS)
    _check_choice("on_error", on_error, _ON_ERROR)
    frame = own_copy(df if limit is None else df.iloc[: _check_limit(limit)])
    _check_into(into, df, overwrite=overwrite)
    if nulls == "raise":
        _refuse_nulls(frame, parts.source.columns)
    split_options(options, _OWN_OPTIONS)
    _check_chat(chat, system)
    given = GenerationSpec.of(**{**parts.options, **options})
    _check_sequences(given)
    if batch_size is not None:
        check_batch_size(batch_size)
    model = _check_model(llm, parts)
    display = display_for(progress)

    engine, settings = _engine_of(model, load=len(frame) > 0)
    generation = settings.generation.merge(**{**parts.options, **options})
    _check_sequences(generation)
    use_chat = _decide_chat(settings.chat if chat is None else chat, engine)
    if system and not use_chat:
        raise OptionError(
            f"system needs a chat template, and prompts for {engine.info.model!r} are sent as "
            "plain text. Use chat=True with an instruct model, or put the text into the prompt."
        )
    running = Run(
        frame,
        parts.source,
        engine,
        generation,
        into=into,
        after=parts.after,
        chat=use_chat,
        template_options=settings.template_options,
        system=system,
        nulls=nulls,
        on_error=on_error,
        batch_size=settings.batch_size if batch_size is None else batch_size,
    )
    try:
        result = running.wait(display)
    except BaseException as problem:
        _last = getattr(problem, "result", None)
        raise
    _last = result
    return result


def last_result() -> RunResult | None:
    """Return what the last run left, also after an interrupt; ``None`` before the first run.

    Example:
        >>> import hfnb
        >>> partial = hfnb.last_result()
    """
    return _last


def _check_frame(df: object) -> None:
    if isinstance(df, pd.DataFrame):
        return
    hint = " Convert it with df.to_pandas()." if hasattr(df, "to_pandas") else ""
    if isinstance(df, pd.Series):
        hint = " Convert it with series.to_frame('text')."
    raise OptionError(f"df is a pandas DataFrame; not {type(df).__name__}.{hint}")


def _check_into(into: object, df: pd.DataFrame, *, overwrite: bool) -> None:
    if not isinstance(into, str) or not into:
        raise OptionError(f"into is the name of a column; not {into!r}.")
    if into in df.columns and not overwrite:
        raise TemplateError(
            f"The frame has a column {into!r} already. Choose another name for the output "
            "(into=...), or pass overwrite=True to replace it."
        )
    if list(df.columns).count(into) > 1:
        raise TemplateError(
            f"The frame has several columns named {into!r}, so which one to replace is not clear. "
            "Rename them, or choose another name for the output (into=...)."
        )


def _check_limit(limit: object) -> int:
    if isinstance(limit, (int, np.integer)) and not isinstance(limit, bool):
        count = int(limit)
        if count >= 0:
            return count
    raise OptionError(f"limit is a number of rows, 0 or more; not {limit!r}.")


def _check_chat(chat: object, system: object) -> None:
    if chat is not None and chat != "auto" and not isinstance(chat, bool):
        raise OptionError(f"chat is True, False or 'auto'; not {chat!r}.")
    if system is not None and not isinstance(system, str):
        raise OptionError(f"system is the text of a system message; not {system!r}.")
    if system and chat is False:
        raise OptionError("system needs a chat template, and chat=False switches it off.")


def _check_sequences(generation: GenerationSpec) -> None:
    if (generation.get("num_return_sequences") or 1) > 1:
        raise OptionError("A row has one output: hfnb.run needs num_return_sequences=1.")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        shown = ", ".join(map(repr, choices))
        raise OptionError(f"{name}={value!r} is unknown.{closest(value, choices)} Use {shown}.")


def _refuse_nulls(frame: pd.DataFrame, columns: tuple[str, ...]) -> None:
    missing = frame[list(columns)].isna()
    count = int(missing.any(axis=1).sum())
    if count:
        names = ", ".join(repr(name) for name in columns if missing[name].any())
        raise TemplateError(
            f"{count:,} of {len(frame):,} rows have a null in {names}. Fill them, drop them, or "
            "use nulls='skip' or nulls='empty'."
        )


def _check_model(llm: object, parts: Parts) -> HuggingFacePipeline | Engine | str:
    if parts.llm is not None:
        if llm is not None:
            raise OptionError("The chain brings its own model: leave llm out.")
        return parts.llm
    if llm is None:
        raise OptionError(
            "Which model? Pass one as the third argument: hfnb.run(df, prompt, "
            "hfnb.load('hfnb/numbers-fr'))."
        )
    if isinstance(llm, (str, Engine)) or hasattr(llm, "engine"):
        return llm  # type: ignore[return-value]
    raise OptionError(
        f"llm is what hfnb.load returns, a model's name, or an engine; not {type(llm).__name__}."
    )


@dataclasses.dataclass(frozen=True)
class _Settings:
    """How a model was set up."""

    generation: GenerationSpec = dataclasses.field(default_factory=GenerationSpec)
    batch_size: int | Literal["auto"] = "auto"
    chat: bool | Literal["auto"] = False
    template_options: Mapping[str, Any] | None = None


def _engine_of(
    model: HuggingFacePipeline | Engine | str, *, load: bool
) -> tuple[Engine, _Settings]:
    """Return the engine, and how it was set up."""
    if isinstance(model, str):
        if not load:  # no rows: the name is checked, the weights are not needed
            return _engine_for_no_rows(model), _Settings()
        from hfnb.loading import load as load_model

        model = load_model(model)
    if isinstance(model, Engine):
        return model, _Settings()
    return model.engine, _Settings(
        model.generation, model.batch_size, model.chat, model.chat_template_kwargs
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


def _decide_chat(chat: bool | Literal["auto"], engine: Engine) -> bool:
    has = engine.info.has_chat_template
    if chat == "auto":
        return has
    if chat and not has:
        raise ModelError(
            f"{engine.info.model!r} has no chat template. Use chat=False to send plain text, or "
            "an instruct model."
        )
    return chat
