"""What is said while a model loads: the choices that were made, and what would be faster."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable

from hfnb import speeds
from hfnb.show import count, in_notebook
from hfnb.spec import Task

Tell = Callable[[str], None]
"""Takes a line of text."""

_WORTH = 1.2
"""How many times as fast OpenVINO must have been to be worth a line."""
_SMALL = 20_000_000
"""The most parameters of a model for which nothing is said without a measurement."""
_INSTALL = 'pip install "hfnb[openvino]"'
_advised = False


def silent(line: str) -> None:
    """Say nothing."""


def say(line: str) -> None:
    """Print a line: in a notebook as output; elsewhere on standard error."""
    print(line, file=sys.stdout if in_notebook() else sys.stderr, flush=True)


def is_watched() -> bool:
    """Whether a person sees what is printed: in a notebook or a terminal, not in a log."""
    return in_notebook() or (sys.stderr is not None and sys.stderr.isatty())


def choices(
    name: str, task: str, backend: str, dtype: str, device: str, parameters: int | None
) -> str:
    """Return the line that says what will be loaded, and how.

    Example:
        >>> choices("gpt2", "text-generation", "pytorch", "bfloat16", "cpu", 124_000_000)
        'Loading gpt2: text-generation · pytorch · bfloat16 · cpu · 124 M parameters'
    """
    parts = [task, backend, dtype, device]
    if parameters:
        parts.append(f"{count(parameters)} parameters")
    return f"Loading {name}: {' · '.join(parts)}"


def advise_openvino(tell: Tell, name: str, task: Task, device: str, parameters: int | None) -> None:
    """Say once a session that OpenVINO would be faster, where it would.

    It is on a CPU, where both were measured on this machine (`hfnb.compare`, `hfnb.recommend`) and
    OpenVINO was faster by a fifth; without a measurement, for decoders of more than 20 million
    parameters.

    Args:
        tell: Takes the line; where it is `silent`, the advice is kept for the next load.
        name: What the user calls the model.
        task: What it is loaded for.
        device: What PyTorch runs it on.
        parameters: How many it has, where that is known.
    """
    global _advised
    if _advised or tell is silent or device != "cpu":
        return
    line = openvino_advice(name, task, parameters)
    if line:
        _advised = True
        tell(line)


def openvino_advice(name: str, task: Task, parameters: int | None) -> str:
    """Return the line, or an empty one where OpenVINO is not known to be faster."""
    measured = speeds.openvino_factor(name)
    if measured is not None:
        if measured.factor < _WORTH:
            return ""
        line = (
            f"OpenVINO was {measured.factor:.1f} times as fast with this model here, measured on "
            f"{measured.when}: backend='openvino'"
        )
    elif task == "text-generation" and (parameters or 0) > _SMALL:
        line = (
            "On a CPU, OpenVINO is mostly faster with a model like this: backend='openvino'; "
            "hfnb.recommend(df, prompt, model) measures it"
        )
    else:
        return ""
    if importlib.util.find_spec("openvino_genai") is None:
        line += f" ({_INSTALL})"
    return f"{line}."
