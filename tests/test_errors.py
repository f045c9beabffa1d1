"""The exceptions, and the words that their messages are made of."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest

import hfnb
from hfnb import errors
from hfnb.errors import HfnbError, closest, listing

ALL = {
    name: each
    for name, each in vars(errors).items()
    if inspect.isclass(each) and issubclass(each, Exception) and not issubclass(each, Warning)
}


def test_every_exception_is_in_the_tree_that_the_module_draws_under_its_parent() -> None:
    drawn: dict[str, int] = {}
    for line in (errors.__doc__ or "").splitlines():
        if found := re.match(r"[ │├└─]*([A-Z]\w+Error)( {2}|$)", line):
            drawn[found[1]] = found.start(1)
    assert set(drawn) == set(ALL)
    order = list(drawn)
    for at, name in enumerate(order[1:], 1):
        parent = next(each for each in order[at::-1] if drawn[each] < drawn[name])
        assert ALL[parent] in ALL[name].__bases__


def test_all_exceptions_are_hfnbs_and_documented() -> None:
    for each in ALL.values():
        assert issubclass(each, HfnbError)
        assert each.__doc__
    assert hfnb.HfnbError is HfnbError


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        ("OptionError", ValueError),
        ("TemplateError", ValueError),
        ("DeviceError", ValueError),
        ("ModelNotFoundError", LookupError),
        ("MissingExtraError", ImportError),
    ],
)
def test_code_that_catches_standard_exceptions_keeps_working(
    name: str, standard: type[Exception]
) -> None:
    assert issubclass(ALL[name], standard)


@pytest.mark.parametrize("name", ALL)
def test_exceptions_travel_between_processes_and_keep_their_words(name: str) -> None:
    error = ALL[name]("what, why, and what to do")
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ALL[name]
    assert str(again) == "what, why, and what to do"


def test_a_lookup_errors_message_is_shown_without_quotes() -> None:
    assert str(errors.ModelNotFoundError("There is no 'x'.")) == "There is no 'x'."


def test_the_closest_name_is_offered_and_only_when_it_is_near() -> None:
    assert closest("gpt3", ["gpt2", "t5"]) == " Did you mean 'gpt2'?"
    assert closest("GPT2", ["gpt2"]) == " Did you mean 'gpt2'?"
    assert closest("gpt2", ["GPT2"]) == " Did you mean 'GPT2'?"
    assert closest("xyzzy", ["gpt2", "t5"]) == ""
    assert closest("anything", []) == ""
    assert closest(None, ["gpt2"]) == ""


def test_long_lists_are_cut_and_counted() -> None:
    assert listing(["a", "b"]) == "a, b"
    assert listing(range(20), 3) == "0, 1, 2, ... (20 in all)"
    assert listing(range(3), 3) == "0, 1, 2"
    assert listing([]) == ""
