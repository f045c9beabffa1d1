"""The figures beside a run and a model in the panel."""

import pandas as pd
import pytest

import hfnb
from hfnb.panel.model_view import load_time
from hfnb.panel.run_view import _NONE, figures


def test_a_run_from_the_journal_alone_has_no_rate() -> None:
    df = pd.DataFrame({"x": ["a", "b"]})
    first, second = (
        hfnb.run(df, "{x}", hfnb.EchoEngine(fingerprint="echo"), progress=False) for _ in range(2)
    )
    no_rate = f"<dt>rows/s</dt><dd>{_NONE}</dd>"
    assert no_rate not in figures(first.stats)
    assert no_rate in figures(second.stats)
    assert "<dt>model load</dt>" in figures(second.stats)


@pytest.mark.parametrize(
    ("took_s", "model_s", "said"),
    [
        (11.6, 1.08, "in 11.6 s, imports and checks included; model load 1.08 s"),
        (2.5, 2.5, "in 2.5 s"),
        (0.5, 2.5, "in 500 ms"),  # it was in memory already
    ],
)
def test_the_time_of_a_load_says_what_of_it_the_model_took(
    took_s: float, model_s: float, said: str
) -> None:
    assert load_time(took_s, model_s) == said
