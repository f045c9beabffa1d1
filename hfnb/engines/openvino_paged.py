"""Decoders through OpenVINO GenAI's continuous batching, with paged attention.

OpenVINO GenAI schedules prompts and decoding steps itself; here rows are handed to it as places
become free, and its tokens are handed on as they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import openvino
import openvino_genai

from hfnb.engines.row import Row
from hfnb.engines.scheduler import Tokens
from hfnb.errors import EngineError, RowError

_RUNNING = openvino_genai.GenerationStatus.RUNNING
_IGNORED = openvino_genai.GenerationStatus.IGNORED
_SHARED_TOKENS = 64
"""A shared beginning of at least so many tokens is computed before the other rows begin."""


class PagedBatch:
    """The requests that a pipeline has; see `hfnb.engines.scheduler.Batch`.

    Args:
        pipeline: An ``openvino_genai.ContinuousBatchingPipeline``.
    """

    def __init__(self, pipeline: Any) -> None:
        self._pipeline = pipeline
        self._handles: dict[Row, Any] = {}
        self._ended: list[tuple[Row, RowError | None]] = []
        self._count = 0

    @property
    def rows(self) -> list[Row]:
        """Those that are being computed."""
        return list(self._handles)

    def begin(self) -> None:
        """Do nothing: the pipeline is always ready."""

    def take(self, waiting: list[Row], limit: int) -> list[Row]:
        """Take as many rows as there are places for, the longest first."""
        free = limit - len(self._handles)
        if free <= 0:
            return []
        group = waiting[-free:][::-1]
        del waiting[-free:]
        return group

    def start(self, group: list[Row]) -> Tokens:
        """Hand rows to the pipeline, and compute a step."""
        for row in group:
            ids = openvino.Tensor(np.array([row.prompt_ids], dtype=np.int64))
            config = row.call.settings.config_of(row)
            self._handles[row] = self._pipeline.add_request(self._count, ids, config)
            self._count += 1
        return self.step()

    def step(self) -> Tokens:
        """Compute a step of every row, and return the new tokens."""
        self._pipeline.step()
        tokens: list[tuple[Row, int]] = []
        for row, handle in self._handles.items():
            status = handle.get_status()
            if handle.can_read():
                for output in handle.read().values():
                    tokens += ((row, token) for token in output.generated_ids)
            if status != _RUNNING:
                self._ended.append((row, _why_ignored(row) if status == _IGNORED else None))
        return tokens

    def ended(self) -> Iterable[tuple[Row, RowError | None]]:
        """Return rows that the pipeline has ended."""
        ended, self._ended = self._ended, []
        return ended

    def keep(self, going: Callable[[Row], bool]) -> None:
        """Let all rows go but these; the pipeline drops them at its next step."""
        for row in [row for row in self._handles if not going(row)]:
            handle = self._handles.pop(row)
            if handle.get_status() == _RUNNING:
                handle.cancel()

    def lost(self, rows: Sequence[Row]) -> list[Row]:
        """Let go of all rows after a failed step: it is not known which of them failed."""
        again = list(dict.fromkeys([*self._handles, *rows]))
        self.clear()
        return again

    def clear(self) -> None:
        """Let all rows go, and let the pipeline drop them: it must not be left with any."""
        self.keep(lambda _: False)
        self._ended = []
        while self._pipeline.has_non_finished_requests():
            self._pipeline.step()


def _why_ignored(row: Row) -> EngineError:
    return EngineError(
        f"OpenVINO had no memory for the keys and values of this row ({len(row.prompt_ids):,} "
        f"prompt tokens and up to {row.most_new:,} new ones). Use a smaller max_new_tokens, or "
        "load the model with more memory free."
    )
