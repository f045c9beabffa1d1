"""`hfnb.compare`: each candidate in a process of its own, and what they leave side by side."""

from __future__ import annotations

import json
import threading
from typing import Any

import pandas as pd
import polars
import pytest
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate

import hfnb
from hfnb import speeds
from hfnb.comparing import compare as comparing
from hfnb.comparing.candidates import candidates_of
from hfnb.errors import ModelNotFoundError, OptionError, TemplateError
from tests.comparing.support import DF, breaks, is_two, kill, loud, plain
from tests.needs import require

NAME = "hfnb/numbers-fr"
QUESTION = "What is the number {i} in french?"
NUMBERS = pd.DataFrame({"i": [7, 72], "french": ["sept", "soixante-douze"]})


def compare(candidates: list[Any], prompt: Any = "{x}", **options: Any) -> hfnb.Comparison:
    return hfnb.compare(DF, prompt, candidates, progress=False, **options)


def test_a_real_model_is_measured_in_a_process_of_its_own_and_answers_as_here() -> None:
    exact = {"model": NAME, "dtype": "float32", "label": "exact"}
    found = hfnb.compare(NUMBERS, QUESTION, [exact, plain()], reference="french", progress=False)
    assert list(found.stats.index) == ["exact", "hfnb/echo"]
    assert found.data["exact"].tolist() == ["sept", "soixante-douze"]
    line, echo = found.stats.loc["exact"], found.stats.loc["hfnb/echo"]
    assert (line["status"], line["dtype"]) == ("ok", "float32")
    assert line["load_s"] > 0
    assert 0 < line["ttft_s"] < 5
    assert line["latency_p95_s"] >= line["latency_p50_s"] > 0
    assert line["disk_bytes"] > 4_000_000
    assert 2_000_000_000 > line["peak_rss_bytes"] > echo["peak_rss_bytes"] + 200_000_000
    assert list(found.agreement["exact_match"]) == [1.0, 0.0, 0.0]
    assert hfnb.last_comparison() is found
    assert "exact match with the reference" in repr(found)


@pytest.fixture(scope="module")
def several() -> hfnb.Comparison:
    """One that answers, one that differs, one with a row that fails, and three that fail."""
    return compare(
        [
            plain(),
            {"model": "nobody/no-such-model"},
            plain(answer=loud),
            plain(fail=is_two),
            plain(answer=kill),
            plain(answer=breaks),
        ],
        "{x} it is",
        reference="right",
    )


PLAIN, LOUD, PARTLY, KILLED, BROKEN = ("hfnb/echo", *(f"hfnb/echo #{at}" for at in range(2, 6)))


def test_a_candidate_that_fails_is_a_line_with_its_reason(several: hfnb.Comparison) -> None:
    stats = several.stats
    assert stats["status"].to_dict() == {
        PLAIN: "ok",
        "nobody/no-such-model": "failed",
        LOUD: "ok",
        PARTLY: "ok",
        KILLED: "failed",
        BROKEN: "failed",
    }
    assert "no-such-model" in stats.loc["nobody/no-such-model", "reason"]
    killed = "ended by SIGKILL, most often because memory had run out"
    assert killed in stats.loc[KILLED, "reason"]
    assert "broken on purpose" in stats.loc[BROKEN, "reason"]
    assert several.data.columns.tolist() == ["x", "right", PLAIN, LOUD, PARTLY]
    assert f"{KILLED}: failed: its process was {killed}" in repr(several)


def test_rows_that_fail_are_rows_without_an_answer(several: hfnb.Comparison) -> None:
    line = several.stats.loc[PARTLY]
    assert (line["status"], line["ok"], line["failed"]) == ("ok", 2, 1)
    assert several.data[PARTLY].isna().tolist() == [False, True, False]
    table = several.agreement.set_index(["candidate", "compared_with"])["rows"]
    assert (table[PLAIN, PARTLY], table[PLAIN, LOUD]) == (2, 3)
    assert f"{PARTLY}: 1 rows failed, such as: " in repr(several)


