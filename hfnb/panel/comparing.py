"""What the panel compares: its choices as candidates, and what came of them as choices."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from hfnb.frame.progress import Progress
from hfnb.panel import events as on
from hfnb.panel.generation import options_of
from hfnb.panel.reduce_compare import rows_of
from hfnb.panel.schema import schema_of
from hfnb.panel.state import Candidate, Choice, State

Tell = Callable[[Progress], Any]


def compared(table: Any, state: State, tell: Tell, cancel: threading.Event) -> on.Compared:
    """Compare the candidates.

    Args:
        table: The rows.
        state: What to compare, and what is asked.
        tell: Told how far it is.
        cancel: Ends it.

    Raises:
        HfnbError: Something is wrong; what then fails is a line of the comparison.
    """
    from hfnb.comparing.compare import compare

    now = state.comparing
    comparison = compare(
        table,
        state.asking.prompt,
        [{"model": each.model, **each.arguments()} for each in now.candidates],
        reference=now.reference or None,
        limit=rows_of(now),
        progress=tell,
        cancel=cancel,
        **_asked(state),
    )
    stats = comparison.stats
    labels = zip(stats.index, now.candidates, strict=True)
    usable = tuple(
        Candidate(choice, str(label)) for label, choice in labels if stats.loc[label, "rounds"]
    )
    return on.Compared(comparison, usable)


def recommended(table: Any, state: State, tell: Tell, cancel: threading.Event) -> on.Compared:
    """Measure the ways to run the chosen model, and say which one to use.

    The arguments are those of `compared`.

    Raises:
        HfnbError: Something is wrong, or no way works.
    """
    from hfnb.comparing.recommend import recommend

    now = state.comparing
    rows = rows_of(now)
    found = recommend(
        table,
        state.asking.prompt,
        state.choice.model,
        reference=now.reference or None,
        progress=tell,
        cancel=cancel,
        **({} if rows is None else {"sample": rows}),
        **_asked(state),
    )
    batch_size = str(found.options.get("batch_size", ""))
    use = Candidate(Choice.of(found.options), found.code, batch_size)
    return on.Compared(found.comparison, (use,), found.why)


def _asked(state: State) -> dict[str, Any]:
    """Return what is asked of all candidates in the same way."""
    return {
        "chat": state.asking.use_chat,
        "system": state.asking.system or None,
        "schema": schema_of(state.asking),
        **options_of(state.asking),
    }
