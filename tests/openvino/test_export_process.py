"""The exporting process: killed, interrupted, crashed, orphaned; and two that ask at once.

The scripts below run in processes of their own. All but two tests put something short in the place
of the export's work, so that the moment at which it ends is known.
"""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from hfnb.engines import openvino_cache, openvino_child
from hfnb.errors import ModelError
from tests.needs import require
from tests.openvino.conftest import FakeChild, export_of

require("openvino")

# Exports a model, telling each step on standard output.
EXPORT = """
import json, sys
from hfnb import hub
from hfnb.engines import openvino_child, openvino_export
from hfnb.spec import ModelSpec
if len(sys.argv) > 2:
    openvino_child._START = sys.argv[2]
tell = lambda line: print(line, flush=True)
done = openvino_export.exported(hub.find(ModelSpec(sys.argv[1])), progress=tell)
print(json.dumps([done.was_there, str(done.folder)]))
"""
# Stands in for the export's work: half of a file, its process's number, and then for ever.
FOREVER = """
import json, os, sys, time, threading
sys.path[:] = json.loads(sys.argv[1])
from hfnb.engines import openvino_convert
def work(job, say):
    open(job["part"] + "/openvino_model.bin", "w").write("half")
    say(str(os.getpid()))
    time.sleep(600)
openvino_convert._JOBS["export"] = work
openvino_convert.main(sys.argv[2])
"""
WAIT_S = 60


