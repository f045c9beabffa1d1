"""What a run leaves: the data with its outputs, a line a row, the errors, the figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from hfnb.engines.base import Chat
from hfnb.errors import RowError
from hfnb.frame import show
from hfnb.frame.columns import names_of, pandas_columns, shown_columns, table_columns
from hfnb.frame.manifest import manifest_of
from hfnb.frame.progress import Display, Progress, Silent
from hfnb.frame.runner import Run
from hfnb.frame.stats import RunStats
from hfnb.frame.tables import with_output

if TYPE_CHECKING:
    from hfnb.engines.base import Engine
    from hfnb.frame.parts_result import PartsResult
    from hfnb.frame.picture import Picture
    from hfnb.llm import HuggingFacePipeline

_COPIES_ON_WRITE = int(pd.__version__.partition(".")[0]) >= 3
_last: RunResult | PartsResult | None = None


def last_result() -> RunResult | PartsResult | None:
    """Return what the last run left, also after an interrupt; ``None`` before the first run.

    While a run goes on it is that run's, as far as it has come.

    Example:
        >>> import hfnb
        >>> partial = hfnb.last_result()
    """
    return _last


def own_copy(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a copy that no later change of the original reaches, nor the other way round."""
    return frame.copy(deep=not _COPIES_ON_WRITE)


