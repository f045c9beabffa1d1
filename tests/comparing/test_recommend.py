"""`hfnb.recommend`: what is chosen of what was measured, and that it is really measured."""

from __future__ import annotations

import dataclasses
from typing import Any

import pandas as pd
import pytest

import hfnb
from hfnb.comparing import recommend as recommending
from hfnb.comparing.process import Failed
from hfnb.errors import ModelError, ModelNotFoundError, OptionError
from hfnb.machine import Device, Devices
from tests.comparing.support import measured
from tests.needs import require

NAME = "hfnb/numbers-fr"
QUESTION = "What is the number {i} in french?"
DF = pd.DataFrame({"i": range(40), "right": ["abcd"] * 40})
BOTH = Devices([Device("pytorch", "cpu", "", 1, 1), Device("openvino", "CPU", "", 1, 1)])


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What each candidate's process is to give, by what `hfnb.load` is told."""
    outcomes: dict[str, Any] = {}

    def give(job: Any, _tell: Any, _cancel: Any, _limit_s: float) -> Any:
        told = job.candidate.options
        name = " ".join(str(value) for key, value in told.items() if key != "model")
        return outcomes.get(name, Failed("not tried in this test"))

    monkeypatch.setattr(recommending, "measured", give)
    monkeypatch.setattr(recommending, "devices", lambda: BOTH)
    return outcomes


def said(text: str = "abcd", rows: int = 40) -> list[str | None]:
    return [text] * rows


def recommend(**options: Any) -> hfnb.Recommendation:
    return hfnb.recommend(DF, QUESTION, NAME, progress=False, **options)


def test_the_fastest_is_chosen_whose_answers_are_the_plain_models(answers: dict[str, Any]) -> None:
    answers |= {
        "": measured(said(), 10.0),
        "openvino": measured(said(), 20.0, backend="openvino"),
        "openvino int8": measured(said("abcd"), 31.0, backend="openvino"),
        "openvino int4": measured(said("wxyz"), 90.0, backend="openvino"),
    }
    found = recommend()
    assert found.options == {"model": NAME, "backend": "openvino", "weight_format": "int8"}
    assert found.code == f"hfnb.load('{NAME}', backend='openvino', weight_format='int8')"
    assert "3.1 times as fast as pytorch" in found.why
    assert "openvino int4 was faster still (90.0 rows a second), but likeness" in found.why
    assert found.code in repr(found)
    assert "hfnb-recommendation" in found._repr_html_()


def test_with_a_reference_being_right_as_often_is_what_counts(answers: dict[str, Any]) -> None:
    answers |= {
        "": measured(["abcd", "xxxx"] * 20, 10.0),
        "openvino": measured(["abcd", "yyyy"] * 20, 20.0),
        "openvino int8": measured(said("none"), 30.0),
    }
    assert recommend(reference="right").options == {"model": NAME, "backend": "openvino"}


def test_a_batch_size_is_set_where_it_is_clearly_faster(answers: dict[str, Any]) -> None:
    answers |= {"": measured(said(), 10.0), "8": measured(said(), 10.5)}
    assert recommend().options == {"model": NAME}
    answers["8"] = measured(said(), 14.0)
    assert recommend().options == {"model": NAME, "batch_size": 8}


def test_what_could_not_be_measured_is_said_and_nothing_at_all_is_an_error(
    answers: dict[str, Any],
) -> None:
    answers |= {"": measured(said(), 10.0), "openvino": Failed("it can't be exported")}
    found = recommend()
    assert found.options == {"model": NAME}
    assert "openvino (it can't be exported)" in found.why
    answers[""] = Failed("no memory")
    with pytest.raises(ModelError, match=r"No way to run .* no memory"):
        recommend()


def test_what_was_ended_is_not_called_faster(answers: dict[str, Any]) -> None:
    part = dataclasses.replace(measured(said(), 99.0), cancelled=True)
    answers |= {"": measured(said(), 10.0), "openvino": part}
    why = recommend().why
    assert "not measured to its end: openvino" in why
    assert "faster still" not in why


def test_a_schemas_answers_are_good_by_their_values(answers: dict[str, Any]) -> None:
    four, nine = '{"stars": 4, "why": "so"}', '{"stars": 9, "why": "so"}'
    answers |= {
        "": measured(said(four), 10.0),
        "openvino": measured(said(nine), 30.0),  # as texts they are 96% alike
        "openvino int8": measured(said(four), 20.0),
    }
    found = recommend(schema={"stars": int, "why": str})
    assert found.options["weight_format"] == "int8"
    assert "openvino was faster still" in found.why


def test_time_that_is_up_leaves_the_rest_out(answers: dict[str, Any]) -> None:
    answers[""] = measured(said(), 10.0)
    with pytest.raises(ModelError, match=r"the 0 s were over.*Give it more time \(seconds"):
        recommend(seconds=1e-9)


def test_each_way_gets_an_even_share_of_the_time_that_is_left(
    answers: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers[""] = measured(said(), 10.0)
    give, limits = recommending.measured, []

    def noted(job: Any, tell: Any, cancel: Any, limit_s: float) -> Any:
        limits.append(limit_s)
        return give(job, tell, cancel, limit_s)

    monkeypatch.setattr(recommending, "measured", noted)
    recommend(seconds=1200)
    shares = [300, 400, 600, 1200, 600, 1200]  # of four ways, and then of two batch sizes
    assert all(limit <= most for limit, most in zip(limits, shares, strict=True))


def test_a_way_that_was_too_slow_asks_for_more_time(answers: dict[str, Any]) -> None:
    answers[""] = Failed("it had not finished after 45 s", cancelled=True)
    with pytest.raises(ModelError, match=r"after 45 s.*Give it more time \(seconds"):
        recommend()


def test_progress_counts_all_rounds_as_one(answers: dict[str, Any]) -> None:
    answers[""] = measured(said(), 10.0)
    drawn: list[hfnb.Progress] = []
    hfnb.recommend(DF, QUESTION, NAME, progress=drawn.append)
    assert [each.done for each in drawn] == sorted(each.done for each in drawn)
    assert (drawn[-1].done, drawn[-1].total) == (240, 240)  # 40 rows in four ways and two sizes


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"seconds": 0}, "time for all of it"),
        ({"sample": 0}, "number of rows"),
        ({"reference": "left"}, "no column 'left'"),
        ({"max_new_tokns": 4}, "Did you mean 'max_new_tokens'"),
    ],
)
def test_mistakes_are_found_first(
    options: dict[str, Any], words: str, answers: dict[str, Any]
) -> None:
    with pytest.raises(OptionError, match=words):
        recommend(**options)
    with pytest.raises(ModelNotFoundError):
        hfnb.recommend(DF, QUESTION, "hfnb/numbers-fx", progress=False)


@pytest.mark.slow
def test_a_model_is_measured_on_both_backends_and_what_is_recommended_loads() -> None:
    require("openvino")
    found = recommend(sample=12, seconds=300)
    stats = found.comparison.stats
    assert set(stats["backend"]) >= {"pytorch", "openvino"}
    assert (stats["status"] == "ok").all(), stats["reason"].tolist()
    llm = found.load()
    assert llm.invoke("What is the number 72 in french?") == "soixante-douze"
