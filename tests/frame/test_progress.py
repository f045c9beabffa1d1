"""What is shown while a run goes on: in a terminal, in a log, in a notebook."""

import fcntl
import io
import itertools
import os
import pty
import struct
import subprocess
import sys
import termios
import textwrap
import time
from typing import Any

import nbclient
import nbformat
import pandas as pd
import pytest

import hfnb
from hfnb.frame import progress as module
from hfnb.frame.progress import Log, Progress, Terminal, display_for, duration, number


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (
            Progress(120, 400, 0, 30.77, 0, 120),
            "120/400 rows · 3.9 rows/s · 1 min 12 s left · 0 failed",
        ),
        (Progress(0, 400, 0, 3.0), "0/400 rows · 0 failed"),
        (Progress(0, 0, 0, 0.0), "0/0 rows · 0 ms · 0 failed"),
        (Progress(400, 400, 12, 4.0, 0, 388), "400/400 rows · 97.0 rows/s · 4 s · 12 failed"),
        (Progress(1_000, 1_000_000, 1_000, 1.0), None),
    ],
)
def test_progress_reads_as_one_line(progress: Progress, text: str | None) -> None:
    many = "1,000/1,000,000 rows · 16 min 39 s left · 1,000 failed"
    assert str(progress) == (text or many)


def test_progress_before_any_time_has_passed_has_no_rate() -> None:
    """It divided by zero."""
    assert Progress(1, 2, 0, 0.0).left_s is None
    assert str(Progress(1, 2, 0, 0.0, answered=1)) == "1/2 rows · 0 rows/s · 0 failed"


def test_the_rate_is_of_rows_that_this_run_has_answered() -> None:
    """Rows without a prompt counted, and failed ones that a retry kept were taken off twice."""
    df = pd.DataFrame({"a": ["x", None, "y", None, "z", "x"]})
    seen: list[Progress] = []
    engine = hfnb.EchoEngine(delay_s=0.01, fail=lambda prompt: prompt == "y")
    options: dict[str, Any] = {"nulls": "skip", "journal": False, "progress": seen.append}
    result = hfnb.run(df, "{a}", hfnb.HuggingFacePipeline(engine=engine), **options)
    last = seen[-1]
    assert (last.done, last.failed, last.answered) == (6, 1, 3)
    assert result.stats.rows_per_s * result.stats.wall_s == pytest.approx(3)
    again = result.retry([0]).progress()
    assert (again.done, again.failed, again.reused, again.answered) == (6, 1, 5, 1)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0 ms"),
        (0.000012, "0.012 ms"),
        (0.0421, "42.1 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1 s"),
        (1.0, "1 s"),
        (59.94, "59.9 s"),
        (59.96, "1 min 0 s"),
        (75, "1 min 15 s"),
        (3599.4, "59 min 59 s"),
        (3599.6, "1 h 0 min"),
        (7300, "2 h 1 min"),
        (360_000, "100 h 0 min"),
    ],
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (0.123, "0.12"),
        (3.94, "3.9"),
        (9.96, "10"),
        (31.44, "31.4"),
        (99.97, "100"),
        (1234.5, "1,234"),
    ],
)
def test_numbers_read_well(value: float, text: str) -> None:
    assert number(value) == text


class FakeTerminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_that_is_written_over() -> None:
    stream = FakeTerminal()
    terminal = Terminal(stream)
    terminal.update(Progress(1, 100, 0, 0.01))
    terminal.update(Progress(99, 100, 0, 99.0))
    terminal.close(Progress(100, 100, 0, 1.0))
    drawn = stream.getvalue().split("\r")
    assert drawn[0] == ""
    assert drawn[-1].endswith("\n")
    assert stream.getvalue().count("\n") == 1
    for before, after in itertools.pairwise(drawn[1:]):
        assert len(after.rstrip("\n")) >= len(before.rstrip()), "a longer line shines through"


