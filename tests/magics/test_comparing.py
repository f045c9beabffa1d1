"""The cell that compares: the same prompt and rows, through several models."""

from __future__ import annotations

from tests.comparing.support import plain
from tests.magics.conftest import Shell


def test_a_cell_compares_models_that_variables_hold(shell: Shell) -> None:
    shell.names["other"] = plain()
    found = shell("%%hfnb compare df echo other --limit 2\n{i} and {long name}")
    assert found.data["hfnb/echo"].tolist() == ["72 and a", "7 and b"]
    assert found.agreement["exact_match"].tolist() == [1.0]
    assert "each candidate in a process of its own" in shell.said
    assert shell("%hfnb compare") is found


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
