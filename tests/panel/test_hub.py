"""The panel and the Hub: type-ahead, a download that is told, and a Hub that can't be asked."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd

import hfnb
from tests.hub_server import hub_server
from tests.panel.driven import Driven

DRIVE = """
import sys, time
import pandas as pd
import hfnb
from tests.panel.driven import Driven

driven = Driven(hfnb.Panel(pd.DataFrame({"i": [1]}), "row {i}"))
steps = []
post = driven.panel._workers._post
driven.panel._workers._post = lambda event: (steps.append(getattr(event, "step", "")), post(event))
for typed in ("o", "or", "org", "org/", "org/tin"):
    driven.enter("Model", typed)
driven.until(lambda state: state.on_hub or state.hub_note)
print([each.name for each in driven.state.on_hub], driven.state.hub_note)
driven.enter("Model", "org/tiny")
driven.until(lambda state: state.memory is not None)
print(driven.state.memory.why_not or driven.state.memory.estimate.verdict)
driven.load()
print([each for each in steps if each])
print(driven.panel.llm.engine.info.model)
"""


def test_names_are_searched_for_as_they_are_typed_and_loading_tells_its_steps(
    tiny_model: Callable[[str], Path], online: Callable[..., str]
) -> None:
    with hub_server({"org/tiny": tiny_model("gpt2"), "org/other": tiny_model("gpt2")}) as server:
        answered = online(server, "", DRIVE).splitlines()
        searches = [each for each in server.asked if each.partition("?")[0] == "GET /api/models"]
    assert answered[0] == "['org/tiny'] "
    assert 1 <= len(searches) <= 3  # not one for each key
    assert answered[1] == "fits"
    steps = answered[2]
    assert "downloading: " in steps
    assert steps.index("downloading: ") < steps.index("reading the weights (")
    assert answered[3] == "org/tiny"


def test_a_hub_that_is_not_asked_is_said_to_be() -> None:
    driven = Driven(hfnb.Panel(pd.DataFrame({"i": [1]}), "row {i}"))
    driven.enter("Model", "qwen")
    driven.until(lambda state: state.hub_note)
    assert "the Hub is not among them: HF_HUB_OFFLINE is set" in driven.text()
    driven.panel.close()
