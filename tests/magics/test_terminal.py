"""The magics in IPython in a terminal: text for progress and tables, one line for a mistake."""

import re
import sys

import pexpect

_CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]")


def test_a_terminal_shows_text_and_no_markup() -> None:
    child = pexpect.spawn(
        sys.executable,
        [
            "-m",
            "IPython",
            "--simple-prompt",
            "--no-banner",
            "--colors=nocolor",
            "--no-confirm-exit",
        ],
        encoding="utf-8",
        timeout=120,
        dimensions=(40, 120),
    )

    def run(cell: str) -> str:
        child.sendline(cell)
        child.expect(r"In \[\d+\]: $")
        return _CODES.sub("", child.before or "")

    try:
        child.expect(r"In \[\d+\]: $")
        run("%load_ext hfnb")
        run("import hfnb, pandas as pd; df = pd.DataFrame({'i': range(3)})")
        run("echo = hfnb.EchoEngine(delay_s=0.3)")
        child.sendline("%%hfnb df --model echo --into answer")
        child.sendline("row {i}")
        said = run("\n")
        assert "3/3 rows" in said
        assert "row 2" in said
        assert "latency" in said
        assert "<" not in said.replace("<DataFrame", "")
        assert "latency" not in run("_")
        child.sendline("%%hfnb dff")
        child.sendline("row {i}")
        wrong = run("\n")
        assert "UsageError: There is no variable 'dff'. Did you mean 'df'?" in wrong
        assert "Traceback" not in wrong
        assert "hfnb/echo" in run("%hfnb status")
    finally:
        child.close(force=True)
