"""OpenVINO's telemetry is switched off: not one connection, and no file in the user's home."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.needs import require

require("openvino")

# Any way out is written down and fails; a process that is forked inherits it.
GUARD = """
import os, socket, sys
def loudly(*args, **options):
    with open(os.environ["WITNESS"], "a") as witness:
        witness.write(repr(args[:2]) + chr(10))
    raise OSError("no network in this test")
socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = loudly
socket.getaddrinfo = socket.create_connection = loudly
"""
OPT_OUT = "from hfnb.engines.openvino_telemetry import opt_out; opt_out()\n"
# What sends in an ordinary export: the model converter, and NNCF when it compresses weights.
WORK = """
import numpy, openvino, nncf, torch
class Model(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(256, 256)
    def forward(self, x):
        return self.layer(x)
model = openvino.convert_model(Model(), example_input=torch.ones(1, 256))
nncf.compress_weights(model)
import openvino_telemetry
sender = openvino_telemetry.Telemetry().sender
sender.executor.shutdown(wait=True)
"""


def run(code: str, home: Path) -> tuple[str, list[str]]:
    """Run it with an empty home; return who was called, and what lies in the home then."""
    home.mkdir()
    witness = home.parent / f"{home.name}.txt"
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("CI", "TF_BUILD", "JENKINS_URL") and not name.startswith(("XDG_", "NNCF"))
    }
    subprocess.run(
        [sys.executable, "-W", "ignore", "-c", GUARD + code],
        env={**environment, "HOME": str(home), "WITNESS": str(witness)},
        check=True,
        capture_output=True,
    )
    called = witness.read_text() if witness.exists() else ""
    return called, sorted(str(each.relative_to(home)) for each in home.rglob("*"))


def test_a_conversion_after_opting_out_sends_nothing_and_writes_no_file(tmp_path: Path) -> None:
    called, files = run(OPT_OUT + WORK, tmp_path / "home")
    assert called == ""
    assert [name for name in files if "intel" in name.lower() or "telemetry" in name] == []


@pytest.mark.slow
def test_opting_out_after_openvino_was_imported_and_used_works_too(tmp_path: Path) -> None:
    late = (
        "import openvino_telemetry\n"
        "made = openvino_telemetry.Telemetry(app_name='a', app_version='1', tid='x',"
        " backend='ga4', enable_opt_in_dialog=False)\n"
        "assert made.consent\n"
    )
    called, _ = run(late + OPT_OUT + WORK, tmp_path / "home")
    assert called == ""


@pytest.mark.slow
def test_without_opting_out_it_would_send(tmp_path: Path) -> None:
    """So that the tests above try what they mean to: the guard sees a telemetry that is on."""
    called, files = run(WORK, tmp_path / "home")
    assert "google-analytics" in called
    assert any("intel" in name for name in files)


def test_opting_out_needs_no_telemetry_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from hfnb.engines.openvino_telemetry import opt_out

    monkeypatch.setitem(sys.modules, "openvino_telemetry", None)
    for name in ("main", "utils", "utils.sender", "utils.opt_in_checker"):
        monkeypatch.setitem(sys.modules, f"openvino_telemetry.{name}", None)
    opt_out()
