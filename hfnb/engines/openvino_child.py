"""Run the work of an export in a process of its own.

The export of a 100 M model leaves several hundred megabytes of torch and optimum-intel in its
process for good; a child process gives all of it back, keeps its warnings to itself, may crash
without harm to the notebook, and ends when it is interrupted. It also ends with its parent: it
reads a pipe whose other end the parent holds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from hfnb import errors, hardware
from hfnb.errors import ModelError

Progress = Callable[[str], None]
"""Takes a line of text that says what is being done."""

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from hfnb.engines.openvino_convert import main; main(sys.argv[2])"
)
_QUIET = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "PYTHONWARNINGS": "ignore",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
}
_LOG_LINES = 12


def run(job: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
    """Do a job of `hfnb.engines.openvino_convert` in a child process, and return its result.

    Args:
        job: What to do, as JSON can hold it; ``job["model"]`` is the name for messages.
        progress: Told each step.

    Raises:
        ModelError: The job failed. A note on the error has the end of the child's log.
    """
    environment = {**os.environ, **_QUIET}
    if not job.get("trust_remote_code"):
        environment["HF_HUB_OFFLINE"] = "1"  # everything is here; code may refer to other models
    path = [str(Path(each).absolute()) for each in sys.path]
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(path), json.dumps(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=environment,
            encoding="utf-8",
            start_new_session=True,  # an interrupt reaches this process, which then ends the child
        )
        try:
            result = _listen(process, progress)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
        if result is not None and "error" not in result:
            return result
        failure = _failure(str(job["model"]), result, code)
        failure.add_note(f"The end of the exporting process's log:\n{_tail(log)}")
        raise failure


def _listen(process: subprocess.Popen[str], progress: Progress) -> dict[str, Any] | None:
    """Pass on the child's steps until it ends; return its last word, if it had one."""
    result = None
    for line in process.stdout or ():
        try:
            said = json.loads(line)
        except ValueError:  # cut off by a kill
            continue
        if "step" in said:
            progress(said["step"])
        else:
            result = dict(said)
    return result


def _failure(name: str, result: dict[str, Any] | None, code: int) -> ModelError:
    if result is not None:
        kind = getattr(errors, str(result.get("kind")), None)
        if isinstance(kind, type) and issubclass(kind, ModelError):
            return kind(result["error"])
        return ModelError(
            f"{name!r} could not be exported to OpenVINO. {result.get('kind')}: {result['error']} "
            "Use backend='pytorch' for this model; if others export, report it to "
            "https://github.com/huggingface/optimum-intel/issues."
        )
    try:
        how = (
            f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        )
    except ValueError:
        how = f"was ended by signal {-code}"
    free = hardware.memory_free() / 1e9
    return ModelError(
        f"The process that exported {name!r} to OpenVINO {how}. Most often that is the system, "
        f"when memory runs out ({free:,.1f} GB are free now): close other notebooks and load the "
        "model again, or use backend='pytorch'. Nothing half-made was kept."
    )


def _tail(log: IO[str]) -> str:
    log.seek(0)
    lines = [each.rstrip() for each in log.read().splitlines() if each.strip()]
    return "\n".join(lines[-_LOG_LINES:]) or "(empty)"
