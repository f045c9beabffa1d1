"""Notebooks executed by a Jupyter server, as its page would: over HTTP and a kernel's WebSocket."""

from __future__ import annotations

import contextlib
import json
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import websocket


class CellFailedError(Exception):
    """A cell ended with an error, or its kernel died."""


@dataclass(frozen=True)
class Server:
    """A running Jupyter server; `url` is without a slash at its end."""

    url: str
    token: str

    def get(self, path: str) -> bytes:
        """Return what the server answers at a path."""
        with urllib.request.urlopen(self._request("GET", path), timeout=60) as answer:
            return bytes(answer.read())

    def execute(self, path: str, folder: Path, timeout: float) -> None:
        """Run a notebook's cells in a new kernel, one after the other, and end the kernel.

        Raises:
            CellFailedError: Which cell, and what it said.
        """
        notebook = nbformat.read(folder / path, as_version=4)
        wanted = {"name": path, "path": path, "type": "notebook", "kernel": {"name": "python3"}}
        session = self._api("POST", "sessions", wanted)
        kernel = session["kernel"]["id"]
        url = f"{self.url.replace('http', 'ws', 1)}/api/kernels/{kernel}/channels"
        channel = websocket.create_connection(f"{url}?token={self.token}", timeout=5)
        try:
            deadline = time.monotonic() + timeout
            for number, cell in enumerate(notebook.cells):
                if cell.cell_type == "code":
                    _run(channel, cell.source, f"{path}, cell {number}", deadline)
        finally:
            channel.close()
            # A kernel that died is started again by the server, and can't be ended meanwhile.
            with contextlib.suppress(urllib.error.HTTPError):
                self._api("DELETE", f"sessions/{session['id']}")

    def _api(self, method: str, path: str, body: object = None) -> Any:
        request = self._request(method, f"/api/{path}", body)
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def _request(self, method: str, path: str, body: object = None) -> urllib.request.Request:
        return urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"token {self.token}"},
        )


def _run(channel: websocket.WebSocket, source: str, where: str, deadline: float) -> None:
    sent = uuid.uuid4().hex
    header = {"msg_id": sent, "msg_type": "execute_request", "session": sent, "version": "5.3"}
    message = {
        "channel": "shell",
        "header": {**header, "username": "", "date": ""},
        "parent_header": {},
        "metadata": {},
        "content": {"code": source, "silent": False, "stop_on_error": True, "allow_stdin": False},
    }
    channel.send(json.dumps(message))
    waiting = {"execute_reply", "idle"}
    while waiting:
        if time.monotonic() > deadline:
            raise CellFailedError(f"{where}: not finished in time")
        try:
            got = json.loads(channel.recv())
        except websocket.WebSocketTimeoutException:
            continue
        content = got["content"]
        if content.get("execution_state") in ("restarting", "dead"):
            raise CellFailedError(f"{where}: the kernel died")
        if got["parent_header"].get("msg_id") != sent:
            continue
        if got["msg_type"] == "error":
            text = "\n".join(content["traceback"])
            raise CellFailedError(f"{where}: {content['ename']}: {content['evalue']}\n{text}")
        waiting -= {got["msg_type"], content.get("execution_state")}


def wait_until_up(server: Server, ended: Any, timeout: float) -> None:
    """Wait for a server's first answer; `ended()` says whether its process is gone."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and not ended():
        try:
            server.get("/api/status")
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise RuntimeError("JupyterLab ended" if ended() else f"no answer in {timeout:.0f} s")
