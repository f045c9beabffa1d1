"""The README's figures are those of the last measurement."""

from scripts.readme_speeds import README, RESULTS, measured, renewed


def test_the_readmes_speeds_are_those_of_the_results() -> None:
    """``python scripts/readme_speeds.py`` mends it."""
    readme, results = README.read_text(encoding="utf-8"), RESULTS.read_text(encoding="utf-8")
    assert renewed(readme, results) == readme


def test_speeds_are_read_with_their_day_and_machine() -> None:
    found = measured(RESULTS.read_text(encoding="utf-8"), "mixed")
    assert len(found.tables) == 2
    assert all(table["hfnb"] > 0 for table in found.tables)
    assert found.day.startswith("20")
    assert found.machine.endswith("cores")
