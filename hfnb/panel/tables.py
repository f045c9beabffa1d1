"""The user's tables, and one of their rows as a prompt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hfnb.errors import HfnbError, RowError
from hfnb.frame.cells import column_values
from hfnb.frame.given import read_given
from hfnb.frame.job import chat_of
from hfnb.frame.model import decide_chat
from hfnb.frame.tables import columns_of, is_table, take
from hfnb.frame.template import Skipped, Template
from hfnb.panel.state import Asking, Rendered, Table
from hfnb.variables import tables

if TYPE_CHECKING:
    from hfnb.llm import HuggingFacePipeline


def tables_among(names: Mapping[str, Any]) -> tuple[Table, ...]:
    """Return the tables among variables; none that is read in parts or lazily."""
    return tuple(
        Table(name, tuple(str(each) for each in columns_of(value)), len(value))
        for name, value in tables(names).items()
        if is_table(value)
    )


def rendered(table: Any, asking: Asking, at: int, llm: HuggingFacePipeline | None) -> Rendered:
    """Return a row's prompt as the model gets it, or what is wrong with it.

    Args:
        table: The table; ``None`` where there is none.
        asking: What is asked of its rows.
        at: The row's position.
        llm: Who counts its tokens, where it is loaded.
    """
    if table is None or not asking.prompt.strip() or not len(table):
        return Rendered(at=at)
    try:
        template = Template(asking.prompt)
        frame = read_given(take(table, [at]), template.columns, out=None, limit=None).frame
        row = {name: column_values(frame[name])[0] for name in template.columns}
        text = template.render(row)
        if isinstance(text, Skipped):
            return Rendered(at=at, problem=f"this row is skipped: {text.reason}")
        if isinstance(text, RowError):
            return Rendered(at=at, problem=str(text))
        if llm is None:
            return Rendered(text=text, at=at)
        return _with_model(text, asking, at, llm)
    except HfnbError as error:
        return Rendered(at=at, problem=str(error))


def _with_model(text: str, asking: Asking, at: int, llm: HuggingFacePipeline) -> Rendered:
    engine = llm.engine
    use_chat = llm.chat if asking.use_chat is None else asking.use_chat
    if not decide_chat(use_chat, engine):
        problem = "a system prompt needs a chat template" if asking.system else ""
        return Rendered(text, engine.count_tokens(text), at, problem)
    chat = chat_of(text, asking.system)
    return Rendered(engine.render(chat), engine.count_tokens(chat), at)
