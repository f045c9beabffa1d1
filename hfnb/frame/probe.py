"""Run some rows of a frame, to see what comes out and to measure what it takes."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Sequence

from hfnb.engines.base import Engine
from hfnb.frame.forecast import Wave, is_full
from hfnb.frame.job import Job
from hfnb.frame.progress import Display, Progress
from hfnb.frame.result import RunResult
from hfnb.frame.runner import Run
from hfnb.frame.sample import Sampled

_GROWTH = 4
"""How many times as many rows as the last one a wave has."""
_MOST = 1_024
"""Rows in all waves together, at most."""
_SHARE = 0.5
"""The most of the rows at hand: a preview of a small frame is not to be its run."""
_CLEAR = 0.1
"""The share of the budget that a full wave must take for its time to be clear."""


class Probe:
    """Runs rows in waves, each larger than the last, and keeps what was measured.

    Args:
        job: What a run would do.
        engine: The model.
        display: Where its progress is shown.
    """

    def __init__(self, job: Job, engine: Engine, display: Display) -> None:
        self.waves: list[Wave] = []
        self.new_tokens: list[int] = []
        """Of each row that was answered, but for those that were faster than a wave cut short."""
        self.computed = 0
        """Rows that were answered now."""
        self.cut_off = 0
        """Rows among those of `new_tokens` that max_new_tokens has ended."""
        self.text_bytes = 0.0
        """The mean of the shown outputs."""
        self._job = job
        self._engine = engine
        self._display = _Open(display)

    def run(self, positions: Sequence[int], limit_s: float | None = None) -> RunResult:
        """Run rows by their positions; after ``limit_s`` seconds with those that are finished."""
        frame = self._job.frame.iloc[list(positions)]
        run = Run(dataclasses.replace(self._job, frame=frame), self._engine)
        alarm = None if limit_s is None else threading.Timer(limit_s, run.cancel)
        try:
            if alarm is not None:
                alarm.daemon = True
                alarm.start()
            run.wait(self._display)
        finally:
            if alarm is not None:
                alarm.cancel()
        result = RunResult(run)
        self._note(result, run)
        return result

    def fill(self, rows: Sequence[Sampled], budget_s: float) -> None:
        """Run rows in growing waves, until there are more than fit at once or time is up.

        Args:
            rows: Those to choose from; each wave has some of all lengths.
            budget_s: Seconds for it.
        """
        pool = sorted(rows, key=lambda row: row.tokens)
        left = min(_MOST, int(len(pool) * _SHARE))
        size = max(1, self.waves[-1].rows if self.waves else len(self.new_tokens))
        until = time.perf_counter() + budget_s
        while left > 0 and (seconds := until - time.perf_counter()) > budget_s / 5:
            last = self.waves[-1] if self.waves else None
            if last is not None and not _go_on(last, budget_s):
                return
            size = min(size * _GROWTH, left)
            chosen = spread(len(pool), size)
            self.run([pool[i].at for i in chosen], seconds)
            taken = set(chosen)
            pool = [row for i, row in enumerate(pool) if i not in taken]
            left -= size

    def close(self) -> None:
        """End the display."""
        self._display.end()

    def _note(self, result: RunResult, run: Run) -> None:
        rows, stats, work = result.rows, result.stats, run.work
        ok = rows["status"] == "ok"
        generated = ok & (rows["source"] == "generated")
        here, given = int(generated.sum()), int(rows.loc[generated, "prompt_tokens"].sum())
        self.computed += here
        whole = not stats.cancelled
        if whole:
            # What a schema makes an error of half an answer took its time all the same.
            ended = ok | (rows["finish_reason"] == "length")
            answered = rows[ended & (rows["source"] != "duplicate")]
            self.new_tokens += [int(each) for each in answered["new_tokens"].fillna(0)]
            self.cut_off += int((answered["finish_reason"] == "length").sum())
            texts = [str(run.store.outputs[int(at)]) for at in ok.to_numpy().nonzero()[0]]
            size = sum(len(each.encode("utf-8", "replace")) for each in texts)
            self.text_bytes = size / max(1, len(texts))
        together = max(1, work.batch_rows)
        began = len(rows) - stats.skipped - stats.from_journal - stats.duplicates
        if not whole:  # the others were waiting
            began = min(began, here + together)
        if not (here if whole else work.forwards):
            return
        self.waves.append(
            Wave(
                rows=began,
                seconds=stats.wall_s,
                given_tokens=given if whole else work.prompt_tokens,
                prompt_tokens=work.prompt_tokens,
                padding_tokens=work.padding_tokens,
                new_tokens=work.new_tokens,
                longest=int(rows["new_tokens"].max()) if here else 0,
                forwards=work.forwards,
                together=together,
                memory_bytes=stats.peak_rss_bytes,
                device_bytes=stats.peak_device_bytes,
                whole=whole,
            )
        )


def spread(size: int, count: int) -> list[int]:
    """Return so many numbers below ``size``, evenly spread over all of them.

    Example:
        >>> spread(10, 3), spread(2, 5)
        ([1, 5, 8], [0, 1])
    """
    count = min(size, count)
    return [int((i + 0.5) * size / count) for i in range(count)]


def _go_on(last: Wave, budget_s: float) -> bool:
    """Whether a larger wave is affordable, and would say more than the last one."""
    if not last.whole or last.seconds > budget_s:
        return False
    return not is_full(last) or last.seconds < _CLEAR * budget_s


class _Open:
    """A display that several runs share: it ends with the last of them."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._ended: list[Progress] = []

    def update(self, progress: Progress) -> None:
        """Show how far a run is."""
        self._display.update(progress)

    def close(self, progress: Progress) -> None:
        """Keep how a run ended."""
        self._ended.append(progress)

    def end(self) -> None:
        """Show what they did together."""
        if self._ended:
            done, _, failed, elapsed_s, reused, answered = map(sum, zip(*self._ended, strict=True))
            self._display.close(Progress(done, done, failed, elapsed_s, reused, answered))
