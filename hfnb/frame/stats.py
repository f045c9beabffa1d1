"""What a run measured."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from hfnb.frame.progress import duration, number
from hfnb.show import html_figures, size, text_figures

if TYPE_CHECKING:
    from hfnb.engines.base import EngineInfo, Work
    from hfnb.frame.store import RowStore
    from hfnb.measure import MemorySampler

_WORKERS_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class WorkerStats:
    """What one worker of a cluster did in a run."""

    name: str
    """The node and the process, such as ``"10.0.0.7 · 4242"``."""
    device: str
    rows: int
    """Rows that this run gave it, whatever became of them."""
    blocks: int
    """Groups of rows that it was given."""
    tokens_out: int
    busy_s: float
    """From its first row to its last."""
    load_s: float
    """Time that it took to load the model."""
    peak_rss_bytes: int
    """The most memory of its process, as the operating system counts it: with the blocks of Ray's
    object store that it has looked at, which all processes of a node share."""

    @property
    def rows_per_s(self) -> float:
        """Its rows, in a second of `busy_s`."""
        return self.rows / max(self.busy_s, 1e-9)

    def __str__(self) -> str:
        """Return one line: where it ran, rows, rate, memory."""
        blocks = f"{self.blocks:,} {'block' if self.blocks == 1 else 'blocks'}"
        return (
            f"{self.device} · {self.rows:,} rows in {blocks} · {number(self.rows_per_s)} rows/s · "
            f"model loaded in {duration(self.load_s)} · peak {size(self.peak_rss_bytes)} · "
            f"{self.name}"
        )


@dataclasses.dataclass(frozen=True)
class RunStats:
    """What a run measured, and what really ran. Times are in seconds, memory in bytes.

    Latency is a row's own time from the start of its computation to its end. Rows that decode
    together share the machine meanwhile: `latency_shared` says so, and ``batch_rows`` in
    ``result.rows`` says how many there were.
    """

    rows: int
    ok: int
    failed: int
    skipped: int
    cancelled: int
    cut_off: int
    """Rows that are ok, but ended because max_new_tokens was reached."""
    from_journal: int
    """Rows that are ok, and were computed by an earlier run."""
    duplicates: int
    """Rows that are ok, and got the answer of another row with the same prompt."""
    shortened: int
    """Rows whose prompt was too long and was made shorter."""
    tokens_lost: int
    """The tokens that these prompts were shortened by, together."""
    load_s: float
    """Time that loading the model took, whenever that was."""
    wall_s: float
    """Time from the call to the result, without the loading."""
    rows_per_s: float
    """Rows that this run has answered, in a second of `wall_s`: none from the journal."""
    tokens_in: int
    """Prompt tokens of the rows that are ok."""
    tokens_out: int
    """New tokens of the rows that are ok."""
    tokens_per_s: float
    """New tokens that were computed, in a second of `wall_s`."""
    latency_p50_s: float | None
    """Median latency of a row."""
    latency_p95_s: float | None
    """95th percentile of the rows' latencies (numpy's linear interpolation)."""
    latency_shared: bool
    """Whether rows were computed together."""
    padding: float
    """Share of the computed prompt positions that were padding, 0 to 1."""
    shared_tokens: int
    """Prompt tokens that were not computed, since another row had computed them."""
    peak_rss_bytes: int
    """The most memory of this process during the run, as the operating system counts it."""
    run_rss_bytes: int
    """How much of that came on top of what the process had when the run began."""
    peak_device_bytes: int | None
    """The most memory allocated on the accelerator; ``None`` on a CPU."""
    model: str
    task: str
    engine: str
    path: str
    """The way the engine took, where it has several, and why."""
    backend: str
    device: str
    dtype: str
    note: str
    """What was chosen for the model, such as the format of its weights, or where its parts are."""
    batches: int
    batch_rows: int
    """The most rows in one forward pass."""
    forwards: int
    """Forward passes of the model."""
    recomputed_rows: int
    """Rows computed again because a batch failed."""
    memory_backoffs: int
    """Times that a batch was made smaller for want of memory."""
    chat: bool
    """Whether prompts went through the model's chat template."""
    memory: tuple[tuple[float, int], ...] = dataclasses.field(default=(), repr=False)
    """(seconds, resident bytes) over the run."""
    workers: tuple[WorkerStats, ...] = ()
    """On a cluster, what each worker did."""

    @property
    def unique_rows(self) -> int:
        """Rows that are ok and had a prompt of their own."""
        return self.ok - self.duplicates

    @property
    def no_rate(self) -> str:
        """Where every answer is from if none was computed, so that there is no rate; else ``""``.

        Example:
            >>> import hfnb, pandas as pd
            >>> llm = hfnb.EchoEngine(fingerprint="echo")
            >>> df = pd.DataFrame({"x": ["a", "b"]})
            >>> first, second = (hfnb.run(df, "{x}", llm) for _ in range(2))
            >>> second.stats.no_rate
            'from the journal'
        """
        if self.rows_per_s or not self.ok:
            return ""
        return "from the journal" if self.from_journal else "from an earlier run"

    def as_dict(self) -> dict[str, Any]:
        """Return the figures by name."""
        return dataclasses.asdict(self)

    def lines(self) -> list[tuple[str, str]]:
        """Return what a person wants to read: a label and its text each."""
        counts = [f"{self.ok:,} ok"]
        for label, count in (
            ("failed", self.failed),
            ("skipped", self.skipped),
            ("cancelled", self.cancelled),
            ("cut off by max_new_tokens", self.cut_off),
            ("from the journal", self.from_journal),
            ("with the prompt of another row", self.duplicates),
        ):
            if count:
                counts.append(f"{count:,} {label}")
        shown = [
            ("rows", f"{self.rows:,}: {', '.join(counts)}"),
            (
                "time",
                f"{duration(self.wall_s)} · {self._rates()} · model loaded in "
                f"{duration(self.load_s)}",
            ),
        ]
        if self.latency_p50_s is not None and self.latency_p95_s is not None:
            together = self.latency_shared and self.batch_rows > 1
            beside = f" · up to {self.batch_rows:,} rows together" if together else ""
            shown.append(
                (
                    "latency",
                    f"p50 {duration(self.latency_p50_s)} · p95 {duration(self.latency_p95_s)}"
                    f"{beside}",
                )
            )
        memory = f"peak {size(self.peak_rss_bytes)} · {size(self.run_rss_bytes)} of it for this run"
        if self.peak_device_bytes is not None:
            memory += f" · peak on {self.device} {size(self.peak_device_bytes)}"
        shown.append(("memory", memory))
        tokens = f"{self.tokens_in:,} in · {self.tokens_out:,} out · {self.padding:.1%} padding"
        if self.shared_tokens:
            tokens += f" · {self.shared_tokens:,} in shared beginnings"
        if self.shortened:
            tokens += f" · {self.shortened:,} prompts shortened by {self.tokens_lost:,}"
        shown.append(("tokens", tokens))
        how = [self.model, self.backend, self.dtype, self.device, self.path or self.engine]
        if self.task != "text-generation":
            how.insert(1, self.task)
        if self.note and self.note not in self.path:
            how.append(self.note)
        if self.chat:
            how.append("chat template")
        if self.recomputed_rows:
            how.append(f"{self.recomputed_rows:,} rows tried again after a failed batch")
        if self.memory_backoffs:
            how.append(f"batches made smaller {self.memory_backoffs:,} times for want of memory")
        shown.append(("ran", " · ".join(how)))
        for worker in self.workers[:_WORKERS_SHOWN]:
            shown.append(("worker", str(worker)))
        if len(self.workers) > _WORKERS_SHOWN:
            shown.append(("", f"and {len(self.workers) - _WORKERS_SHOWN:,} workers more"))
        return shown

    def _rates(self) -> str:
        if self.no_rate:
            return f"every answer {self.no_rate}"
        return f"{number(self.rows_per_s)} rows/s · {number(self.tokens_per_s)} new tokens/s"

    def __str__(self) -> str:
        """Return the figures as lines of text."""
        return text_figures(self.lines())

    def _repr_html_(self) -> str:
        return html_figures(self.lines(), name="hfnb-stats")


