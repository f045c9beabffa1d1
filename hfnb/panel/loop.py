"""One thread takes the events in turn: it alone changes the state and touches the widgets.

Callbacks of widgets and workers only post. JupyterLab may run a callback in another thread while a
cell runs, or only after it; either is fine then, and a run's progress is drawn while cells run.
"""

from __future__ import annotations

import contextvars
import queue
import threading
from collections.abc import Callable

from hfnb.panel.events import Event

TICK_S = 0.25
"""Seconds between two looks at a run that is under way."""


class Loop:
    """Takes events in turn, in a thread of its own.

    Args:
        step: Takes the events that have come together; none of them means that time has passed.
        busy: Whether time matters, so that `step` is called without an event, too.
    """

    def __init__(self, step: Callable[[list[Event]], None], busy: Callable[[], bool]) -> None:
        self._step = step
        self._busy = busy
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._resting = threading.Event()
        # With the context of the cell that made the panel, what is printed goes below that cell.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(
            target=run, args=(self._run,), name="hfnb-panel", daemon=True
        )

    def start(self) -> None:
        """Start taking events."""
        self._thread.start()

    def post(self, event: Event) -> None:
        """Add an event. Any thread may; it returns at once."""
        self._resting.clear()
        self._events.put(event)

    def close(self) -> None:
        """Take no more events."""
        self._events.put(None)

    def rest(self, timeout_s: float) -> bool:
        """Wait until all events are taken; return whether they are."""
        return self._resting.wait(timeout_s)

    def _run(self) -> None:
        while True:
            if self._events.empty():
                self._resting.set()
            try:
                first = self._events.get(timeout=TICK_S if self._busy() else None)
                events = [first, *self._waiting()]
            except queue.Empty:
                events = []
            self._step([each for each in events if each is not None])
            if None in events:
                return

    def _waiting(self) -> list[Event | None]:
        """Return the events that have come meanwhile, so that they are drawn at once."""
        waiting: list[Event | None] = []
        while not self._events.empty():
            waiting.append(self._events.get())
        return waiting
