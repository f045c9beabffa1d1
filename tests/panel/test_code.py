"""The code of a run: it says what was run, and running it gives the same."""

import ast
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hfnb
from hfnb import session
from hfnb.magics.arguments import OF_CELL, read_arguments
from hfnb.magics.cell import read_cell
from hfnb.magics.model import Models
from hfnb.magics.words import split
from hfnb.panel.code import code_of
from hfnb.panel.state import Asking, Choice, Recipe

NUMBERS = Choice("hfnb/numbers-fr")
FRAME = pd.DataFrame({"i": [72, 7, 1984]})


def recipe(choice: Choice = NUMBERS, limit: int | None = None, **asked: Any) -> Recipe:
    """Return a run of the packaged model."""
    options = asked.pop("options", {})
    asking = Asking(**{"table": "df", "prompt": "What is the number {i} in french?", **asked})
    return Recipe(asking, options, limit, choice.model, choice)


@pytest.mark.parametrize(
    "run",
    [
        recipe(into="answer", options={"max_new_tokens": 32}),
        recipe(system="Answer in french, {please}.", options={"max_new_tokens": 32}),
        recipe(chat="no", prompt="Question:\n  {i}\nAnswer:", options={"stop": ["\n"]}),
        recipe(limit=2, options={"temperature": 0.7, "seed": 3, "max_new_tokens": 8}),
    ],
    ids=["plain", "system", "lines", "sampled"],
)
def test_python_and_chain_give_what_the_run_gave(run: Recipe) -> None:
    names: dict[str, Any] = {"df": FRAME}
    exec(code_of(run).python, names)
    chat = {"auto": None, "no": False}[run.asking.chat]
    expected = hfnb.run(
        FRAME,
        run.asking.prompt,
        hfnb.load("hfnb/numbers-fr"),
        into=run.asking.into,
        system=run.asking.system or None,
        chat=chat,  # type: ignore[arg-type]
        limit=run.limit,
        progress=False,
        **run.options,
    )
    column = expected.data[run.asking.into]
    assert list(names["result"].data[run.asking.into]) == list(column)
    if "seed" not in run.options:  # a chain's calls are samples of their own
        assert names["answers"] == list(column)


def test_only_what_is_no_default_is_written() -> None:
    choice = Choice("gpt2", backend="openvino", precision="int8", device="CPU")
    code = code_of(recipe(choice))
    assert (
        "hfnb.load('gpt2', backend='openvino', device='CPU', weight_format='int8')" in code.python
    )
    assert "hfnb.run(df, prompt, llm)\n" in code.python
    assert code.cell.startswith(
        "%%hfnb df --model gpt2 --backend openvino --device CPU --weight-format int8"
    )


def test_what_a_line_can_not_hold_is_said() -> None:
    both = recipe(options={"stop": ["\"'"]})
    assert "use Python" in code_of(both).cell
    assert "use Python" in code_of(recipe(prompt="{i}\n")).cell


PROMPTS = st.text(st.characters(codec="utf-8", exclude_characters="{}\r"), max_size=40).map(
    lambda text: f"{text}{{i}}"
)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1)


@given(prompt=PROMPTS, stop=st.lists(TEXTS, max_size=2), tokens=st.integers(1, 99))
def test_code_says_any_prompt_and_stop_strings_exactly(
    prompt: str, stop: list[str], tokens: int
) -> None:
    options: dict[str, Any] = {"max_new_tokens": tokens, **({"stop": stop} if stop else {})}
    code = code_of(recipe(prompt=prompt, options=options))
    assigned = [each for each in ast.parse(code.python).body if isinstance(each, ast.Assign)]
    written = {ast.unparse(each.targets[0]): each.value for each in assigned}
    assert ast.literal_eval(written["prompt"]) == prompt
    call = written["result"]
    assert isinstance(call, ast.Call)
    assert {each.arg: ast.literal_eval(each.value) for each in call.keywords} == options
    if code.cell.startswith("#"):
        return
    line, _, body = code.cell.partition("\n")
    session.use(None)
    cell = read_cell(line.removeprefix("%%hfnb "), body, {"df": FRAME}, Models(), {})
    assert cell.prompt == prompt
    assert cell.generating.get("stop", []) == stop
    assert cell.generating["max_new_tokens"] == tokens
    assert read_arguments(split(line.removeprefix("%%hfnb ")), OF_CELL).words[0].text == "df"
