"""A run as a picture: how long its rows took, and the memory meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from hfnb.errors import OptionError
from hfnb.frame.picture import Picture, draw_latency, draw_memory, plain
from hfnb.frame.stats import RunStats

_INCHES = (9.0, 3.2)


def plot(stats: RunStats, latencies: Sequence[float]) -> Picture:
    """Draw a run.

    Args:
        stats: What it measured.
        latencies: Seconds of each row that was computed.

    Raises:
        OptionError: No row was computed.
    """
    if not len(latencies):
        raise OptionError(
            "There is nothing to show: no row of this run was computed. See .stats and .rows."
        )
    from matplotlib.figure import Figure

    figure = Figure(figsize=_INCHES, layout="constrained")
    left, right = figure.subplots(1, 2)
    plain(left, "Rows answered within a time")
    [latency] = draw_latency(left, {"": latencies})
    plain(right, "Memory while the rows ran")
    memory = draw_memory(right, {"": stats.memory})
    right.set_xlabel("seconds since the run began", color=left.xaxis.label.get_color())
    title = "Latency and memory of the run"
    return Picture(figure, f"{title}. Rows: {latency}. Memory: {'; '.join(memory)}.", title)
