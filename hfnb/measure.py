"""Measure a run: the memory of the process and of the device while it lasts."""

from __future__ import annotations

import re
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

_MOST_SAMPLES = 2000


class MemorySampler:
    """Samples this process's resident memory in a thread, and asks the device for its peak.

    The resident set size (RSS) is what the operating system counts as the process's memory in
    RAM; psutil reads it. On Linux the kernel keeps its highest value too, so a peak that is the
    process's highest so far is exact; another one, shorter than ``interval_s``, can be missed.
    Accelerators count their own peak, through ``torch.accelerator``; torch is not imported for it.

    Args:
        interval_s: Seconds between samples. Doubles as a long run fills `samples`.

    Example:
        >>> with MemorySampler() as memory:
        ...     block = bytearray(50_000_000)
        ...     _ = memory.sample()
        >>> memory.peak_bytes - memory.start_bytes >= 50_000_000
        True
    """

    def __init__(self, interval_s: float = 0.02) -> None:
        self.interval_s = interval_s
        self.start_bytes = 0
        """Resident bytes when the sampling began."""
        self.peak_bytes = 0
        """The most resident bytes seen."""
        self.peak_device_bytes: int | None = None
        """The most bytes allocated on the accelerator; ``None`` where torch uses none."""
        self.samples: list[tuple[float, int]] = []
        """(seconds since the start, resident bytes), at most 2,000 of them."""
        self._process = psutil.Process()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._began = 0.0
        self._highest: int | None = None

    def __enter__(self) -> MemorySampler:
        self._began = time.perf_counter()
        self._highest = _highest_rss()
        self.start_bytes = self.sample()
        accelerator = _accelerator()
        if accelerator is not None:
            accelerator.reset_peak_memory_stats()
        self._thread = threading.Thread(target=self._watch, name="hfnb-memory", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.sample()
        highest = _highest_rss()
        if highest is not None and self._highest is not None and highest > self._highest:
            self.peak_bytes = max(self.peak_bytes, highest)  # it was reached meanwhile
        accelerator = _accelerator()
        if accelerator is not None:
            self.peak_device_bytes = int(accelerator.max_memory_allocated())

    def sample(self) -> int:
        """Take one sample now; return the resident bytes."""
        now = int(self._process.memory_info().rss)
        self.peak_bytes = max(self.peak_bytes, now)
        self.samples.append((time.perf_counter() - self._began, now))
        if len(self.samples) > _MOST_SAMPLES:
            self.samples = self.samples[::2]
            self.interval_s *= 2
        return now

    def _watch(self) -> None:
        while not self._stop.wait(self.interval_s):
            self.sample()


def device_memory() -> int | None:
    """Return the bytes that are allocated on the accelerator now; ``None`` where none is used."""
    accelerator = _accelerator()
    return None if accelerator is None else int(accelerator.memory_allocated())


def _highest_rss() -> int | None:
    """Return the most resident bytes since the process began; ``None`` where nobody counts."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _accelerator() -> Any | None:
    """Return ``torch.accelerator`` when torch is loaded and an accelerator is in use."""
    torch = sys.modules.get("torch")
    accelerator = getattr(torch, "accelerator", None)
    if accelerator is None or not accelerator.is_available():
        return None
    return accelerator if hasattr(accelerator, "max_memory_allocated") else None
