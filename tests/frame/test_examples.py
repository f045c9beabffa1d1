"""The examples in the docstrings give what they say."""

import doctest
import importlib

import pytest


@pytest.mark.parametrize(
    "name",
    [
        "hfnb.engines.echo",
        "hfnb.frame.cells",
        "hfnb.frame.probe",
        "hfnb.frame.progress",
        "hfnb.frame.template",
        "hfnb.measure",
    ],
)
def test_the_examples_of_a_module_run(name: str) -> None:
    outcome = doctest.testmod(importlib.import_module(name))
    assert outcome.attempted > 0
    assert outcome.failed == 0
