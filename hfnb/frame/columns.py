"""The output columns of a run, of text or of a schema's types, as pandas and as Arrow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from hfnb.errors import AnswerError
from hfnb.frame import show
from hfnb.frame.job import Job
from hfnb.frame.outcome import no_texts, texts_of
from hfnb.frame.store import RowStore


def names_of(job: Job) -> tuple[str, ...]:
    """Return the names of a run's output columns, in their order."""
    return (job.into,) if job.structure is None else tuple(job.structure.named(job.into))


def pandas_columns(job: Job, store: RowStore) -> dict[str, Any]:
    """Return a run's output columns by their names, as pandas keeps them."""
    if job.structure is None:
        return {job.into: store.outputs.array()}
    return job.structure.arrays(job.into, texts(store))


def arrow_columns(job: Job, store: RowStore) -> Any:
    """Return a run's output columns as an Arrow table: the same types in each part of a run."""
    import pyarrow as pa

    if job.structure is None:
        return pa.table({job.into: texts_of(store.outputs.array())})
    return job.structure.arrow(job.into, texts(store))


def no_arrow_columns(job: Job) -> Any:
    """Return a run's output columns as an Arrow table without a row."""
    import pyarrow as pa

    if job.structure is None:
        return pa.table({job.into: no_texts()})
    return job.structure.arrow(job.into, ())


def pandas_types(job: Job) -> dict[str, Any]:
    """Return what the output columns of parts are in pandas, where Arrow's own types say less."""
    if job.structure is None:
        return {job.into: "string"}
    return {
        name: pd.CategoricalDtype(list(column.categories))
        if column.kind == "category"
        else column.dtype
        for name, column in job.structure.named(job.into).items()
        if column.kind not in ("list", "object")
    }


def texts(store: RowStore) -> Iterator[str | None]:
    """Yield the text of each row's answer, also of one that is not whole."""
    for at, text in enumerate(store.outputs.array()):
        error = store.errors.get(at)
        if isinstance(error, AnswerError):
            yield error.text
        else:
            yield None if text is None or text is pd.NA else text


def table_columns(job: Job, store: RowStore) -> dict[str, Any]:
    """Return a run's output columns by their names, for a table that is no pandas frame."""
    if job.structure is None:
        return {job.into: store.outputs.array()}
    arrow = arrow_columns(job, store)
    categories = pandas_columns(job, store)
    return {
        name: categories[name] if column.kind == "category" else arrow.column(name).combine_chunks()
        for name, column in job.structure.named(job.into).items()
    }


def shown_columns(job: Job, store: RowStore, rows: Sequence[int]) -> show.Shown:
    """Return the values of some rows, by column and position, as far as they are known."""
    texts = [store.outputs[at] for at in rows]
    if job.structure is None:
        return {job.into: dict(zip(rows, texts, strict=True))}
    arrays = job.structure.arrays(job.into, texts)
    return {name: dict(zip(rows, values, strict=True)) for name, values in arrays.items()}
