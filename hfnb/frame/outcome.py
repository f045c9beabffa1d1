"""What a part's run gave, as Arrow columns, and how it joins what the part had already."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd

from hfnb.frame.outputs import strings_of


def no_texts() -> Any:
    """Return an output column without a row."""
    import pyarrow as pa

    return pa.array([], type=pa.large_string())


def texts_of(outputs: Any) -> Any:
    """Return outputs as Arrow text, so that all parts have one type.

    What a chain's parser made of a text, such as a number or a dictionary, is written as JSON.
    """
    import pyarrow as pa

    if not isinstance(outputs.dtype, pd.StringDtype):
        outputs = strings_of([_text(each) for each in outputs])
    return pa.chunked_array([pa.array(outputs)]).cast(pa.large_string())


def _text(output: Any) -> str | None:
    if output is None or output is pd.NA:
        return None
    if isinstance(output, str):
        return output
    if hasattr(output, "model_dump"):  # pydantic's
        output = output.model_dump(mode="json")
    return json.dumps(output, ensure_ascii=False, default=str)


def merged(old: Any, new: Any, todo: np.ndarray[Any, Any], rows: int) -> Any:
    """Return an Arrow table of ``rows`` rows: ``new`` at the positions ``todo``, else ``old``."""
    import pyarrow as pa

    order = np.arange(rows)
    order[todo] = old.num_rows + np.arange(len(todo))
    both = pa.concat_tables([old, new], promote_options="permissive").unify_dictionaries()
    return both.combine_chunks().take(order)
