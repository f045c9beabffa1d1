"""What a run leaves: the data with its outputs, a line a row, the errors, the figures."""

from __future__ import annotations

import functools
from typing import Any

import pandas as pd

from hfnb.errors import RowError
from hfnb.frame import show
from hfnb.frame.stats import RunStats
from hfnb.frame.store import RowStore

_COPIES_ON_WRITE = int(pd.__version__.partition(".")[0]) >= 3


def own_copy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy that no later change of the original reaches, nor the other way round."""
    return frame.copy(deep=not _COPIES_ON_WRITE)


class RunResult:
    """What a run leaves, whole or in part.

    A run that was interrupted leaves one too: the rows that were finished are filled, the others
    have the status ``cancelled``.
    """

    def __init__(
        self,
        frame: pd.DataFrame,
        store: RowStore,
        stats: RunStats,
        *,
        into: str,
        columns: tuple[str, ...],
    ) -> None:
        self._frame = frame
        self._store = store
        self._into = into
        self._columns = columns
        self.stats = stats
        """What was measured: a `RunStats`."""

    @functools.cached_property
    def data(self) -> pd.DataFrame:
        """A new DataFrame: the input's rows, order and index, and the output column."""
        data = own_copy(self._frame)
        outputs: Any = self._store.outputs.array()
        if self._into in data.columns:
            data[self._into] = outputs
            return data
        data.insert(data.shape[1], self._into, outputs)
        return data

    @functools.cached_property
    def rows(self) -> pd.DataFrame:
        """One line a row, under the input's index.

        Columns: ``status`` (ok, error, skipped, cancelled), ``finish_reason`` (eos, stop,
        length), ``error``, ``prompt_tokens``, ``new_tokens``, ``queue_s``, ``latency_s`` (both
        in seconds), ``batch_rows`` (the most rows that were computed together with this one,
        itself included: above 1 the latency is shared), ``source``.
        """
        return own_copy(self._lines)

    @functools.cached_property
    def _lines(self) -> pd.DataFrame:
        return self._store.table(self._frame.index.copy())

    @property
    def errors(self) -> pd.DataFrame:
        """The lines of `rows` that failed, with the input columns beside them.

        An input column with the name of one of the lines' columns gets ``_input`` behind it.
        """
        failed = self._store.where("error")
        lines = self._lines.iloc[failed]
        beside = self._frame.iloc[failed]
        names = [f"{name}_input" if name in lines.columns else name for name in beside.columns]
        beside.columns = pd.Index(names, dtype=object)
        return pd.concat([beside, lines], axis=1)

    def exception(self, position: int) -> RowError | None:
        """Return the error of the row at a position (0 is the first), with its cause."""
        return self._store.errors.get(range(len(self))[position])

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._store.size

    def _view(self) -> show.View:
        return show.View(
            frame=self._frame,
            outputs=self._store.outputs,
            rows=self._lines,
            columns=self._columns,
            into=self._into,
            stats=self.stats,
        )

    def __repr__(self) -> str:
        """Return the first rows with their latency, and the figures, as text."""
        return show.as_text(self._view())

    def _repr_html_(self) -> str:
        return show.as_html(self._view())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}
