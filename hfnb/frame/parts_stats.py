"""The figures of a run in parts: of the rows over all parts, of the work over this call."""

from __future__ import annotations

import dataclasses
from typing import Any

from hfnb.frame.combine import Latencies
from hfnb.frame.parts import Parts
from hfnb.frame.stats import RunStats

_COUNTED = "rows ok failed skipped cancelled cut_off tokens_in tokens_out".split()


def of_parts(measured: RunStats, parts: Parts) -> RunStats:
    """Return what this call measured, with the counts and latencies of all parts."""
    known = list(parts.known.values())
    latencies = Latencies()
    for number in parts.known:
        latencies.add(parts.latencies(number))
    counts: dict[str, Any] = {name: sum(getattr(part, name) for part in known) for name in _COUNTED}
    return dataclasses.replace(
        measured,
        **counts,
        latency_p50_s=latencies.percentile(50),
        latency_p95_s=latencies.percentile(95),
        latency_shared=any(part.shared for part in known),
    )
