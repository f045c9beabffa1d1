"""Control groups of Linux: a limit of memory for a process and all that it starts."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


class NoControlGroupError(Exception):
    """This user, or this machine, can't make a control group with a limit of memory."""


@dataclass(frozen=True)
class ControlGroup:
    """One with a limit of memory, of version 1 or 2."""

    folder: Path
    version: int

    def add(self, process: int) -> None:
        """Move a process into it; what it has taken before stays with the group it comes from."""
        (self.folder / "cgroup.procs").write_text(str(process))

    def used(self) -> int:
        """Return the bytes that its processes hold, without files' pages, which can be dropped."""
        usage = "memory.usage_in_bytes" if self.version == 1 else "memory.current"
        prefix = "total_" if self.version == 1 else ""
        stat = self._numbers("memory.stat")
        files = stat[f"{prefix}active_file"] + stat[f"{prefix}inactive_file"]
        return max(0, int((self.folder / usage).read_text()) - files)

    def killed(self) -> int:
        """Return how many processes the kernel has ended for want of memory."""
        name = "memory.oom_control" if self.version == 1 else "memory.events"
        return self._numbers(name).get("oom_kill", 0)

    def _numbers(self, name: str) -> dict[str, int]:
        lines = (self.folder / name).read_text().splitlines()
        return {key: int(value) for key, value in map(str.split, lines)}


@contextlib.contextmanager
def control_group(limit: int) -> Iterator[ControlGroup]:
    """Make a group inside this process's own, whose processes may take `limit` bytes together.

    Raises:
        NoControlGroupError: Why there can be none.
    """
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    paths = {line.split(":", 2)[1]: line.split(":", 2)[2] for line in lines}
    root, name, inside, version = Path("/sys/fs/cgroup"), "memory.max", paths.get("", "/"), 2
    if "memory" in paths:
        root, name, inside = root / "memory", "memory.limit_in_bytes", paths["memory"]
        version = 1
    folder = root / inside.lstrip("/") / f"hfnb-test-{secrets.token_hex(4)}"
    try:
        folder.mkdir()
    except OSError as problem:
        raise NoControlGroupError(f"this user may make none: {problem}") from problem
    try:
        try:
            (folder / name).write_text(str(limit))
        except OSError as problem:
            raise NoControlGroupError(f"no controller of memory: {problem}") from problem
        yield ControlGroup(folder, version)
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove a group; the kernel needs a moment after its last process has ended."""
    deadline = time.monotonic() + 10
    while True:
        try:
            folder.rmdir()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)
