"""Start the process that measures a candidate, follow it, and end it."""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple

from hfnb.comparing.measuring import Job, Measured

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hfnb.comparing.measuring import main; main(sys.argv[2])"
)
_QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
_LOOK_EVERY_S = 0.1
_PATIENCE_S = 10.0
"""Seconds that a process has to end by itself, once it was asked to ..."""
_PATIENCE_BEFORE_ROWS_S = 1.0
"""... and where it has no row yet, so that nothing is lost: it may load, or export, for minutes."""


class Failed(NamedTuple):
    """A candidate that could not be measured."""

    reason: str
    cancelled: bool = False
    """Whether it was ended before it had anything to show."""


def measured(
    job: Job,
    tell: Callable[[int], None],
    cancel: threading.Event,
    limit_s: float | None = None,
) -> Measured | Failed:
    """Measure a candidate in a process of its own.

    Args:
        job: What to measure.
        tell: Told the number of its rows that are done.
        cancel: Ends it; rows that are finished are kept.
        limit_s: Seconds after which it is ended.

    Returns:
        What was measured, or why nothing was. No failure of the candidate is raised.

    Raises:
        KeyboardInterrupt: As it came, with what there is by then as its ``outcome``; a second one
            does not wait for that.
    """
    with (
        tempfile.TemporaryDirectory(prefix="hfnb-compare-") as folder,
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log,
    ):
        Path(folder, "job").write_bytes(pickle.dumps(job))
        process = _started(folder, log)
        lines = _lines_of(process)
        interrupt: KeyboardInterrupt | None = None
        try:
            try:
                last = _follow(process, lines, tell, cancel, limit_s)
            except KeyboardInterrupt as problem:
                interrupt = problem
                cancel = threading.Event()
                cancel.set()
                last = _follow(process, lines, lambda _done: None, cancel, None)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        outcome = _outcome(Path(folder), last, code, log, cancel.is_set(), limit_s)
        if interrupt is not None:
            interrupt.outcome = outcome  # type: ignore[attr-defined]
            raise interrupt
        return outcome


def _outcome(
    folder: Path,
    last: dict[str, Any],
    code: int,
    log: IO[str],
    cancelled: bool,
    limit_s: float | None,
) -> Measured | Failed:
    if "ended" in last and "error" not in last:
        found: Measured = pickle.loads((folder / "measured").read_bytes())
        return found
    if cancelled:
        return Failed("it was ended before it had finished", cancelled=True)
    if last.get("late"):
        return Failed(f"it had not finished after {limit_s:,.0f} s", cancelled=True)
    return Failed(str(last["error"]) if "error" in last else _how_it_ended(code, log))


def _started(folder: str, log: IO[str]) -> subprocess.Popen[str]:
    path = [str(Path(each).absolute()) for each in sys.path]
    return subprocess.Popen(
        [sys.executable, "-c", _START, json.dumps(path), folder],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=log,
        env={**os.environ, **_QUIET},
        encoding="utf-8",
        start_new_session=True,  # an interrupt reaches this process, which then ends the child
    )


def _lines_of(process: subprocess.Popen[str]) -> queue.SimpleQueue[str | None]:
    """Return the lines that a process writes, as they come; ``None`` is their end."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        for line in process.stdout or ():
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, name="hfnb-compare", daemon=True).start()
    return lines


def _follow(
    process: subprocess.Popen[str],
    lines: queue.SimpleQueue[str | None],
    tell: Callable[[int], None],
    cancel: threading.Event,
    limit_s: float | None,
) -> dict[str, Any]:
    """Pass on how far the process is, until it ends; return its last word."""
    until = None if limit_s is None else time.perf_counter() + limit_s
    asked: float | None = None
    patience_s = _PATIENCE_BEFORE_ROWS_S
    last: dict[str, Any] = {}
    while True:
        now = time.perf_counter()
        late = until is not None and now > until
        if asked is None and (cancel.is_set() or late):
            last["late"] = late and not cancel.is_set()
            asked = now
            _ask_to_end(process)
        if asked is not None and now > asked + patience_s:
            process.kill()
        try:
            line = lines.get(timeout=_LOOK_EVERY_S)
        except queue.Empty:
            continue
        if line is None:
            return last
        try:
            said = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if "done" in said:
            if said["done"]:
                patience_s = _PATIENCE_S
            tell(int(said["done"]))
        else:
            last |= said


def _ask_to_end(process: subprocess.Popen[str]) -> None:
    try:
        assert process.stdin is not None
        process.stdin.write("end\n")
        process.stdin.flush()
    except OSError:  # it has ended already
        return


def _how_it_ended(code: int, log: IO[str]) -> str:
    log.seek(0)
    lines = [each.strip() for each in log.read().splitlines() if each.strip()]
    said = f" It said: {lines[-1][:300]}" if lines else ""
    if code >= 0:
        return f"its process ended with code {code}.{said}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    why = ", most often because memory had run out" if name == "SIGKILL" else ""
    return f"its process was ended by {name}{why}.{said}"
