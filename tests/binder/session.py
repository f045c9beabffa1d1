"""A session of an image that is made: JupyterLab through `start`, and the notebooks in it.

Run as a program, which `rehearse` does: it then has a network of its own that leads nowhere, and
prints a line of JSON for each thing that it measured.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.binder.image import Image, as_user
from tests.binder.kernels import CellFailedError, Server, wait_until_up
from tests.control_groups import ControlGroup, control_group

LIMIT = 2 * 10**9
"""Bytes for JupyterLab and the kernel together: what mybinder gives, 2 GiB, and a little less."""
TOUR = "notebooks/01-tour.ipynb"
NOTEBOOK_S = 300.0
_SHM = "64m"  # what containers get for shared memory


class Peak:
    """The most memory that the session's processes held since it was last asked."""

    def __init__(self, used: Callable[[], int]) -> None:
        self._used = used
        self._most = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def take(self) -> int:
        """Return it, and begin anew."""
        most, self._most = max(self._most, self._used()), 0
        return most

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.02):
            self._most = max(self._most, self._used())


def cut_off() -> None:
    """Bring up the loopback of a network that has nothing else, and small shared memory."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        up_and_running = 0x1 | 0x40
        request = struct.pack("16sH", b"lo", up_and_running)
        fcntl.ioctl(control, 0x8914, request)  # SIOCSIFFLAGS
    command = ["mount", "-t", "tmpfs", "-o", f"size={_SHM},mode=1777", "tmpfs", "/dev/shm"]
    subprocess.run(command, check=True)


@contextlib.contextmanager
def session(image: Image, group: ControlGroup) -> Iterator[Server]:
    """Start JupyterLab as BinderHub does, in a control group, until the block ends."""
    token = secrets.token_hex(16)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        *(str(image.start), "jupyter-lab", "--ip=127.0.0.1", f"--port={port}"),
        *("--ServerApp.base_url=/user/rehearsal/", f"--IdentityProvider.token={token}"),
    ]
    variables = {
        **image.variables(),
        "CPU_GUARANTEE": "0.01",
        "CPU_LIMIT": "1.0",
        "HF_HUB_OFFLINE": "1",
        "MEM_GUARANTEE": str(450 * 2**20),
        "MEM_LIMIT": str(LIMIT),
        "PYTHONUNBUFFERED": "1",
    }
    log = image.folder / "session.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["sh", "-c", 'read go && exec "$@"', "sh", *command],
            cwd=image.home,
            env=variables,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            **as_user(),  # type: ignore[call-overload]
        )
        assert process.stdin is not None
        group.add(process.pid)
        process.stdin.write(b"go\n")
        process.stdin.close()
        server = Server(f"http://127.0.0.1:{port}/user/rehearsal", token)
        try:
            try:
                wait_until_up(server, lambda: process.poll() is not None, 120)
            except RuntimeError as problem:
                raise RuntimeError(f"{problem}:\n{log.read_text()[-4000:]}") from None
            yield server
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            _end_all(group)
            process.wait()


def _end_all(group: ControlGroup) -> None:
    """End what the session has left behind: a group is removed when it is empty."""
    for _ in range(100):
        left = (group.folder / "cgroup.procs").read_text().split()
        if not left:
            return
        for each in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(each), 9)
        time.sleep(0.1)


def measure(image: Image, tell: Callable[[dict[str, Any]], None]) -> None:
    """Start a session, open the tour, run every notebook; tell what each took."""
    with control_group(LIMIT) as group, session(image, group) as server:
        peak = Peak(group.used)
        try:
            page = server.get(f"/lab/tree/{TOUR}?token={server.token}")
            assert b"jupyter-config-data" in page, "JupyterLab's page is not there"
            time.sleep(2)
            tell({"what": "JupyterLab alone", "seconds": 0.0, "peak": peak.take(), "problem": ""})
            for path in sorted((image.home / "notebooks").glob("*.ipynb")):
                name = str(path.relative_to(image.home))
                began = time.monotonic()
                killed = group.killed()
                problems = []
                try:
                    server.execute(name, image.home, NOTEBOOK_S)
                except CellFailedError as failure:
                    problems.append(str(failure))
                if group.killed() > killed:  # of several processes, the notebook may not notice
                    problems.append(f"a process was killed at {LIMIT} bytes")
                seconds = time.monotonic() - began
                tell(
                    {
                        "what": name,
                        "seconds": seconds,
                        "peak": peak.take(),
                        "problem": "; ".join(problems),
                    }
                )
        finally:
            peak.end()


def main() -> None:
    """Measure the image in the folder that is the first argument."""
    cut_off()
    measure(Image(Path(sys.argv[1])), lambda line: print(json.dumps(line), flush=True))


if __name__ == "__main__":
    main()
