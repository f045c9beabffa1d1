"""A real JupyterLab server, and `Lab`, which drives it in a browser as a person would."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from playwright.sync_api import ConsoleMessage, Locator, Page

# No question about news, no pop-up over a screenshot, and every cell in the page at once.
SETTINGS: dict[str, dict[str, Any]] = {
    "apputils-extension/notification": {
        "fetchNews": "false",
        "checkForUpdates": False,
        "doNotDisturbMode": True,
    },
    "notebook-extension/tracker": {"windowingMode": "none"},
    "docmanager-extension/plugin": {"autosave": False},
}


@dataclass(frozen=True)
class LabServer:
    """A running JupyterLab: `root` is the folder of notebooks that it shows."""

    url: str
    token: str
    root: Path
    config: Path

    def write_notebook(self, name: str, cells: Sequence[str]) -> str:
        """Write a notebook with these code cells into `root`, and return its name."""
        import nbformat.v4 as v4

        notebook = v4.new_notebook(cells=[v4.new_code_cell(source) for source in cells])
        # Without it JupyterLab asks which kernel to use, and waits.
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        (self.root / name).write_text(json.dumps(notebook), encoding="utf-8")
        return name

    def reset(self) -> None:
        """End every kernel and forget changed settings (the theme, say) for the next test."""
        for session in self._api("GET", "sessions"):
            with contextlib.suppress(urllib.error.HTTPError):  # it may end by itself meanwhile
                self._api("DELETE", f"sessions/{session['id']}")
        folder = self.config / "lab" / "user-settings" / "@jupyterlab"
        shutil.rmtree(folder, ignore_errors=True)
        for name, values in SETTINGS.items():
            plugin = folder / f"{name}.jupyterlab-settings"
            plugin.parent.mkdir(parents=True, exist_ok=True)
            plugin.write_text(json.dumps(values), encoding="utf-8")

    def _api(self, method: str, path: str) -> Any:
        request = urllib.request.Request(
            f"{self.url}/api/{path}",
            method=method,
            headers={"Authorization": f"token {self.token}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = answer.read()
        return json.loads(body) if body else None


@contextlib.contextmanager
def lab_server(folder: Path, timeout: float = 120.0) -> Iterator[LabServer]:
    """Run JupyterLab with `folder` for its notebooks, settings and log, until the block ends."""
    root = folder / "notebooks"
    config = folder / "config"
    root.mkdir()
    token = secrets.token_hex(16)
    port = _free_port()
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser"),
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        "--ServerApp.ip=127.0.0.1",
        "--ServerApp.allow_root=True",
        f"--ServerApp.root_dir={root}",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
    }
    log = folder / "jupyterlab.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
        try:
            server = LabServer(f"http://127.0.0.1:{port}", token, root, config)
            _wait_until_up(server, process, log, timeout)
            server.reset()
            yield server
            server.reset()
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _wait_until_up(
    server: LabServer, process: "subprocess.Popen[bytes]", log: Path, timeout: float
) -> None:
    deadline = time.monotonic() + timeout
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            server._api("GET", "status")
            return
        time.sleep(0.2)
    state = "ended" if process.poll() is not None else f"gave no answer in {timeout:.0f} s"
    raise RuntimeError(f"JupyterLab {state}; its log:\n{log.read_text()[-4000:]}")


PANEL = "window.jupyterapp.shell.currentWidget"

READY = f"""() => {{
    const panel = window.jupyterapp && {PANEL};
    return Boolean(panel && panel.context && panel.context.isReady && panel.sessionContext.isReady
        && panel.sessionContext.session?.kernel?.status === 'idle');
}}"""

IDLE = f"""() => !window.hfnbRunning
    && {PANEL}.sessionContext.session?.kernel?.status === 'idle'
    && ![...{PANEL}.node.querySelectorAll('.jp-InputPrompt')].some(p => p.textContent.includes('*'))
"""

RUN_ALL = """() => {
    window.hfnbRunning = true;
    const done = () => { window.hfnbRunning = false; };
    // Not awaited: a run may take longer than the browser may be kept waiting.
    window.jupyterapp.commands.execute('notebook:run-all-cells').then(done, done);
}"""

OUTPUTS = f"""() => [...{PANEL}.content.model.cells]
    .map(cell => cell.type === 'code' ? cell.outputs.toJSON() : [])"""

SELECT_CELL = """index => {
    window.jupyterapp.shell.currentWidget.content.activeCellIndex = index;
}"""
THEME = """name => document.body.dataset.jpThemeName === name"""


@dataclass
class Lab:
    """A browser page on a JupyterLab. Times are in seconds; `problems` has the page's errors."""

    page: Page
    server: LabServer
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("console", self._on_console)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.problems.append(message.text)

    @property
    def notebook(self) -> Locator:
        """The open notebook: look for buttons and texts in it with Playwright's locators."""
        return self.page.locator(".jp-NotebookPanel:visible")

    def open(self, name: str, timeout: float = 90.0) -> None:
        """Open a notebook of `server.root` alone, and wait until its kernel can run something."""
        url = f"{self.server.url}/lab/tree/{name}?reset&token={self.server.token}"
        self.page.goto(url, timeout=timeout * 1000)
        self.page.wait_for_function(READY, timeout=timeout * 1000)
        # The file browser takes a quarter of the page.
        if self.page.locator("#jp-left-stack").is_visible():
            self._execute("application:toggle-left-area")

    def run_all(self, *, wait: bool = True, timeout: float = 120.0) -> None:
        """Run every cell; with `wait=False` it returns while they run."""
        self.page.evaluate(RUN_ALL)
        if wait:
            self.wait_idle(timeout)

    def run_cell(self, index: int, timeout: float = 120.0) -> None:
        """Run one cell, 0 is the first, and wait for it."""
        self.page.evaluate(SELECT_CELL, index)
        self._execute("notebook:run-cell")
        self.wait_idle(timeout)

    def wait_idle(self, timeout: float = 120.0) -> None:
        """Wait until no cell runs or waits, and the kernel has nothing to do."""
        self.page.wait_for_function(IDLE, timeout=timeout * 1000)

    def interrupt(self) -> None:
        """Interrupt the kernel, as the toolbar's stop button does."""
        self._execute("notebook:interrupt-kernel")

    def set_theme(self, name: str, timeout: float = 30.0) -> None:
        """Switch to "JupyterLab Light" or "JupyterLab Dark"."""
        self._execute("apputils:change-theme", {"theme": name})
        self.page.wait_for_function(THEME, arg=name, timeout=timeout * 1000)
        self.page.wait_for_timeout(300)  # colours fade over

    def outputs(self) -> list[list[dict[str, Any]]]:
        """Return the outputs of each cell in nbformat's form, as they would be saved."""
        found: list[list[dict[str, Any]]] = self.page.evaluate(OUTPUTS)
        return found

    def screenshot(self, path: Path, of: Locator | None = None) -> Path:
        """Write a PNG of the page, or of one locator in it."""
        (of or self.page).screenshot(path=path)
        return path

    def _execute(self, command: str, arguments: dict[str, Any] | None = None) -> None:
        self.page.evaluate(
            """([command, args]) =>
                window.jupyterapp.commands.execute(command, args).then(() => null)""",
            [command, arguments or {}],
        )
