"""The slow imports: made in the background, and never beside those of a cell."""

import subprocess
import sys

import pytest


def run(code: str) -> str:
    """Run code in a fresh Python; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_cell_that_may_import_waits_and_another_one_does_not() -> None:
    told = run(
        "import sys\nfrom hfnb.panel import imports\n"
        "imports.before_cell('import transformers')\n"  # nothing has begun: it waits for nothing
        "imports.begin()\nimports.begin()\n"
        "imports.before_cell('df.head()')\nprint('hfnb.loading' in sys.modules)\n"
        "imports.before_cell('%%hfnb df')\nprint('hfnb.loading' in sys.modules)\n"
        "print(imports._all.is_set())"
    )
    assert told.split() == ["False", "True", "True"]


def test_what_can_not_be_imported_keeps_nobody_waiting() -> None:
    told = run(
        "import sys\nsys.modules['torch'] = None\n"
        "from hfnb.panel import imports\nimports.wait_for_all()\nprint('goes on')"
    )
    assert told.splitlines()[-1] == "goes on"


@pytest.mark.parametrize("backend", ["pytorch", "openvino"])
def test_nothing_slow_is_imported_to_make_a_panel(backend: str) -> None:
    told = run(
        "import sys, pandas as pd, hfnb\n"
        "import IPython; IPython.get_ipython = lambda: None\n"
        "from hfnb.panel import imports\nimports.begin = lambda: None\n"
        f"hfnb.Panel(pd.DataFrame({{'i': [1]}}), 'row {{i}}', backend={backend!r})\n"
        "slow = {'torch', 'transformers', 'langchain_core', 'openvino', 'matplotlib'}\n"
        "print(sorted(slow & set(sys.modules)))"
    )
    assert told.strip() == "[]"