def of_rows(store: RowStore) -> dict[str, Any]:
    """Return the figures that a run's rows tell, by their names in `RunStats`."""
    import numpy as np

    tokens_in, tokens_out = store.tokens()
    shortened, lost = store.shortened()
    latencies = store.latencies()
    p50, p95 = np.percentile(latencies, [50, 95]).tolist() if len(latencies) else (None, None)
    return {
        "rows": store.size,
        "ok": store.count("ok"),
        "failed": store.count("error"),
        "skipped": store.count("skipped"),
        "cancelled": store.count("cancelled"),
        "cut_off": store.cut_off(),
        "from_journal": store.came_from("journal"),
        "duplicates": store.came_from("duplicate"),
        "shortened": shortened,
        "tokens_lost": lost,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
        "latency_p50_s": p50,
        "latency_p95_s": p95,
        "latency_shared": store.shared(),
    }


def stats_of(
    store: RowStore,
    work: Work,
    info: EngineInfo,
    memory: MemorySampler,
    *,
    wall_s: float,
    chat: bool,
) -> RunStats:
    """Return the figures of a run, by what is known of its rows and of the engine's work."""
    wall = max(wall_s, 1e-9)
    answered, tokens_computed = store.computed()
    computed = work.prompt_tokens + work.padding_tokens
    return RunStats(
        **of_rows(store),
        load_s=info.load_s,
        wall_s=wall,
        rows_per_s=answered / wall,
        tokens_per_s=tokens_computed / wall,
        padding=work.padding_tokens / computed if computed else 0.0,
        shared_tokens=work.shared_tokens,
        peak_rss_bytes=memory.peak_bytes,
        run_rss_bytes=max(0, memory.peak_bytes - memory.start_bytes),
        peak_device_bytes=memory.peak_device_bytes if info.device != "cpu" else None,
        model=info.model,
        task=info.task,
        engine=info.engine,
        path=work.path,
        backend=info.backend,
        device=info.device,
        dtype=info.dtype,
        note=info.note,
        batches=work.batches,
        batch_rows=work.batch_rows,
        forwards=work.forwards,
        recomputed_rows=work.recomputed_rows,
        memory_backoffs=work.memory_backoffs,
        chat=chat,
        memory=tuple(memory.samples),
    )
