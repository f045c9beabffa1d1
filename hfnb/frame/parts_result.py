"""What a run in parts leaves: parquet parts on disk, the errors among them, the figures."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from hfnb.errors import OptionError
from hfnb.frame import show
from hfnb.frame.parts import Parts
from hfnb.frame.stats import RunStats
from hfnb.frame.store import RowStore

if TYPE_CHECKING:
    from hfnb.engines.base import Engine
    from hfnb.frame.progress import Progress
    from hfnb.llm import HuggingFacePipeline

_SHOWN = 10
_NO_LINES = RowStore(0).table(pd.RangeIndex(0))


class PartsResult:
    """What a run in parts leaves, whole or in part. The rows stay on disk until they are asked for.

    A run that was interrupted leaves one too. Running the same call again goes on where it
    stopped, and tries rows again that failed.
    """

    def __init__(
        self,
        parts: Parts,
        stats: RunStats,
        *,
        schema: Any,
        outputs: Sequence[str],
        dtypes: Mapping[str, Any],
        columns: Sequence[str],
        complete: bool,
    ) -> None:
        self._parts = parts
        self._numbers = sorted(parts.known)
        self._schema = schema
        self._outputs = list(outputs)
        self._dtypes = dict(dtypes)
        """What output columns are in pandas, where Arrow says less."""
        self._columns = tuple(columns)
        self.stats = stats
        """A `RunStats`. Counts, tokens and latencies are those of all parts, the latencies to
        within 1%; time, rates, memory and the engine's work are those of this call."""
        self.repeat: Callable[[Any, Any], PartsResult] | None = None
        """Makes the call again that this came from; set by `hfnb.run`."""
        self.complete = complete
        """Whether every row of the source is in the parts, and none was cancelled."""

    @property
    def path(self) -> Path:
        """The folder of the parts."""
        return self._parts.folder

    @property
    def files(self) -> list[Path]:
        """The parts, in the order of the source."""
        return [self._parts.data_file(number) for number in self._numbers]

    @property
    def manifest(self) -> dict[str, Any]:
        """Everything that is needed to repeat the run, and its source; also in the folder."""
        return dict(self._parts.manifest)

    @property
    def data(self) -> Any:
        """The input's rows and columns and the output columns: a ``pyarrow.dataset.Dataset``.

        Nothing is loaded yet: ``data.head(10)``, ``data.to_batches()`` and
        ``data.to_table(filter=...)`` read what is asked for.
        """
        return _dataset(self.files, self._schema)

    @property
    def rows(self) -> Any:
        """One line a row in the same order, as `RunResult.rows` has them: a dataset too."""
        import pyarrow as pa

        files = [self._parts.lines_file(number) for number in self._numbers]
        return _dataset(files, pa.Schema.from_pandas(_NO_LINES, preserve_index=False))

    def to_pandas(self) -> pd.DataFrame:
        """Return `data` as a DataFrame, which takes memory for all rows."""
        frame: pd.DataFrame = self.data.to_table().to_pandas()
        return frame.astype(self._dtypes)

    @property
    def errors(self) -> pd.DataFrame:
        """The lines of `rows` that failed, with the input columns beside them.

        The index is the row's position in the source. An input column with the name of one of the
        lines' columns gets ``_input`` behind it.
        """
        found = [
            self._failed(number) for number in self._numbers if self._parts.known[number].failed
        ]
        if not found:
            inputs = self._schema.empty_table().drop_columns(self._outputs).to_pandas()
            return _beside(inputs, _NO_LINES)
        return pd.concat(found)

    def _failed(self, number: int) -> pd.DataFrame:
        lines = self._parts.lines(number).to_pandas()
        at = (lines["status"] == "error").to_numpy().nonzero()[0]
        inputs = self._parts.data(number).drop_columns(self._outputs).take(at).to_pandas()
        failed = _beside(inputs, lines.iloc[at])
        before = sum(self._parts.known[each].rows for each in self._numbers if each < number)
        failed.index = pd.Index(at + before)
        return failed

    def retry(
        self,
        *,
        llm: HuggingFacePipeline | Engine | str | None = None,
        progress: bool | Literal["auto"] | Callable[[Progress], Any] = "auto",
    ) -> PartsResult:
        """Run the rows again that failed or were not reached, in their parts; keep the others.

        It is the same call of `hfnb.run` again. Options stay as they are, since the parts of a
        folder are made with the same ones.

        Args:
            llm: The model, where it is not in memory any more. It must be the run's own.
            progress: As in `hfnb.run`.

        Returns:
            A new result over the same folder.

        Raises:
            OptionError: The rows came from an iterator, the source has changed, or it is another
                model.
            ModelError: The run's model is gone; give it as ``llm``.

        Example:
            >>> import hfnb, pandas as pd
            >>> llm = hfnb.load("hfnb/numbers-fr")
            >>> df = pd.DataFrame({"i": [7, 72]})
            >>> result = hfnb.run(df, "What is {i} in french?", llm, out="numbers")
            >>> len(result.retry())
            2
        """
        if self.repeat is None:
            raise OptionError(
                "This result does not know its call. Call hfnb.run again with the same out."
            )
        return self.repeat(llm, progress)

    def __len__(self) -> int:
        """Return the number of rows in the parts."""
        return sum(self._parts.known[number].rows for number in self._numbers)

    def _view(self) -> show.View:
        first = self._numbers[:1]
        data = [self._parts.data(number).slice(0, _SHOWN) for number in first]
        lines = [self._parts.lines(number).slice(0, _SHOWN) for number in first]
        head = data[0] if data else self._schema.empty_table()
        outputs = {name: dict(enumerate(head.column(name).to_pylist())) for name in self._outputs}
        head = head.drop_columns([each for each in outputs if each not in self._columns])
        return show.View(
            frame=head.to_pandas().reset_index(drop=True),
            outputs=outputs,
            rows=lines[0].to_pandas() if lines else _NO_LINES,
            columns=self._columns,
            stats=self.stats,
        )

    def _where(self) -> str:
        count = len(self._numbers)
        state = "" if self.complete else ", not complete: run the same call again to go on"
        return f"{count:,} {'part' if count == 1 else 'parts'} in {str(self.path)!r}{state}"

    def __repr__(self) -> str:
        """Return the first rows with their latency, where the parts are, and the figures."""
        return f"{show.as_text(self._view())}\nparts    {self._where()}"

    def _repr_html_(self) -> str:
        return f"{show.as_html(self._view())}<p>{html.escape(self._where())}</p>"

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}


def _dataset(files: Sequence[Path], schema: Any) -> Any:
    """Return a dataset of files that are alike; without any, one that has the schema."""
    import pyarrow.dataset as ds

    if not files:
        return ds.dataset(schema.empty_table())
    return ds.dataset([str(file) for file in files])


def _beside(inputs: pd.DataFrame, lines: pd.DataFrame) -> pd.DataFrame:
    names = [f"{name}_input" if name in lines.columns else name for name in inputs.columns]
    inputs = inputs.reset_index(drop=True)
    inputs.columns = pd.Index(names, dtype=object)
    return pd.concat([inputs, lines.reset_index(drop=True)], axis=1)
