"""What `hfnb.Panel` is given: checked, and as it then stands in the controls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hfnb import session
from hfnb.engines.base import is_engine
from hfnb.errors import OptionError, closest
from hfnb.escapes import escape
from hfnb.options import split_options
from hfnb.panel.generation import FIELDS, options_of
from hfnb.panel.state import AUTO, Asking, Choice, InUse
from hfnb.spec import BACKENDS, ModelSpec


def choice_of(
    model: Any,
    task: str | None,
    backend: str,
    device: str | None,
    dtype: str,
    weight_format: str | None,
) -> tuple[Choice, InUse | None]:
    """Return the model's choice, and the model itself where it is in memory already.

    Raises:
        OptionError: One of them has an impossible value.
    """
    if is_engine(getattr(model, "engine", None)):
        info = model.engine.info
        session.use(model)
        backend = info.backend if info.backend in BACKENDS else "pytorch"
        return Choice(info.model, backend=backend), InUse(model)
    if model is not None and not isinstance(model, str):
        raise OptionError(
            f"model is a name, a folder, or what hfnb.load returned; not {type(model).__name__}."
        )
    # Checked as hfnb.load checks it, so that a typo is found now.
    spec = ModelSpec(
        model or "model",
        task=task,  # type: ignore[arg-type]
        backend=backend,
        device=device,
        dtype=dtype,
        weight_format=weight_format,
    )
    precision = weight_format or spec.dtype
    return (
        Choice(
            model=model or "",
            task=task or AUTO,
            backend=spec.backend,
            device=device or AUTO,
            precision=precision or AUTO,
        ),
        None,
    )


def asking_of(
    prompt: str,
    table: str,
    into: str,
    chat: bool | str,
    system: str,
    options: Mapping[str, Any],
) -> Asking:
    """Return what is asked of each row, as a person would have typed it.

    Raises:
        OptionError: One of them has an unknown name or an impossible value.
    """
    if chat not in (True, False, AUTO):
        raise OptionError(f"chat is True, False or 'auto'; not {chat!r}.")
    split_options(options, ("batch_size",))
    for name in options:
        if name not in FIELDS:
            raise OptionError(
                f"The panel has no control for {name!r}.{closest(name, FIELDS)} Give it to "
                "hfnb.load, and the model as model=..."
            )
    asking = Asking(
        table=table,
        prompt=prompt,
        into=into,
        chat={True: "yes", False: "no"}.get(chat, "auto"),  # type: ignore[arg-type]
        system=system,
    )
    for name, value in options.items():
        asking = asking.with_option(name, _typed(name, value))
    options_of(asking)
    return asking


def _typed(name: str, value: Any) -> str:
    """Return an option as a person would have typed it."""
    if value is None:
        return ""
    if name == "stop":
        return "\n".join(escape(each) for each in ((value,) if isinstance(value, str) else value))
    return str(value)