class RunResult:
    """What a run leaves, whole or in part.

    A run that was interrupted leaves one too: the rows that were finished are filled, the others
    have the status ``cancelled``. One that goes on (``wait=False``) shows what there is by now.
    """

    def __init__(
        self, run: Run, model: str | None = None, history: tuple[dict[str, Any], ...] = ()
    ) -> None:
        self._run = run
        self._model = model
        """What to load to run rows again, where the run itself loaded it."""
        self._history = history
        """What was run again, and how."""
        self._made: dict[str, Any] = {}

    @property
    def data(self) -> Any:
        """A new table of the kind that was given: the input's rows in their order, and the output.

        A pandas frame keeps its index, and its ``attrs["hfnb"]`` is the `manifest`.
        """
        return self._kept("data", self._data)

    @property
    def rows(self) -> pd.DataFrame:
        """One line a row, under the input's index.

        Columns: ``status`` (ok, error, skipped, cancelled), ``finish_reason`` (eos, stop,
        length), ``error``, ``prompt_tokens``, ``new_tokens``, ``queue_s``, ``latency_s`` (both
        in seconds), ``batch_rows`` (the most rows that were computed together with this one,
        itself included: above 1 the latency is shared), ``truncated_tokens`` (what a prompt that
        was too long was shortened by), ``source`` (generated, journal, duplicate).
        """
        rows: pd.DataFrame = self._kept("rows", lambda: own_copy(self._lines))
        return rows

    @property
    def errors(self) -> pd.DataFrame:
        """The lines of `rows` that failed, with the input columns beside them.

        An input column with the name of one of the lines' columns gets ``_input`` behind it.
        """
        failed = self._run.store.where("error")
        lines = self._lines.iloc[failed]
        beside = self._run.job.frame.iloc[failed]
        names = [f"{name}_input" if name in lines.columns else name for name in beside.columns]
        beside.columns = pd.Index(names, dtype=object)
        return pd.concat([beside, lines], axis=1)

    @property
    def stats(self) -> RunStats:
        """What was measured: a `RunStats`."""
        stats: RunStats = self._kept("stats", self._run.stats)
        return stats

    @property
    def manifest(self) -> dict[str, Any]:
        """Everything that is needed to repeat the run: model, prompt, options, versions, machine.

        It holds what JSON has, and no data of the frame; `manifest_json` writes it down.
        """
        manifest: dict[str, Any] = self._kept(
            "manifest", lambda: manifest_of(self._run, self.stats, self._history)
        )
        return manifest

    def manifest_json(self) -> str:
        """Return the `manifest` as JSON."""
        return json.dumps(self.manifest, indent=2)

    def plot(self) -> Picture:
        """Return latency and memory as a picture, which a notebook shows, and which can be saved.

        Returns:
            A `Picture` with ``alt``, the picture in words, and ``save("file.svg")`` or ``.png``.

        Raises:
            OptionError: No row was computed, so that there is nothing to show.

        Example:
            >>> import hfnb, pandas as pd
            >>> result = hfnb.run(pd.DataFrame({"x": ["a", "b"]}), "{x}", hfnb.EchoEngine())
            >>> result.plot().title
            'Latency and memory of the run'
        """
        from hfnb.frame.plot import plot

        return plot(self.stats, self._run.store.latencies().tolist())

    def exception(self, position: int) -> RowError | None:
        """Return the error of the row at a position (0 is the first), with its cause."""
        return self._run.store.errors.get(range(len(self))[position])

    def retry(
        self,
        which: Literal["failed", "truncated"] | Sequence[int] = "failed",
        *,
        llm: HuggingFacePipeline | Engine | str | None = None,
        progress: bool | Literal["auto"] | Callable[[Progress], Any] = "auto",
        wait: bool = True,
        **options: Any,
    ) -> RunResult:
        """Run some rows again, and keep the others as they are.

        Args:
            which: ``"failed"``: the rows that failed, and those that were not reached (cancelled).
                ``"truncated"``: the rows that ``max_new_tokens`` cut off. Or the positions of rows.
            llm: Another model; by default the run's own.
            progress: As in `hfnb.run`.
            wait: As in `hfnb.run`.
            **options: Generation options that win over the run's, such as ``max_new_tokens``.

        Returns:
            A new result, with all rows. This one stays as it is.

        Raises:
            OptionError: An option's name or value is wrong, or the run has not ended yet.
            ModelError: The run's model is gone; give it as ``llm``.

        Example:
            >>> import hfnb, pandas as pd
            >>> llm = hfnb.load("hfnb/numbers-fr")
            >>> df = pd.DataFrame({"i": [7, 99]})
            >>> result = hfnb.run(df, "What is {i} in french?", llm, max_new_tokens=2)
            >>> longer = result.retry("truncated", max_new_tokens=64)
        """
        from hfnb.frame.retry import retry

        return retry(self, which, llm=llm, progress=progress, wait=wait, options=options)

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the prompt reads."""
        return self._run.job.source.columns

    @property
    def into(self) -> str:
        """The name of the output column."""
        return self._run.job.into

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of the output columns: ``into``, or a schema's fields."""
        return names_of(self._run.job)

    def positions(self, status: str) -> list[int]:
        """Return the positions of the rows with a status: ok, error, skipped or cancelled."""
        return [int(at) for at in self._run.store.where(status)]

    def lines(self, positions: Sequence[int]) -> list[show.Line]:
        """Return the rows at some positions as a person reads them, also while the run goes on.

        Each has ``label``, ``inputs``, ``text``, ``reason``, ``latency`` and ``status``, all text.
        It takes as long for ten rows of a million as for ten rows of ten.
        """
        job, store, at = self._run.job, self._run.store, list(positions)
        frame = job.frame.iloc[at]
        rows = store.table(frame.index, at)
        outputs = {
            name: dict(enumerate(values.values()))
            for name, values in shown_columns(job, store, at).items()
        }
        return show.lines_of(frame, job.source.columns, outputs, rows, range(len(at)))

    def prompt(self, position: int) -> str:
        """Return the prompt of the row at a position, before the chat template.

        Messages are returned as text, a line for each; of a row without a prompt, why it has none.
        """
        job = self._run.job
        at = range(len(self))[position]
        rendered = next(job.source.rows(job.frame.iloc[[at]], "empty"))
        if isinstance(rendered, str):
            return rendered
        if isinstance(rendered, Chat):
            return "\n".join(f"{each.role}: {each.content}" for each in rendered.messages)
        return str(rendered)

    @property
    def running(self) -> bool:
        """Whether the run goes on."""
        return self._run.running

    @property
    def journaled(self) -> bool:
        """Whether finished rows are kept in the journal, so that the same call goes on."""
        return self._run.journaled

    def progress(self) -> Progress:
        """Return how far the run is."""
        return self._run.progress()

    def cancel(self) -> None:
        """End the run within one decoding step; what is finished stays."""
        self._run.cancel()

    def wait(self, warn: Callable[[str], Any] | None = None) -> RunResult:
        """Wait for the end of a run that was started with ``wait=False``, and return the result.

        Args:
            warn: Called with what is wrong with the journal; by default that is a `JournalWarning`.

        Raises:
            Exception: What made the run fail as a whole. An interrupt ends the run, too.
        """
        _wait(self, Silent(), warn)
        return self

    def __len__(self) -> int:
        """Return the number of rows."""
        return self._run.store.size

    # -- inside -----------------------------------------------------------------------------------

    def _kept(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what `make` makes, made once when the run has ended."""
        if self._run.running:
            return make()
        if name not in self._made:
            self._made[name] = make()
        return self._made[name]

    @property
    def _lines(self) -> pd.DataFrame:
        job, store = self._run.job, self._run.store
        lines: pd.DataFrame = self._kept("lines", lambda: store.table(job.frame.index.copy()))
        return lines

    def _data(self) -> Any:
        job = self._run.job
        store = self._run.store
        if job.given is not None:
            data = job.given
            for name, values in table_columns(job, store).items():
                data = with_output(data, name, values)
            return data
        data = own_copy(job.frame)
        for name, values in pandas_columns(job, store).items():
            if name in data.columns:
                data[name] = values
            else:
                data.insert(data.shape[1], name, values)
        data.attrs["hfnb"] = self.manifest
        return data

    def _view(self) -> show.View:
        job, rows = self._run.job, self._lines
        return show.View(
            frame=job.frame,
            outputs=shown_columns(job, self._run.store, show.shown_rows(rows)),
            rows=rows,
            columns=job.source.columns,
            stats=self.stats,
        )

    def __repr__(self) -> str:
        """Return the first rows with their latency, and the figures, as text."""
        return show.as_text(self._view())

    def _repr_html_(self) -> str:
        return show.as_html(self._view())

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


def follow(result: RunResult, display: Display, *, wait: bool = True) -> RunResult:
    """Keep a run's result as the last one, start the run, and wait for its end.

    Raises:
        KeyboardInterrupt: As it came, with the partial result as its ``result``.
        Exception: What made the run fail as a whole, likewise.
    """
    global _last
    _last = result
    if wait:
        _wait(result, display)
    else:
        result._run.start()
    return result


def follow_parts(run: Callable[..., PartsResult], display: Display) -> PartsResult:
    """Run in parts, and keep the result as the last one, also that of an interrupt."""
    global _last
    try:
        result = run(display=display)
    except BaseException as problem:
        _last = getattr(problem, "result", _last)
        raise
    _last = result
    return result


def _wait(result: RunResult, display: Display, warn: Callable[[str], Any] | None = None) -> None:
    try:
        result._run.wait(display, warn)
    except BaseException as problem:
        problem.result = result  # type: ignore[attr-defined]
        raise
