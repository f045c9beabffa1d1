"""A real kernel: what its cells answer, offer and show."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager, start_new_kernel

SECONDS = 120


class Kernel:
    """A kernel; `run` returns the reply, and `shown` has the messages that a front end gets."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self.manager = manager
        self.client = client
        self.shown: list[tuple[str, dict[str, Any]]] = []

    def run(self, cell: str, seen: Callable[[str, dict[str, Any]], Any] | None = None) -> Any:
        """Run a cell; ``seen`` is called with each message as it comes."""
        self.shown = []

        def note(message: Any) -> None:
            self.shown.append((message["msg_type"], message["content"]))
            if seen is not None:
                seen(message["msg_type"], message["content"])

        reply = self.client.execute_interactive(cell, output_hook=note, timeout=SECONDS)
        return reply["content"]

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the messages of a kind."""
        return [content for each, content in self.shown if each == kind]

    def complete(self, text: str) -> list[str]:
        """Return what is offered at the end of a text."""
        reply = self.client.complete(text, len(text), reply=True, timeout=SECONDS)
        matches: list[str] = reply["content"]["matches"]
        return matches

    def inspect(self, text: str) -> str:
        """Return the help on what stands at the end of a text."""
        reply = self.client.inspect(text, len(text), reply=True, timeout=SECONDS)
        return str(reply["content"]["data"].get("text/plain", ""))


@contextlib.contextmanager
def kernel() -> Iterator[Kernel]:
    manager, client = start_new_kernel(kernel_name="python3")
    try:
        yield Kernel(manager, client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