def test_a_log_writes_a_line_every_half_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(module.time, "perf_counter", lambda: now)
    stream = io.StringIO()
    log = Log(stream)
    for step in range(4 * 100):  # 100 seconds, at four updates a second
        now = 1000.0 + step / 4
        log.update(Progress(step, 400, 0, 1.0))
    log.close(Progress(400, 400, 0, 1.0))
    lines = stream.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("hfnb: 120/400 rows · ")


@pytest.mark.parametrize(
    ("stream", "display"), [(FakeTerminal(), "Terminal"), (io.StringIO(), "Log"), (None, "Silent")]
)
def test_the_display_suits_the_stream(
    stream: Any, display: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    assert type(display_for("auto")).__name__ == display
    assert type(display_for(False)).__name__ == "Silent"


def test_a_short_run_writes_nothing_to_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    hfnb.run(pd.DataFrame({"x": ["a"]}), "{x}", hfnb.EchoEngine())
    assert capsys.readouterr() == ("", "")


def test_a_function_is_called_with_snapshots_and_with_the_end() -> None:
    seen: list[tuple[float, Progress]] = []
    df = pd.DataFrame({"x": [*range(39), None]})
    engine = hfnb.EchoEngine(delay_s=0.02, fail="7".__eq__)
    hfnb.run(df, "{x}", engine, progress=lambda each: seen.append((time.perf_counter(), each)))
    last = seen[-1][1]
    assert (last.done, last.total, last.failed) == (40, 40, 1)
    assert [each.done for _, each in seen] == sorted(each.done for _, each in seen)
    assert 0 < seen[0][1].done < 40
    spaces = [b[0] - a[0] for a, b in itertools.pairwise(seen[:-1])]
    assert all(space >= 0.24 for space in spaces), "more than four times a second"


@pytest.mark.parametrize("columns", [0, 20])
def test_a_run_in_a_real_terminal_shows_a_line_that_ends(columns: int) -> None:
    """In a narrow terminal the line wrapped, and every update was a new line."""
    program = """
        import hfnb, pandas as pd
        df = pd.DataFrame({"x": range(40)})
        hfnb.run(df, "{x}", hfnb.EchoEngine(delay_s=0.02))
        print("after")
    """
    ours, theirs = pty.openpty()
    try:
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=theirs,
            timeout=60,
            check=True,
        )
        shown = os.read(ours, 100_000).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.stdout == b"after\n"
    assert 2 <= shown.count("\r") <= 8
    assert shown.count("\n") == 1
    drawn = shown.strip().split("\r")
    assert drawn[-1].startswith("40/40 rows · ")
    assert not columns or max(map(len, drawn)) < columns


# -- in a notebook --------------------------------------------------------------------------------

SETUP = """
import os, signal
import hfnb, pandas as pd
df = pd.DataFrame({"x": range(60)})
slow = hfnb.EchoEngine(lambda prompt: "<script>alert(1)</script><b>", delay_s=0.02)
"""
RUN = 'hfnb.run(df, "{x}", slow)'
MISTAKE = 'hfnb.run(df, "{y}", slow)'
NO_MODEL = 'hfnb.run(df, "{x}", 5)'
TAKEN = """
import pathlib, tempfile
taken = pathlib.Path(tempfile.mkdtemp())
df.to_parquet(taken / "rows.parquet")
hfnb.run(taken / "rows.parquet", "{x}", slow, out=taken)
"""
INTERRUPT = """
def answer(prompt):
    if prompt == "20":
        os.kill(os.getpid(), signal.SIGINT)
    return prompt
hfnb.run(df, "{x}", hfnb.EchoEngine(answer, delay_s=0.02))
"""
LAST = "hfnb.last_result()"
SILENT = 'hfnb.run(df, "{x}", hfnb.EchoEngine(), progress=False)'
THREAD = """
import threading
thread = threading.Thread(target=lambda: hfnb.run(df, "{x}", slow))
thread.start()
thread.join()
hfnb.last_result().stats.ok
"""


