"""The cell that compares: the same prompt and rows, through several models."""

from __future__ import annotations

import pandas as pd

from tests.comparing.support import plain, stars
from tests.magics.conftest import Shell


def test_a_cell_compares_models_that_variables_hold(shell: Shell) -> None:
    shell.names["other"] = plain()
    found = shell("%%hfnb compare df echo other --limit 2\n{i} and {long name}")
    assert found.data["hfnb/echo"].tolist() == ["72 and a", "7 and b"]
    assert found.agreement["exact_match"].tolist() == [1.0]
    assert "each candidate in a process of its own" in shell.said
    assert shell("%hfnb compare") is found


def test_a_cells_schema_makes_typed_columns_beside_right_ones(shell: Shell) -> None:
    shell.names["calm"] = plain(answer=stars)
    shell.names["rated"] = pd.DataFrame({"i": [1, 2], "right": [3, 4]})
    line = "%%hfnb compare rated calm --schema 'stars: int' --reference stars=right"
    found = shell(f"{line}\n{{i}}")
    assert found.data["hfnb/echo.stars"].tolist() == [3, 3]
    assert found.agreement["mean_difference"].tolist() == [0.5]
    shell(f"{line.replace('stars=', 'start=')}\n{{i}}")
    assert "Did you mean 'stars'" in shell.said


def test_mistakes_are_lines_before_anything_starts(shell: Shell) -> None:
    for cell, words in (
        ("%%hfnb compare df\n{i}", "Name a table and the models"),
        ("%%hfnb compare df echo\n{j}", "j"),
        ("%%hfnb compare df hfnb/numbers-fx\n{i}", "Did you mean 'hfnb/numbers-fr'"),
        ("%%hfnb compare df hfnb/numbers-fr,backend\n{i}", "is no candidate"),
        ("%%hfnb compare df hfnb/numbers-fr,backend=opnvino\n{i}", "Did you mean 'openvino'"),
        ("%%hfnb compare df echo --refrence long\n{i}", "Did you mean '--reference'"),
        ("%hfnb compare df", "shows the last comparison"),
    ):
        shell(cell)
        assert words in shell.said, cell
        assert "Traceback" not in shell.said


def test_a_table_by_that_name_is_run_as_any_other(shell: Shell) -> None:
    shell("compare = df.head(1)")
    data = shell("%%hfnb compare --model echo\n{i}")
    assert data["output"].tolist() == ["72"]
