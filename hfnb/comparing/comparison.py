"""What a comparison leaves: the answers side by side, the figures, and how alike they are."""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from hfnb.comparing import documents, pictures
from hfnb.comparing.answers import Answers, Quality
from hfnb.comparing.candidates import Candidate
from hfnb.comparing.differences import Differences, differing
from hfnb.comparing.measuring import Measured
from hfnb.comparing.process import Failed
from hfnb.frame.structure import Structure
from hfnb.frame.tables import with_output
from hfnb.show import html_table, text_table

Outcome = Measured | Failed
_FIGURES = (
    *("load_s", "export_s", "ttft_s", "wall_s", "rows_per_s", "tokens_per_s", "latency_p50_s"),
    *("latency_p95_s", "peak_rss_bytes", "peak_device_bytes", "disk_bytes"),
)
_SPREAD = ("rows_per_s", "latency_p50_s", "peak_rss_bytes")
"""The figures whose least and greatest values are told too."""


@dataclasses.dataclass(frozen=True)
class Given:
    """What was compared on."""

    table: Any
    """The rows as the user gave them: a pandas frame, or another kind of table."""
    frame: pd.DataFrame
    """The same rows, for pandas."""
    columns: tuple[str, ...]
    """The columns that the prompts read."""
    right: Mapping[str, str]
    """The columns of right answers, by field; of answers that are text, by ""."""
    manifest: Mapping[str, Any]
    """What was asked for."""
    structure: Structure | None = None
    """What answers are held to, and the columns that they become."""