class Client(nbclient.NotebookClient):
    """Executes a notebook, and keeps every message that shows something."""

    def process_message(self, msg: Any, cell: Any, cell_index: int) -> Any:
        kinds = ("display_data", "update_display_data", "execute_result", "stream", "error")
        if msg["msg_type"] in kinds:
            self.__dict__.setdefault("messages", []).append((cell_index, msg))
        return super().process_message(msg, cell, cell_index)


@pytest.fixture(scope="module")
def notebook() -> tuple[Any, list[tuple[int, Any]]]:
    """The cells below in a real kernel: the notebook, and the messages that made it."""
    cells = [SETUP, RUN, MISTAKE, NO_MODEL, INTERRUPT, LAST, SILENT, THREAD, TAKEN]
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(each) for each in cells])
    client = Client(made, timeout=120, kernel_name="python3", allow_errors=True)
    client.execute()
    return made, client.__dict__["messages"]


def outputs(notebook: tuple[Any, Any], cell: int) -> Any:
    return notebook[0].cells[cell].outputs


def test_a_notebook_shows_one_progress_output_and_the_result(notebook: Any) -> None:
    shown, result = outputs(notebook, 1)
    assert shown.output_type == "display_data"
    assert shown.data["text/plain"].startswith("60/60 rows · ")
    assert "width: 100.0%" in shown.data["text/html"]
    assert result.output_type == "execute_result"
    assert result.data["text/plain"].splitlines()[0].split() == ["x", "output", "latency"]
    assert 'class="hfnb-result"' in result.data["text/html"]


def test_a_notebooks_progress_is_updated_in_place_four_times_a_second(notebook: Any) -> None:
    messages = [msg for at, msg in notebook[1] if at == 1]
    first, *updates, _ = messages
    assert first["msg_type"] == "display_data"
    assert {msg["msg_type"] for msg in updates} == {"update_display_data"}
    ids = {msg["content"]["transient"]["display_id"] for msg in (first, *updates)}
    assert len(ids) == 1
    sent = [msg["header"]["date"].timestamp() for msg in updates[:-1]]  # the last is the end
    assert len(sent) >= 3
    assert all(later - before >= 0.2 for before, later in itertools.pairwise(sent))


def test_a_models_html_does_not_run_in_a_notebook(notebook: Any) -> None:
    shown, result = outputs(notebook, 1)
    for data in (shown.data, result.data):
        assert "<script" not in data["text/html"]
        assert "<b>" not in data["text/html"]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&lt;b&gt;" in result.data["text/html"]


def test_a_saved_notebook_has_no_widgets(notebook: Any) -> None:
    made, messages = notebook
    assert "widgets" not in made.metadata
    kinds = {kind for _, msg in messages for kind in msg["content"].get("data", {})}
    assert kinds == {"text/plain", "text/html"}


@pytest.mark.parametrize(
    ("cell", "name"), [(2, "TemplateError"), (3, "OptionError"), (8, "OptionError")]
)
def test_a_mistake_in_a_notebook_leaves_no_progress_bar(
    notebook: Any, cell: int, name: str
) -> None:
    """A wrong model left "starting ..." above its error."""
    (error,) = outputs(notebook, cell)
    assert error.ename == name


def test_an_interrupt_in_a_notebook_leaves_what_was_finished(notebook: Any) -> None:
    shown, error = outputs(notebook, 4)
    assert error.ename == "KeyboardInterrupt"
    done = int(shown.data["text/plain"].split("/")[0])
    assert 20 <= done < 60
    (last,) = outputs(notebook, 5)
    assert f"60: {done} ok, {60 - done} cancelled" in last.data["text/plain"]


def test_progress_can_be_switched_off_in_a_notebook(notebook: Any) -> None:
    assert [each.output_type for each in outputs(notebook, 6)] == ["execute_result"]


def test_a_run_in_a_notebooks_thread_shows_its_progress_too(notebook: Any) -> None:
    *_, result = outputs(notebook, 7)
    assert result.data["text/plain"] == "60"
    messages = [msg["msg_type"] for at, msg in notebook[1] if at == 7]
    assert messages.count("display_data") == 1
    assert "stream" not in messages
