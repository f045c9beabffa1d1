"""What a result, and what repeats a run, need to know of a run, wherever it is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from hfnb.frame.job import Job
from hfnb.frame.progress import Display, Progress
from hfnb.frame.stats import RunStats
from hfnb.frame.store import RowStore


class Running(Protocol):
    """A run over a frame: on this machine a `hfnb.frame.runner.Run`."""

    job: Job
    store: RowStore

    @property
    def began(self) -> float:
        """Seconds since 1970."""

    @property
    def options(self) -> Mapping[str, Any]:
        """How it generates, the checkpoint's own options among them."""

    @property
    def fingerprint(self) -> str:
        """What tells its model from any other."""

    @property
    def engine(self) -> Any:
        """The model, or what stands for it elsewhere; ``None`` where it is gone."""

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""

    @property
    def journaled(self) -> bool:
        """Whether the journal keeps what is finished, so that the same run again goes on."""

    def start(self) -> None:
        """Start it, and return at once."""

    def cancel(self) -> None:
        """Ask it to end soon; what is finished stays."""

    def progress(self) -> Progress:
        """Return how far it is."""

    def wait(self, display: Display, warn: Callable[[str], Any] | None = None) -> None:
        """Wait for its end, drawing meanwhile; raises what made it fail as a whole."""

    def stats(self) -> RunStats:
        """Return what is measured by now."""

    def again(self, job: Job, engine: Any, rows: Sequence[int]) -> Running:
        """Return a run that computes some of the rows anew, and keeps the others."""
