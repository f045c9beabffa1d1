"""Rehearse what Binder does with this repository: python -m tests.binder.rehearse [FOLDER].

It builds the image, or takes the one that an earlier rehearsal has left in the folder, starts a
session with 2 GB of memory and no network, runs every notebook in it, and prints what each took.
`image` says what stands in for what. It takes Linux, root (to take the network away, and to limit
memory) and some minutes.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.binder.image import Image, build
from tests.binder.session import LIMIT
from tests.control_groups import NoControlGroupError, control_group
from tests.working_tree import ROOT


def problem_here() -> str | None:
    """Return why this machine can't rehearse, or None if it can."""
    if sys.platform != "linux":
        return "needs Linux"
    if os.geteuid() != 0:
        return "needs root, to take the network away and to limit memory"
    if shutil.which("unshare") is None:
        return "needs util-linux's unshare"
    try:
        with control_group(LIMIT):
            return None
    except NoControlGroupError as problem:
        return f"needs control groups: {problem}"


def rehearse(image: Image) -> list[dict[str, Any]]:
    """Return what was measured in a session of an image: `what`, `seconds`, `peak`, `problem`."""
    done = subprocess.run(
        ["unshare", "--net", "--mount", sys.executable, "-m", "tests.binder.session", image.folder],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def report(size: int, measured: list[dict[str, Any]]) -> str:
    """Return a table in Markdown, and the image's size in bytes before the session."""
    lines = ["| | seconds | peak, MB |", "| --- | --- | --- |"]
    for each in measured:
        lines.append(f"| {each['what']} | {each['seconds']:.0f} | {each['peak'] / 1e6:.0f} |")
    for each in measured:
        if each["problem"]:
            lines += ["", f"FAILED: {each['problem']}"]
    lines += ["", f"image: {size / 1e9:.2f} GB, without Ubuntu and conda itself"]
    return "\n".join(lines)


def main() -> None:
    """Build, measure, report; exit with 1 where a notebook failed."""
    if (why := problem_here()) is not None:
        raise SystemExit(f"can't rehearse Binder here: {why}")
    with contextlib.ExitStack() as stack:
        if len(sys.argv) > 1:
            folder = Path(sys.argv[1])
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="binder-")))
        image = Image(folder.resolve())
        if not image.environment.exists():
            began = time.monotonic()
            build(image)
            print(f"built {image.folder} in {time.monotonic() - began:.0f} s", flush=True)
        size = image.size()
        measured = rehearse(image)
    print(report(size, measured))
    if any(each["problem"] for each in measured):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
