"""What ``import hfnb`` costs on top of an empty Python program."""

from __future__ import annotations

import subprocess
import sys

from measure import alternate

TITLE = "Import"
REPEATS = 20
_HEAVY = ("torch", "transformers", "openvino", "langchain_core", "ipywidgets", "pandas", "numpy")


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return done.stdout


def run() -> str:
    """Return the results as Markdown."""
    bare, ours = alternate(
        [
            ("python -c pass", lambda: _python("pass")),
            ("python -c 'import hfnb'", lambda: _python("import hfnb")),
        ],
        REPEATS,
    )
    loaded = _python(f"import sys, hfnb; print([m for m in {_HEAVY} if m in sys.modules])").strip()
    more = (ours.median - bare.median) * 1000
    return (
        f"Medians of {REPEATS} fresh processes, in turn.\n\n"
        "| program | median, ms | fastest-slowest, s |\n| --- | --- | --- |\n"
        f"| `python -c pass` | {bare.median * 1000:.1f} | {bare.spread} |\n"
        f"| `python -c 'import hfnb'` | {ours.median * 1000:.1f} | {ours.spread} |\n\n"
        f"`import hfnb` adds **{more:.1f} ms** (target: under 100 ms). "
        f"Heavy packages that it loads: {loaded}.\n"
    )
