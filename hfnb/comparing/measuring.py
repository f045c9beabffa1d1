"""Measure one candidate: load it, warm it, run the rows. It runs as a process of its own."""

from __future__ import annotations

import dataclasses
import json
import os
import pickle
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from hfnb.comparing.candidates import Candidate
from hfnb.engines.base import Chat, Completion, Delta, Engine, Prompt, Request
from hfnb.engines.openvino_cache import read_manifest
from hfnb.errors import HfnbError
from hfnb.frame.columns import texts
from hfnb.frame.job import Job as Rows
from hfnb.frame.prepare import check, with_model
from hfnb.frame.result import RunResult
from hfnb.frame.runner import Run
from hfnb.measure import MemorySampler

_FIRST_TOKENS = 5
"""Prompts whose first token is timed, one by one."""
_LOOK_EVERY_S = 0.1
_WARM_TOKENS = 8


@dataclasses.dataclass(frozen=True)
class Job:
    """What one process measures."""

    candidate: Candidate
    frame: pd.DataFrame
    """The rows; of their columns only those that the prompt reads."""
    options: Mapping[str, Any]
    """Those of `hfnb.run` that are checked, and the generation options under ``"options"``."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What came out of it. Times are in seconds, memory in bytes."""

    outputs: list[str | None]
    rows: pd.DataFrame
    """One line a row, as ``result.rows`` has it."""
    stats: dict[str, Any]
    """The figures of the run; see `hfnb.RunStats`."""
    manifest: dict[str, Any]
    load_s: float
    """Until the model could answer, in a process that had just begun; see `_loaded`."""
    export_s: float
    """What was exported for it meanwhile, and is not part of it."""
    ttft_s: float | None
    """Median time to the first token of a prompt that is computed alone."""
    peak_rss_bytes: int
    """The most memory of the process, with its libraries, from its start to its end."""
    peak_device_bytes: int | None
    disk_bytes: int | None
    """The model's files."""
    memory: tuple[tuple[float, int], ...]
    """(seconds since the process began to load, resident bytes)."""
    cancelled: bool = False


def measure(job: Job, tell: Callable[[int], None], cancel: threading.Event) -> Measured:
    """Measure a candidate in this process.

    Args:
        job: What to measure.
        tell: Told the number of rows that are done, now and then.
        cancel: Ends the run within a decoding step; what is finished is returned.

    Raises:
        HfnbError: It can't be loaded, or can't do what is asked.
    """
    with MemorySampler() as memory:
        llm, load_s, export_s = _loaded(job.candidate)
        options = {**job.options}
        checked = check(job.frame, job.candidate.prompt, llm, options.pop("options"), **options)
        rows, engine = with_model(checked)
        ttft_s = None if cancel.is_set() else _warm(rows, engine)
        result = RunResult(Run(rows, engine))
        run = result._run
        run.start()
        while result.running:
            run.join(_LOOK_EVERY_S)
            tell(result.progress().done)
            if cancel.is_set():
                result.cancel()
        result.wait()
    stats = result.stats
    return Measured(
        outputs=_texts(result),
        rows=result.rows.reset_index(drop=True),
        stats=stats.as_dict(),
        manifest=result.manifest,
        load_s=load_s,
        export_s=export_s,
        ttft_s=ttft_s,
        peak_rss_bytes=memory.peak_bytes,
        peak_device_bytes=memory.peak_device_bytes if stats.device != "cpu" else None,
        disk_bytes=_size_of(engine),
        memory=tuple(memory.samples),
        cancelled=cancel.is_set() and stats.cancelled > 0,
    )


def _loaded(candidate: Candidate) -> tuple[Any, float, float]:
    """Load a candidate, and return it with the seconds for loading it and for exporting it.

    The time to load is what `hfnb.load` takes in a new notebook that has imported pandas and hfnb:
    the import of PyTorch and transformers, or of OpenVINO, is part of it, and so is a download. An
    export is made once and kept, and is counted apart.
    """
    began, began_s = time.time(), time.perf_counter()
    llm = candidate.load()
    took = time.perf_counter() - began_s
    folder = getattr(getattr(llm, "engine", llm), "folder", None)
    export = None if folder is None else read_manifest(Path(folder))
    export_s = export.seconds if export is not None and export.when >= began else 0.0
    return llm, took - export_s, export_s


def _texts(result: RunResult) -> list[str | None]:
    """Return the whole answers as the model wrote them."""
    whole = result.rows["status"].eq("ok")
    written = texts(result._run.store)
    return [text if is_whole else None for text, is_whole in zip(written, whole, strict=True)]


def _warm(rows: Rows, engine: Engine) -> float | None:
    """Compute some prompts, so that what happens once is over; return their time to first token.

    None of them is one of the rows' own: what an engine keeps of a prompt would make the row that
    has it too fast.
    """
    times: list[float] = []
    streams = (rows.generation.get("num_beams") or 1) == 1  # of beams, the end decides the first
    for at, prompt in enumerate(_prompts(rows)):
        began = time.perf_counter()
        pieces = engine.generate(
            [Request(0, _another(prompt, at))],
            rows.generation.merge(max_new_tokens=_WARM_TOKENS),
            stream=streams,
        )
        first: float | None = None
        for piece in pieces:
            if first is None and _is_token(piece):
                first = time.perf_counter() - began
        if at and streams and first is not None:  # the first one warms
            times.append(first)
    return statistics.median(times) if times else None


def _prompts(rows: Rows) -> Iterator[Prompt]:
    found = 0
    for rendered in rows.source.rows(rows.frame, rows.nulls):
        if isinstance(rendered, (str, Chat)):
            yield rows.prompt_for(rendered)
            found += 1
            if found > _FIRST_TOKENS:
                return


def _another(prompt: Prompt, at: int) -> Prompt:
    """Return a prompt that begins otherwise: a word longer."""
    if isinstance(prompt, str):
        return f"{at + 1}: {prompt}"
    *before, last = prompt.messages
    changed = last._replace(content=f"{at + 1}: {last.content}")
    return prompt._replace(messages=(*before, changed))


def _is_token(piece: Completion | Delta) -> bool:
    return isinstance(piece, Delta) or bool(piece.new_tokens)


def _size_of(engine: Engine) -> int | None:
    """Return the bytes of a model's files; ``None`` where it has none of its own."""
    folder = getattr(engine, "folder", None)
    if folder is None:
        return None
    return sum(each.stat().st_size for each in Path(folder).iterdir() if each.is_file())


def main(folder: str) -> None:
    """Measure the job that lies in a folder, tell how far it is, and put there what came out.

    Standard output has a line of JSON for each step. A line on standard input ends the run; its
    end, when the parent is gone, ends the process.
    """
    cancel = threading.Event()
    threading.Thread(target=_listen, args=(cancel,), daemon=True).start()
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print must not be taken for a step

    def tell(done: int) -> None:
        print(json.dumps({"done": done}), file=out, flush=True)

    try:
        job: Job = pickle.loads(Path(folder, "job").read_bytes())
        found = measure(job, tell, cancel)
        Path(folder, "measured").write_bytes(pickle.dumps(found))
        last: dict[str, str] = {}
    except HfnbError as problem:
        last = {"error": str(problem)}
    except Exception as problem:  # many libraries run here
        last = {"error": f"{type(problem).__name__}: {problem}"}
    print(json.dumps({"ended": True, **last}), file=out, flush=True)


def _listen(cancel: threading.Event) -> None:
    if sys.stdin.buffer.readline():
        cancel.set()
        sys.stdin.buffer.read()
    os._exit(1)