def start(model: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", EXPORT, str(model), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], wanted: Callable[[str], bool]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if wanted(line.strip()):
            return line.strip()
    raise AssertionError(process.stderr.read() if process.stderr else "")


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def leftovers(cache: Path) -> list[str]:
    return [each.name for each in (cache / "exports").iterdir()]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_work_ends_with_the_process_that_asked_for_it(
    model: Path, cache: Path, how: signal.Signals
) -> None:
    with start(model, FOREVER) as process:
        worker = int(read_until(process, lambda line: line.removesuffix(" ...").isdigit())[:-4])
        assert psutil.pid_exists(worker)
        process.send_signal(how)
        _, log = process.communicate(timeout=WAIT_S)
    assert process.returncode != 0
    assert is_gone(worker)
    if how == signal.SIGINT:
        assert "KeyboardInterrupt" in log
        assert leftovers(cache) == []
    else:
        assert [name.startswith(".hfnb-part-") for name in leftovers(cache)] == [True]


def test_what_a_killed_process_left_is_never_taken_for_an_export(
    model: Path, cache: Path, child: FakeChild
) -> None:
    with start(model, FOREVER) as process:
        read_until(process, lambda line: line.removesuffix(" ...").isdigit())
        process.kill()
    assert len(leftovers(cache)) == 1
    done = export_of(model)
    assert not done.was_there
    assert leftovers(cache) == [done.folder.name]
    assert (done.folder / "openvino_model.bin").read_bytes().startswith(b"weights")


@pytest.mark.parametrize("moment", ["sizes", "manifest", "rename"])
def test_a_kill_while_it_is_published_leaves_nothing_or_all(
    model: Path, cache: Path, child: FakeChild, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last moments of an export, each ended as a kill ends it: nothing is tidied up."""

    class Killed(BaseException):
        pass

    def dying(real: Callable[..., Any], *names: str) -> Callable[..., Any]:
        def call(path: Path, *args: Any) -> Any:
            if any(name in path.name for name in names):
                raise Killed
            return real(path, *args)

        return call

    with monkeypatch.context() as patch:
        patch.setattr("hfnb.engines.openvino_export.shutil.rmtree", lambda *_a, **_o: None)
        if moment == "sizes":
            patch.setattr(openvino_cache, "_to_disk", dying(openvino_cache._to_disk, "model"))
        elif moment == "manifest":
            patch.setattr(openvino_cache, "write_json", dying(openvino_cache.write_json, "export"))
        else:
            patch.setattr(Path, "replace", dying(Path.replace, ".hfnb-part-"))
        with pytest.raises(Killed):
            export_of(model)
    assert len(leftovers(cache)) == 1
    assert all(name.startswith(".hfnb-part-") for name in leftovers(cache))
    done = export_of(model)
    assert not done.was_there
    assert leftovers(cache) == [done.folder.name]


def job_of(part: Path) -> dict[str, Any]:
    return {"do": "export", "model": "it", "part": str(part), "trust_remote_code": False}


def run_instead(code: str, monkeypatch: pytest.MonkeyPatch, part: Path) -> Mapping[str, Any]:
    """Run a child whose work is ``code``."""
    lines = "\n".join(f"    {line}" for line in textwrap.dedent(code).strip().splitlines())
    work = f"def work(job, say):\n{lines}\n"
    monkeypatch.setattr(openvino_child, "_START", FOREVER.partition("def work")[0] + work + _RUN)
    return openvino_child.run(job_of(part), lambda _line: None)


_RUN = 'openvino_convert._JOBS["export"] = work\nopenvino_convert.main(sys.argv[2])\n'


def test_a_crash_is_an_error_that_names_the_signal_and_shows_the_log(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    crash = """
    print("the last words", file=sys.stderr, flush=True)
    os.kill(os.getpid(), 9)
    """
    with pytest.raises(ModelError, match=r"was ended by SIGKILL.*backend='pytorch'") as caught:
        run_instead(crash, monkeypatch, tmp_path)
    assert "the last words" in caught.value.__notes__[0]


def test_an_exception_in_the_work_is_a_model_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"'it' could not be exported.*RuntimeError: no such op"):
        run_instead("raise RuntimeError('no such op')", monkeypatch, tmp_path)


def test_what_libraries_print_does_not_reach_the_user(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    code = """
    print("noise")
    os.system("echo noise of a program")
    say("a step")
    import warnings; warnings.warn("noise")
    return {"notes": [], "environment": os.environ.get("HF_HUB_OFFLINE")}
    """
    monkeypatch.delenv("HF_HUB_OFFLINE")
    result = run_instead(code, monkeypatch, tmp_path)
    assert result == {"notes": [], "environment": "1"}
    assert capfd.readouterr() == ("", "")


def test_two_processes_that_ask_at_once_export_once(
    tiny_model: Callable[[str], Path], cache: Path
) -> None:
    with start(tiny_model("gpt2")) as first, start(tiny_model("gpt2")) as second:
        outputs = [each.communicate(timeout=300) for each in (first, second)]
    told = [out.splitlines() for out, _ in outputs]
    assert all(lines for lines in told), outputs
    results = [json.loads(lines[-1]) for lines in told]
    assert sorted(was_there for was_there, _ in results) == [False, True]
    assert len({folder for _, folder in results}) == 1
    assert len(leftovers(cache)) == 1
    waiting = told[0] if results[0][0] else told[1]
    assert len([line for line in waiting if line.startswith("Waiting: another process")]) == 1
    assert export_of(tiny_model("gpt2")).was_there


def test_a_real_export_that_is_killed_midway_leaves_nothing_to_load(
    tiny_model: Callable[[str], Path], cache: Path, child: FakeChild
) -> None:
    with start(tiny_model("gpt2")) as process:
        read_until(process, lambda line: "converting the model" in line)
        assert len(psutil.Process(process.pid).children()) == 1
        worker = psutil.Process(process.pid).children()[0].pid
        process.kill()
    assert is_gone(worker)
    assert [name.startswith(".hfnb-part-") for name in leftovers(cache)] == [True]
    done = export_of(tiny_model("gpt2"))
    assert not done.was_there
    assert leftovers(cache) == [done.folder.name]


def test_a_process_that_looks_for_an_export_imports_nothing_heavy(gpt2_export: Any) -> None:
    script = EXPORT + (
        "heavy = {'torch', 'transformers', 'openvino', 'optimum', 'nncf', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    source = openvino_cache.read_manifest(gpt2_export.folder)
    assert source is not None
    done = subprocess.run(
        [sys.executable, "-c", script, source.model],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    assert done.stdout.splitlines() == [json.dumps([True, str(gpt2_export.folder)]), "[]"]
