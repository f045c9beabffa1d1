"""Interrupts arrive after an OpenVINO model has come and gone."""

import subprocess
import sys

import pytest

from tests.needs import require
from tests.openvino.engines import exported

require("openvino")

CHILD = """
import faulthandler, gc, signal, sys
faulthandler.enable()  # with it, Python's signal handlers run on a stack of their own
import hfnb
for _ in range(2):
    llm = hfnb.load(sys.argv[1], backend="openvino")
    llm.invoke("What is the number 7 in french?", max_new_tokens=8)
    del llm
    gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="seen on Linux")
def test_an_interrupt_after_a_model_was_unloaded_does_not_crash() -> None:
    """What was loaded with the model had left the thread a signal stack in memory that was gone."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, str(exported("llama"))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["interrupted"]), done.stderr