def test_rounds_rotate_and_the_figures_are_medians_with_their_spread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    order: list[str] = []
    real = comparing.measured

    def noted(job: Any, *rest: Any) -> Any:
        order.append(job.candidate.label)
        return real(job, *rest)

    monkeypatch.setattr(comparing, "measured", noted)
    found = compare([plain(), plain(delay_s=0.05)], repeat=2)
    assert order == ["hfnb/echo", "hfnb/echo #2", "hfnb/echo #2", "hfnb/echo"]
    slow = found.stats.loc["hfnb/echo #2"]
    assert slow["rounds"] == 2
    assert slow["rows_per_s_low"] <= slow["rows_per_s"] <= slow["rows_per_s_high"] < 20
    assert slow["latency_p50_s"] >= 0.05
    assert "medians of 2 rounds" in repr(found)


def test_cancelling_keeps_what_is_done_also_of_the_candidate_at_hand() -> None:
    cancel = threading.Event()

    def watch(progress: hfnb.Progress) -> None:
        if progress.done > 3:  # the second one has a row
            cancel.set()

    found = hfnb.compare(
        DF,
        "{x}",
        [plain(), plain(delay_s=0.5), plain()],
        progress=watch,
        cancel=cancel,
    )
    assert list(found.stats["status"]) == ["ok", "cancelled", "cancelled"]
    answers = found.data["hfnb/echo #2"]
    assert 1 <= answers.notna().sum() < 3
    assert "its turn had not come" in found.stats["reason"].iloc[2]


def test_an_interrupt_leaves_what_is_done_as_the_last_comparison() -> None:
    def interrupt(progress: hfnb.Progress) -> None:
        if progress.done > 3:  # the second one has a row
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        hfnb.compare(DF, "{x}", [plain(), plain(delay_s=0.5)], progress=interrupt)
    last = hfnb.last_comparison()
    assert last is not None
    assert last is caught.value.result  # type: ignore[attr-defined]
    assert list(last.stats["status"]) == ["ok", "cancelled"]
    assert 1 <= last.data["hfnb/echo #2"].notna().sum() < 3


def test_a_comparison_can_be_pasted_and_holds_no_data_in_json(several: hfnb.Comparison) -> None:
    assert f"| {PLAIN} | the reference | 3 |" in several.to_markdown()
    told = json.loads(several.to_json())
    assert [each["candidate"] for each in told["stats"]] == several.stats.index.tolist()
    assert told["manifest"]["prompt"] == "{x} it is"
    assert told["manifest"]["candidates"][PLAIN]["versions"]["python"]
    assert told["manifest"]["candidates"][KILLED] is None
    assert "three" not in several.to_json()
    page = several.to_html()
    assert page.count("<svg ") == page.count("<desc>") == 3


def test_differences_are_the_rows_that_disagree_under_their_own_index(
    several: hfnb.Comparison,
) -> None:
    rows = several.differences()
    assert rows.data.index.tolist() == ["a", "b", "c"]
    assert rows.data.columns.tolist() == ["x", PLAIN, LOUD, PARTLY]
    assert "[-one-][+ONE+]" in repr(rows)
    assert "<del>one</del><mark>ONE</mark>" in rows._repr_html_()


def test_other_tables_come_back_as_what_they_were_and_a_taken_name_is_not_overwritten() -> None:
    table = polars.DataFrame({"x": ["one"], "hfnb/echo": ["mine"]})
    found = hfnb.compare(table, "{x}", [plain()], progress=False)
    assert isinstance(found.data, polars.DataFrame)
    assert found.data["hfnb/echo"].to_list() == ["mine"]
    assert found.data["hfnb/echo (answer)"].to_list() == ["one"]


