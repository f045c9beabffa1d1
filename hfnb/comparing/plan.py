"""What is compared, checked before any of it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hfnb.comparing.candidates import Candidate
from hfnb.comparing.comparison import Given, Outcome
from hfnb.comparing.measuring import Job
from hfnb.comparing.process import Failed
from hfnb.comparing.typed import Reference, fields_of, held, right_columns, right_values
from hfnb.errors import OptionError, closest, listing
from hfnb.frame.given import read_given
from hfnb.frame.identity import plain
from hfnb.frame.prepare import Checked, check
from hfnb.frame.prompts import take_apart
from hfnb.frame.structure import Structure

_INTO = "hfnb_answer"
"""The column of the answers, in the process of a candidate."""


class Plan:
    """What is compared: checked, and ready to be measured.

    Args:
        df: The rows.
        candidates: The candidates.
        running: The arguments of `hfnb.run` that are the same for all, ``limit`` among them.
        options: The generation options.
        reference: The column with the right answers, or those of a schema's fields.
        repeat: Rounds.

    Raises:
        HfnbError: What is wrong.
    """

    def __init__(
        self,
        df: Any,
        candidates: Sequence[Candidate],
        running: Mapping[str, Any],
        options: Mapping[str, Any],
        reference: Reference | None,
        repeat: int,
    ) -> None:
        self.candidates = list(candidates)
        self.repeat = repeat
        limit = running.get("limit")
        run = {name: value for name, value in running.items() if name != "limit"}
        run |= {"on_error": "keep", "journal": False, "overwrite": True, "into": _INTO}
        checked = [self._checked(df, each, {**run, "limit": limit}, options) for each in candidates]
        first = checked[0]
        frame, given = first.job.frame, first.given
        columns = list(dict.fromkeys(name for one in checked for name in one.job.source.columns))
        structure = first.job.structure
        right = check_right(reference, frame, structure)
        if structure is not None:  # a class of the user's may not be there in another process
            run["schema"] = structure.portable
        self.jobs = {
            candidate.label: Job(
                candidate,
                frame[list(one.job.source.columns)].reset_index(drop=True),
                {**run, "limit": None, "options": dict(options)},
            )
            for candidate, one in zip(candidates, checked, strict=True)
        }
        self.rows = len(frame)
        self.manifest: dict[str, Any] = {
            "prompt": first.job.source.shown,
            "rows": self.rows,
            "repeat": repeat,
            "reference": plain(reference),
            "options": {name: plain(value) for name, value in options.items()},
            **{name: plain(value) for name, value in running.items()},
        }
        if structure is not None:
            self.manifest |= plain(structure.about())
        self.given = Given(
            frame if given.table is None else given.table,
            frame,
            tuple(columns),
            right,
            self.manifest,
            structure,
        )

    @staticmethod
    def _checked(
        df: Any, each: Candidate, run: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Checked:
        name = str(each.told.get("model", each.label))
        found = check(df, each.prompt, name, options, **run)
        if found.given.source is not None:
            raise OptionError("compare takes rows in memory: read some of the files' rows first.")
        if found.job.after is not None:
            raise OptionError("compare takes a prompt, not a chain: leave its parser out.")
        return found

    def held(self, outcome: Outcome) -> Outcome:
        """Return an outcome without the answers that the user's own class refuses."""
        if self.given.structure is None or isinstance(outcome, Failed):
            return outcome
        return held(self.given.structure, outcome)

    def orders(self) -> list[list[Candidate]]:
        """Return the candidates of each round, in another order each."""
        count = len(self.candidates)
        starts = (round_ * max(1, count // self.repeat) % count for round_ in range(self.repeat))
        return [self.candidates[at:] + self.candidates[:at] for at in starts]


def check_rows(df: Any, prompt: Any) -> pd.DataFrame:
    """Return the rows of a table in memory, for pandas.

    Raises:
        OptionError: There are none in memory.
        TemplateError: The prompt does not fit the columns.
    """
    given = read_given(df, take_apart(prompt).source.columns, out=None, limit=None)
    if given.source is not None:
        raise OptionError("compare takes rows in memory: read some of the files' rows first.")
    return given.frame


def check_right(
    reference: Reference | None, frame: pd.DataFrame, structure: Structure | None
) -> dict[str, str]:
    """Return the columns with the right answers, by field; see `right_columns`.

    Raises:
        OptionError: One is no column, or has what is no answer by the schema.
    """
    right = right_columns(reference, structure)
    for field, name in right.items():
        if name not in frame.columns:
            raise OptionError(
                f"There is no column {name!r} with the right answers."
                f"{closest(str(name), frame.columns)} The frame has {listing(frame.columns)}."
            )
        if structure is not None:
            right_values(fields_of(structure)[field], frame[name])
    return right
