"""The answers of all candidates: their columns, how alike they are, and how good."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hfnb.comparing.agreement import REFERENCE, agreement
from hfnb.comparing.field_agreement import WHOLE, Fields, field_agreement, likeness
from hfnb.comparing.typed import ONE, fields_of, right_values
from hfnb.frame.cells import is_null, text_of
from hfnb.frame.structure import Structure

Quality = tuple[str, dict[str, float]]
"""What quality means, and that of each candidate, 0 to 1."""


class Answers:
    """Answers by candidate: texts, or with a schema the values that they hold.

    Args:
        texts: One a row; ``None`` for a row without an answer.
        frame: The rows.
        right: The columns with the right answers, by field; see `hfnb.comparing.typed`.
        structure: The schema; ``None`` where answers are text.
    """

    def __init__(
        self,
        texts: Mapping[str, list[str | None]],
        frame: pd.DataFrame,
        right: Mapping[str, str],
        structure: Structure | None,
    ) -> None:
        self.texts = dict(texts)
        self._frame, self._right, self._structure = frame, right, structure

    def columns(self, label: str, *, arrow: bool = False) -> dict[str, Any]:
        """Return a candidate's answers as columns: one named by its label, or one for each field.

        Args:
            label: The candidate's.
            arrow: For a table that is no pandas frame; categories are pandas' own there, too.
        """
        structure, texts = self._structure, self.texts[label]
        if structure is None:
            return {label: pd.array(texts, dtype="string")}
        columns = structure.arrays(label, texts)
        if arrow:
            named, made = structure.named(label), structure.arrow(label, texts)
            columns |= {
                name: made.column(name).combine_chunks()
                for name, column in named.items()
                if column.kind != "category"
            }
        # An answer that is one value, and its probabilities, are named after the label already.
        plain = structure.probabilities
        return {
            name if plain or name == label else f"{label}.{name}": values
            for name, values in columns.items()
        }

    def shown(self) -> dict[str, list[str | None]]:
        """Return the answers as a person reads them: with a schema a line for each field."""
        if self._structure is None:
            return self.texts
        return {
            label: [
                None if text is None else _lines({name: each[at] for name, each in fields.items()})
                for at, text in enumerate(self.texts[label])
            ]
            for label, fields in self._fields.items()
        }

    def agreement(self) -> pd.DataFrame:
        """Return how alike the answers are; see `Comparison.agreement`."""
        if self._structure is None:
            right = None
            if self._right:
                cells = self._frame[self._right[ONE]]
                right = [None if is_null(each) else str(each) for each in cells]
            return agreement(self.texts, right)
        columns = fields_of(self._structure)
        values = {
            field: right_values(columns[field], self._frame[name])
            for field, name in self._right.items()
        }
        return field_agreement(self._fields, self._answered, values or None, self._kinds)

    def quality(self, table: pd.DataFrame) -> Quality:
        """Return what quality means here, and that of each candidate.

        With right answers it is exact match with them; without, how like the first candidate's the
        answers are.

        Args:
            table: The `agreement`.
        """
        if "field" in table.columns and len(self._kinds) > 1:
            table = table[table["field"] == WHOLE]
        if self._right:
            own = table[table["compared_with"] == REFERENCE]
            alike = dict(zip(own["candidate"], own["exact_match"], strict=True))
            return "exact match with the reference", alike
        if not self.texts:
            return "", {}
        first = next(iter(self.texts))
        own = table[table["candidate"] == first]
        others = list(own["compared_with"])
        likenesses = list(own["edit_similarity"])
        if self._structure is not None:
            likenesses = [self._likeness(first, other) for other in others]
        own_likeness = 1.0 if any(text is not None for text in self.texts[first]) else math.nan
        alike = {first: own_likeness, **dict(zip(others, likenesses, strict=True))}
        return f"likeness to {first}", alike

    def _likeness(self, label: str, other: str) -> float:
        both = [a and b for a, b in zip(self._answered[label], self._answered[other], strict=True)]
        return likeness(self._fields[label], self._fields[other], both, self._kinds)

    @functools.cached_property
    def _fields(self) -> dict[str, Fields]:
        assert self._structure is not None
        return {label: _values(self._structure, each) for label, each in self.texts.items()}

    @functools.cached_property
    def _answered(self) -> dict[str, list[bool]]:
        return {label: [text is not None for text in texts] for label, texts in self.texts.items()}

    @functools.cached_property
    def _kinds(self) -> dict[str, str]:
        assert self._structure is not None
        return {name: each.kind for name, each in fields_of(self._structure).items()}


def _values(structure: Structure, texts: Sequence[str | None]) -> dict[str, list[Any]]:
    """Return the values of answers by field; ``None`` where there is none."""
    arrays = structure.arrays(ONE, texts)
    return {
        name: [None if is_null(each) else each for each in arrays[name]]
        for name in fields_of(structure)
    }


def _lines(values: Mapping[str, Any]) -> str:
    shown = {name: "" if each is None else text_of(each) for name, each in values.items()}
    return "\n".join(f"{name}: {text}" if name else text for name, text in shown.items())
