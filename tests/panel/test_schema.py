"""The panel's field editor: the columns to come, the code, and a run with typed columns."""

import datetime
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

import hfnb
from hfnb.errors import OptionError
from hfnb.magics.schema import schema_of as schema_of_line
from hfnb.panel import events as on
from hfnb.panel.code import code_of
from hfnb.panel.reduce import reduce
from hfnb.panel.schema import columns_to_come, inline_of, python_of, schema_of
from hfnb.panel.state import Asking, Recipe, SchemaField
from tests.needs import require
from tests.panel.driven import Driven
from tests.panel.made import after, ready
from tests.panel.test_panel import drive

__all__ = ["drive"]
FIELDS = (
    SchemaField("tone", "choice", "good | bad"),
    SchemaField("stars", "int"),
    SchemaField("day", "date"),
    SchemaField("names", "list[str]"),
)


def test_fields_are_added_set_and_removed() -> None:
    state = after(
        ready(),
        on.FieldAdded(),
        on.FieldAdded(),
        on.FieldSet(0, "name", "tone"),
        on.FieldSet(1, "name", "stars"),
        on.FieldSet(1, "kind", "int"),
        on.FieldRemoved(0),
    )
    assert state.asking.fields == (SchemaField("stars", "int"),)
    assert reduce(state, on.FieldSet(4, "name", "late")) is state
    assert schema_of(ready().asking) is None


def test_what_is_wrong_with_a_field_is_said_before_the_run() -> None:
    state = after(ready(), on.FieldAdded())
    assert columns_to_come(state.asking) == "Field 1 has no name."
    assert "Field 1 has no name." in reduce(state, on.RunPressed()).run_problem
    lacks = Asking(fields=(SchemaField("tone", "choice", "good"),))
    with pytest.raises(OptionError):
        schema_of(lacks)
    assert "tone" in columns_to_come(lacks)


def test_the_columns_to_come_are_said() -> None:
    require("structured")
    assert columns_to_come(Asking(fields=FIELDS)) == (
        "Columns to come: tone (category), stars (Int64), day (datetime64[us]), names (object)"
    )
    assert "text" in columns_to_come(Asking())


def test_code_and_line_say_the_same_schema() -> None:
    asking = Asking(fields=FIELDS)
    expected: dict[str, Any] = {
        "tone": ["good", "bad"], "stars": int, "day": datetime.date, "names": list[str],
    }  # fmt: skip
    assert schema_of(asking) == expected
    assert eval(python_of(asking)) == expected
    line = inline_of(asking)
    assert line is not None
    assert schema_of_line(line, {}) == expected
    assert inline_of(Asking(fields=(SchemaField("a:b", "int"),))) is None


def test_a_run_has_a_column_for_each_field_and_its_code_gives_them_again(
    drive: Callable[..., Driven],
) -> None:
    require("structured")
    frame = pd.DataFrame({"i": [2, 3]})
    driven = drive(frame, "What is the number {i} in french?", model="hfnb/numbers-fr")
    driven.load()
    driven.press("Columns instead of text")
    driven.press("Add a field")
    driven.enter("Field 1", "word")
    driven.enter("Type", "choice")
    driven.enter("Choices", "un|deux|trois")
    assert "Columns to come: word (category)" in driven.text()
    driven.run()
    result = driven.panel.result
    assert result is not None
    assert list(result.data["word"]) == ["deux", "trois"]
    assert '<th scope="col">word</th>' in driven.text()
    assert driven.panel.chain.invoke({"i": 2}) == {"word": "deux"}
    names: dict[str, Any] = {"df": frame}
    exec(driven.panel.code, names)
    assert list(names["result"].data["word"]) == ["deux", "trois"]
    assert names["answers"] == [{"word": "deux"}, {"word": "trois"}]


def test_what_a_line_can_not_hold_is_said() -> None:
    asking = Asking(table="df", prompt="{i}", fields=(SchemaField("a:b", "int"),))
    assert "use Python" in code_of(Recipe(asking, model="hfnb/numbers-fr")).cell
    assert hfnb.__version__
