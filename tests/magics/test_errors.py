"""Mistakes are one line, name what was probably meant, and come before anything is loaded."""

import pandas as pd
import pytest
from IPython.core.error import UsageError

from hfnb import session
from tests.magics.conftest import Shell

CELL = "\nWhat is {i}?"
MISTAKES = [
    ("dff", CELL, "There is no variable 'dff'. Did you mean 'df'?"),
    ("number", CELL, "'number' is of type int"),
    ("df.i", CELL, "to_frame('text')"),
    ("df.nothing()", CELL, "'df.nothing()' gives no value: AttributeError"),
    ("", CELL, "Which table?"),
    ("df more", CELL, "'more' belongs to no option"),
    ("df", "\n \n", "The cell has no prompt"),
    ("df", "\nWhat is {j}?", "The frame has no column 'j'"),
    ("df", "\nWhat is {long nam}?", "Did you mean 'long name'?"),
    ("df", "\nWhat is {number}?", "add --var number to the first line"),
    ("df", "\nWhat is it?", "The prompt has no column"),
    ("df", "\nWhat is {i?", "braces don't fit together"),
    ("df --inot x", CELL, "Unknown option --inot. Did you mean '--into'?"),
    ("df --max-new-token 3", CELL, "Did you mean '--max-new-tokens'?"),
    ("df --into", CELL, "--into needs a value: --into NAME"),
    ("df --into --quiet", CELL, "--into needs a value"),
    ("df --quiet=yes", CELL, "--quiet takes no value"),
    ("df --into a --into b", CELL, "--into is given twice"),
    ("df --into i", CELL, "pass --overwrite to replace it"),
    ("df --chat --no-chat", CELL, "Give --chat or --no-chat"),
    ("df --limit 1 --sample 1", CELL, "Give --limit or --sample"),
    ("df --limit few", CELL, "--limit is a number of rows"),
    ("df --sample 0", CELL, "--sample is a number of rows"),
    ("df --max-new-tokens 0", CELL, "--max-new-tokens is a whole number"),
    ("df --too-long cut", CELL, "--too-long is one of error, truncate, skip"),
    ("df --engine rey", CELL, "--engine is one of local, ray; not 'rey'. Did you mean 'ray'?"),
    ("df --num-beams 2 --temperature 1", CELL, "leave one of them out"),
    ("df --system Hi --no-chat", CELL, "--no-chat switches it off"),
    ("df -o class", CELL, "-o takes the name of a variable"),
    ("df --stop 'a", CELL, "is not closed"),
    ("df --var nimber", "\n{i} {nimber}", "Did you mean 'number'?"),
    ("df --var number", CELL, "The prompt has no {number}"),
    ("df --var i=3", CELL, "{i} is a column of the table"),
    ("df --var x=1/0", "\n{i} {x}", "ZeroDivisionError"),
    ("df --var number --var number", "\n{i} {number}", "--var number is given twice"),
    ("df --var number", "\n{i} {number:%}}", "braces don't fit together"),
    ("df --var number", "\n{i} {number:zz}", "can't format its value"),
    ("df --device cpu", CELL, "Which model?"),
    ("df --model hfnb/numbers-fx", CELL, "Did you mean 'hfnb/numbers-fr'?"),
    ("df --model hfnb/numbers-fr --task txt-generation", CELL, "Did you mean 'text-generation'?"),
    ("df --model hfnb/numbers-fr --backend opnvino", CELL, "Did you mean 'openvino'?"),
    ("df --model echo --device cpu", CELL, "--device says how a model is loaded"),
]


@pytest.mark.parametrize(("line", "body", "said"), MISTAKES)
def test_a_mistake_is_one_line_of_usage(shell: Shell, line: str, body: str, said: str) -> None:
    shell(f"%%hfnb {line}{body}")
    assert type(shell.error) is UsageError  # IPython shows a subclass with its traceback
    assert said in shell.said
    assert shell.said.count("\n") == 1
    assert shell.said.startswith("UsageError: ")


def test_mistakes_are_found_before_a_model_is_loaded(shell: Shell) -> None:
    for line, body, said in MISTAKES:
        if "--model" not in line and said != "Which model?":
            shell(f"%%hfnb {line} --model hfnb/numbers-fr{body}")
            assert isinstance(shell.error, UsageError), line
    assert session.current() is None
    assert len(session.loaded()) == 0


def test_a_cell_without_any_model_says_how_to_get_one(shell: Shell) -> None:
    shell("%%hfnb df\nrow {i}")
    assert "%hfnb load hfnb/numbers-fr" in shell.said


def test_a_cell_without_a_body_says_so(shell: Shell) -> None:
    shell("%%hfnb df")
    assert "the cell body is empty" in shell.said


def test_nothing_that_was_there_is_lost_by_a_mistake(shell: Shell) -> None:
    shell("%%hfnb df --model echo -o kept\nrow {i}")
    kept, llm = shell.names["kept"], session.current()
    shell("%%hfnb df --model hfnb/numbers-fx -o kept\nrow {i}")
    assert shell.names["kept"] is kept
    assert session.current() is llm


def test_a_table_without_rows_loads_nothing(shell: Shell) -> None:
    shell.names["none"] = pd.DataFrame({"i": []})
    shell("%%hfnb none --model echo\nrow {i}")
    assert shell.error is None