class Comparison:
    """What `hfnb.compare` leaves, whole or in part.

    A candidate that failed is a line of `stats` with its reason; the others are whole.
    """

    def __init__(
        self, given: Given, candidates: Sequence[Candidate], rounds: Sequence[Mapping[str, Outcome]]
    ) -> None:
        self._given = given
        self._labels = [each.label for each in candidates]
        self._rounds = [dict(each) for each in rounds]
        texts = {
            label: next((e.outputs for e in self._outcomes(label) if isinstance(e, Measured)), None)
            for label in self._labels
        }
        told = {label: each for label, each in texts.items() if each is not None}
        self._answers = Answers(told, given.frame, given.right, given.structure)

    @property
    def data(self) -> Any:
        """The input's columns, and a column of answers for each candidate, named by its label.

        With a schema of fields there is one for each field, such as ``"openvino int8.tone"``.
        """
        table = self._given.table
        columns = self._given.frame.columns
        is_pandas = isinstance(table, pd.DataFrame)
        for label in self._answers.texts:
            for told, values in self._answers.columns(label, arrow=not is_pandas).items():
                name = told if told not in columns else f"{told} (answer)"
                if is_pandas:
                    table = table.assign(**{name: values})
                else:
                    table = with_output(table, name, values)
        return table

    @property
    def stats(self) -> pd.DataFrame:
        """One line a candidate, under its label: medians over the rounds, times in seconds.

        Columns: ``status`` (ok, failed, cancelled), ``reason`` (why it is not ok; of one that is,
        why the first of its failed rows is not), ``rounds``, ``ok`` and ``failed`` (rows),
        ``load_s`` (what `hfnb.load` takes in a new notebook, with the import of PyTorch or
        OpenVINO), ``export_s`` (an export that was made for it, the most of the rounds; not part of
        ``load_s``), ``ttft_s`` (time to the first token of a prompt alone), ``wall_s``,
        ``rows_per_s``, ``tokens_per_s``, ``latency_p50_s``, ``latency_p95_s`` (of the rows, after
        some others have warmed the model), ``peak_rss_bytes`` and ``peak_device_bytes`` of the
        candidate's own process, ``disk_bytes`` of its files; ``..._low`` and ``..._high`` for the
        spread of some; and what ran: ``model``, ``backend``, ``device``, ``dtype``, ``note``.
        """
        lines = [self._line(label) for label in self._labels]
        return pd.DataFrame(lines, index=pd.Index(self._labels, name="candidate"))

    @property
    def agreement(self) -> pd.DataFrame:
        """How alike the answers are: to the reference, where one was named, and to each other.

        One line a pair, with ``exact_match``, ``edit_similarity`` (Levenshtein, by characters) and
        ``token_f1`` (words shared), each the mean over the ``rows`` that both have answered, with
        the ends of its 95% bootstrap interval as ``..._low`` and ``..._high``.

        With a schema there is a line for each ``field``, and before them one for the whole answer,
        whose ``field`` is empty, where there are several. ``exact_match`` is then that of values,
        ``token_f1`` of a list that of its items, and numbers have a ``mean_difference``.
        """
        return self._agreement.copy()

    def differences(self) -> Differences:
        """Return the rows in which candidates disagree, the words marked that differ.

        Example:
            >>> import hfnb, pandas as pd
            >>> df = pd.DataFrame({"i": [7, 72]})
            >>> same = ["hfnb/numbers-fr", {"model": "hfnb/numbers-fr", "dtype": "float32"}]
            >>> found = hfnb.compare(df, "What is the number {i} in french?", same)
            >>> len(found.differences())
            0
        """
        shown = self._answers.shown()
        rows = np.array(differing(shown) if shown else [], dtype=np.intp)
        inputs = self._given.frame[list(self._given.columns)].iloc[rows]
        answers = {label: [texts[at] for at in rows] for label, texts in shown.items()}
        columns = {
            name: values.take(rows)
            for label in shown
            for name, values in self._answers.columns(label).items()
        }
        return Differences(inputs, answers, columns, len(self._given.frame))

    @property
    def answers(self) -> dict[str, list[str | None]]:
        """The texts of each candidate that has some, by its label; ``None`` for a row without."""
        return dict(self._answers.texts)

    def plot(self, what: Literal["overview", "latency", "memory"] = "overview") -> pictures.Picture:
        """Return a picture, which a notebook shows, and which can be saved.

        Args:
            what: ``"overview"``: speed, quality and memory of each candidate; ``"latency"``: how
                the rows' latencies are distributed; ``"memory"``: over time, as each was loaded and
                ran.

        Returns:
            A `Picture` with ``alt``, the picture in words, and ``save("file.svg")`` or ``.png``.

        Raises:
            OptionError: There is no such picture, or nothing to show.
        """
        measured = {}
        for label in self._labels:
            found = [each for each in self._outcomes(label) if isinstance(each, Measured)]
            if found:
                measured[label] = found[0]
        return pictures.picture(what, measured, self.stats, self.quality)

    @property
    def manifest(self) -> dict[str, Any]:
        """Everything that is needed to repeat it; of each candidate what `RunResult` would tell."""
        return {
            **self._given.manifest,
            "candidates": {
                label: next(
                    (e.manifest for e in self._outcomes(label) if isinstance(e, Measured)), None
                )
                for label in self._labels
            },
        }

    def to_markdown(self) -> str:
        """Return the figures and the agreement as tables in Markdown, and what they came from."""
        return documents.markdown(self)

    def to_html(self) -> str:
        """Return the same as HTML that stands alone, with the pictures in it."""
        return documents.as_html(self)

    def to_json(self) -> str:
        """Return figures, agreement and manifest as JSON. It holds none of the frame's data."""
        return documents.as_json(self)

    def save(self, file: str | Path) -> Path:
        """Write it down, as the file's ending says: ``.md``, ``.html`` or ``.json``.

        Raises:
            OptionError: It ends otherwise.
        """
        return documents.save(self, Path(file))

    def __repr__(self) -> str:
        head, rows, notes = documents.summary(self)
        return text_table(head, rows, notes)

    def _repr_html_(self) -> str:
        head, rows, notes = documents.summary(self)
        return html_table(head, rows, notes, name="hfnb-comparison")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": self._repr_html_()}

    # -- inside -----------------------------------------------------------------------------------

    def _outcomes(self, label: str) -> list[Outcome]:
        return [each[label] for each in self._rounds if label in each]

    def _line(self, label: str) -> dict[str, Any]:
        outcomes = self._outcomes(label)
        whole = [each for each in outcomes if isinstance(each, Measured)]
        failed = next((each for each in outcomes if isinstance(each, Failed)), None)
        status, reason = "ok", ""
        if failed is not None:
            status, reason = ("cancelled" if failed.cancelled else "failed"), failed.reason
        elif not outcomes:
            status, reason = "cancelled", "its turn had not come"
        elif any(each.cancelled for each in whole):
            status, reason = "cancelled", "it was ended before it had finished"
        elif whole and whole[0].rows["status"].eq("error").any():
            reason = str(whole[0].rows.query("status == 'error'")["error"].iloc[0])
        figures = [_figures(each) for each in whole]
        line: dict[str, Any] = {"status": status, "reason": reason, "rounds": len(whole)}
        line |= {name: int(figures[0][name]) if figures else 0 for name in ("ok", "failed")}
        for name in _FIGURES:
            values = [each[name] for each in figures if each[name] is not None]
            middle = max if name == "export_s" else statistics.median  # that is made only once
            line[name] = middle(values) if values else float("nan")
            if name in _SPREAD:
                line[f"{name}_low"] = min(values, default=float("nan"))
                line[f"{name}_high"] = max(values, default=float("nan"))
        for name in ("model", "backend", "device", "dtype", "note"):
            line[name] = figures[0][name] if figures else ""
        return line

    @functools.cached_property
    def _agreement(self) -> pd.DataFrame:
        return self._answers.agreement()

    @functools.cached_property
    def quality(self) -> Quality:
        """What quality means here, and that of each candidate, 0 to 1.

        With a reference it is exact match with it; without one, how like the first candidate's the
        answers are, by edit similarity.
        """
        return self._answers.quality(self._agreement)


def _figures(found: Measured) -> dict[str, Any]:
    return {
        **found.stats,
        "load_s": found.load_s,
        "export_s": found.export_s,
        "ttft_s": found.ttft_s,
        "peak_rss_bytes": found.peak_rss_bytes,
        "peak_device_bytes": found.peak_device_bytes,
        "disk_bytes": found.disk_bytes,
    }