@pytest.mark.parametrize(
    ("candidates", "options", "error", "words"),
    [
        ([], {}, OptionError, "needs candidates"),
        (NAME, {}, OptionError, "takes a list of candidates"),
        ([7], {}, OptionError, "not int"),
        ([{"backend": "openvino"}], {}, OptionError, "names its model"),
        ([{"model": NAME, "bakend": "openvino"}], {}, OptionError, "Did you mean"),
        ([{"model": NAME, "backend": "opnvino"}], {}, OptionError, "Did you mean 'openvino'"),
        (["hfnb/numbers-fx"], {}, ModelNotFoundError, "Did you mean 'hfnb/numbers-fr'"),
        (["./no/such/folder"], {}, ModelNotFoundError, "no folder"),
        ([hfnb.EchoEngine(answer=lambda text: text)], {}, OptionError, "can't be sent there"),
        ([NAME], {"repeat": 0}, OptionError, "number of rounds"),
        ([NAME], {"reference": "rigth"}, OptionError, "Did you mean 'right'"),
        ([NAME], {"max_new_tokns": 1}, OptionError, "Did you mean 'max_new_tokens'"),
        ([NAME, {"model": NAME, "prompt": "{y}"}], {}, TemplateError, "y"),
    ],
)
def test_what_is_wrong_is_found_before_anything_starts(
    candidates: Any,
    options: dict[str, Any],
    error: type[Exception],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(*_: Any) -> None:
        raise AssertionError("a candidate was started")

    monkeypatch.setattr(comparing, "measured", start)
    with pytest.raises(error, match=words):
        compare(candidates, **options)


def test_a_chain_is_refused_and_a_langchain_prompt_is_not() -> None:
    llm = hfnb.HuggingFacePipeline(engine=plain())
    prompt = PromptTemplate.from_template("{x}")
    with pytest.raises((OptionError, TemplateError), match="chain"):
        compare([plain()], prompt | llm | StrOutputParser())
    assert compare([plain()], prompt).data["hfnb/echo"].tolist() == ["one", "two", "three"]


def test_labels_say_what_differs() -> None:
    def labels(*given: Any) -> list[str]:
        return [each.label for each in candidates_of(list(given), "{x}")]

    assert labels(NAME) == [NAME]
    assert labels(NAME, "hfnb/tiny-t5") == [NAME, "hfnb/tiny-t5"]
    assert labels(
        NAME,
        {"model": NAME, "backend": "openvino"},
        {"model": NAME, "backend": "ov", "weight_format": "int8"},
    ) == ["pytorch", "openvino", "openvino int8"]
    assert labels(NAME, {"model": NAME, "max_new_tokens": 4}) == [NAME, "max_new_tokens=4"]
    assert labels(NAME, {"model": NAME, "prompt": "{x}!"}) == ["prompt 1", "prompt 2"]
    assert labels({"model": NAME, "label": "same"}, {"model": NAME, "label": "same"}) == [
        "same",
        "same #2",
    ]
    assert labels(plain(), "hfnb/numbers-fr", plain()) == ["hfnb/echo", NAME, "hfnb/echo #2"]
    assert labels(NAME, {"model": NAME, "dtype": "float32"}, {"model": "hfnb/tiny-t5"}) == [
        NAME,
        f"{NAME} float32",
        "hfnb/tiny-t5",
    ]


@pytest.mark.slow
def test_a_loaded_model_is_loaded_again_and_openvino_beside_it_leaves_its_speed() -> None:
    require("openvino")
    llm = hfnb.load(NAME, backend="openvino", device="CPU")
    found = hfnb.compare(NUMBERS, QUESTION, [NAME, llm], progress=False)
    assert list(found.stats["status"]) == ["ok", "ok"]
    assert list(found.stats["backend"]) == ["pytorch", "openvino"]
    assert found.stats["disk_bytes"].min() > 2_000_000
    measured = speeds.openvino_factor(NAME)
    assert measured is not None
    rows_per_s = found.stats["rows_per_s"]
    assert measured.factor == pytest.approx(rows_per_s.iloc[1] / rows_per_s.iloc[0])
