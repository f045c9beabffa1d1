"""How the benchmarks measure: alternating repeats, medians with their spread, the machine."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

_PACKAGES = (
    "hfnb", "torch", "transformers", "tokenizers", "langchain-core", "langchain-huggingface",
    "pandas", "pyarrow", "numpy", "openvino", "openvino-genai", "optimum-intel", "ctranslate2",
)  # fmt: skip


class Timing(NamedTuple):
    """The times of one candidate, in seconds."""

    name: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def spread(self) -> str:
        return f"{min(self.seconds):.3g}-{max(self.seconds):.3g}"


def alternate(candidates: Sequence[tuple[str, Callable[[], object]]], repeats: int) -> list[Timing]:
    """Time candidates in turn, in changing order, so that a slow moment hits none of them alone."""

    def without_input(call: Callable[[], object]) -> Callable[[int], object]:
        return lambda _: call()

    return in_turn([(name, without_input(call)) for name, call in candidates], range(repeats))


def in_turn(
    candidates: Sequence[tuple[str, Callable[[Any], object]]],
    inputs: Iterable[Any],
    keep: dict[str, list[Any]] | None = None,
) -> list[Timing]:
    """Time candidates in turn, as `alternate`, all of them on one input after the other.

    Args:
        candidates: Their names, and what is timed.
        inputs: One for each round. Each is new to all candidates, so that none finds anything
            computed that it was to compute.
        keep: Filled with what the candidates returned, by name, a value for each round.
    """
    taken: dict[str, list[float]] = {name: [] for name, _ in candidates}
    for count, given in enumerate(inputs):
        order = candidates if count % 2 == 0 else candidates[::-1]
        for name, call in order:
            began = time.perf_counter()
            found = call(given)
            taken[name].append(time.perf_counter() - began)
            if keep is not None:
                keep.setdefault(name, []).append(found)
            print(f"  {name}: {taken[name][-1]:.3f} s", flush=True)
    return [Timing(name, tuple(seconds)) for name, seconds in taken.items()]


def beside_the_best(
    grid: Sequence[tuple[str, Callable[[Any], object]]],
    mine: tuple[str, Callable[[Any], object]],
    choose_on: Iterable[Any],
    inputs: Iterable[Any],
    keep: dict[str, list[Any]] | None = None,
) -> tuple[Timing, Timing]:
    """Time what is best of a grid in turn with one more candidate.

    The best is chosen by runs of its own: of many runs that take equally long the fastest is so by
    luck, and would not be so again.

    Args:
        grid: Names, and what is timed.
        mine: What the best is timed with.
        choose_on: Inputs to choose the best on.
        inputs: Inputs to time the two on.
        keep: Filled with what the two returned.
    """
    chosen = min(in_turn(grid, choose_on), key=lambda each: each.median).name
    best, other = in_turn([(chosen, dict(grid)[chosen]), mine], inputs, keep)
    return best, other


def machine() -> str:
    """Return one line about the machine: processor, cores, memory, system."""
    import psutil

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    flags = ""
    if info.is_file():
        lines = info.read_text().splitlines()
        named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
        name = next(named, name)
        has = next((line.split(":", 1)[1].split() for line in lines if line[:5] == "flags"), [])
        wanted = ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
        flags = " " + " ".join(flag for flag in wanted if flag in has)
    memory = psutil.virtual_memory().total / 2**30
    return f"{name}{flags}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.platform()}"


def versions() -> str:
    """Return the versions of Python and of the packages that matter."""
    found = [f"Python {platform.python_version()}"]
    for name in _PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found)


def load_average() -> str:
    """Return the machine's load just now: a benchmark beside other work says so."""
    return ", ".join(f"{each:.2f}" for each in os.getloadavg())
