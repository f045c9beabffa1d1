"""The code that repeats a run: Python with its LangChain chain, and the ``%%hfnb`` cell."""

from __future__ import annotations

from typing import Any, NamedTuple

from hfnb.escapes import escape, escape_braces
from hfnb.frame.template import Template
from hfnb.panel.schema import inline_of, python_of
from hfnb.panel.state import Choice, Recipe

_UNNAMED = "# df is the table that the panel was given"


class Code(NamedTuple):
    """A run as code."""

    python: str
    cell: str
    """The ``%%hfnb`` cell; it needs ``%load_ext hfnb`` before it."""


def code_of(recipe: Recipe) -> Code:
    """Return the code that repeats a run.

    Raises:
        TemplateError: The prompt has no column, or is no template.
    """
    return Code(_python(recipe), _cell(recipe))


def bound_options(recipe: Recipe) -> dict[str, Any]:
    """Return what a chain binds to the model to generate as the run does."""
    chat = recipe.asking.use_chat
    return {**recipe.options, **({} if chat is None else {"chat": chat})}


def messages_of(recipe: Recipe) -> list[tuple[str, str]]:
    """Return the messages of a chat prompt, where there is a system message; else none."""
    system = recipe.asking.system
    if not system:
        return []
    return [("system", escape_braces(system)), ("user", recipe.asking.prompt)]


def _python(recipe: Recipe) -> str:
    asking, choice = recipe.asking, recipe.choice or Choice(recipe.model)
    name = asking.table if asking.table.isidentifier() else "df"
    run = {"into": asking.into} if asking.into != "output" and not asking.fields else {}
    schema = python_of(asking)
    if asking.system:
        run["system"] = asking.system
    limit = {} if recipe.limit is None else {"limit": recipe.limit}
    columns = list(Template(asking.prompt).columns)
    bound = _arguments(bound_options(recipe))
    model = f"llm.bind({', '.join(bound)})" if bound else "llm"
    if schema:
        model = f"llm.with_structured_output({', '.join([schema, *bound])})"
    messages = messages_of(recipe)
    kind = "ChatPromptTemplate" if messages else "PromptTemplate"
    made = (
        f"{kind}.from_messages([{messages[0]!r}, ('user', prompt)])"
        if messages
        else f"{kind}.from_template(prompt)"
    )
    rows = f"{name}[{columns!r}]" + ("" if recipe.limit is None else f".head({recipe.limit})")
    held = [f"schema={schema}"] if schema else []
    told = ["", *held, *_arguments({**run, **bound_options(recipe), **limit})]
    return "\n".join(
        [
            *(["import datetime", ""] if "datetime." in schema else []),
            "import hfnb",
            "",
            *([] if asking.table.isidentifier() else [_UNNAMED]),
            f"llm = hfnb.load({', '.join([repr(choice.model), *_arguments(choice.arguments())])})",
            f"prompt = {_text(asking.prompt)}",
            f"result = hfnb.run({name}, prompt, llm{', '.join(told)})",
            "result.data",
            "",
            "# The same as a LangChain chain:",
            f"from langchain_core.prompts import {kind}",
            "",
            f"chain = {made} | {model}",
            f'answers = chain.batch({rows}.to_dict("records"))',
        ]
    )


def _cell(recipe: Recipe) -> str:
    asking, choice = recipe.asking, recipe.choice or Choice(recipe.model)
    if asking.prompt != asking.prompt.strip("\r\n"):
        return "# A cell drops empty lines around its prompt, and this one needs them: use Python."
    words = [asking.table if asking.table.isidentifier() else "df"]
    told: dict[str, Any] = {"model": choice.model, **choice.arguments(), "into": asking.into}
    if asking.fields:
        told["schema"] = inline_of(asking)
        del told["into"]
        if told["schema"] is None:
            return "# A line can't hold the names or choices of the fields: use Python."
    if asking.system:
        told["system"] = asking.system
    options = bound_options(recipe)
    chat = options.pop("chat", None)
    told |= options
    if recipe.limit is not None:
        told["limit"] = recipe.limit
    for option, value in told.items():
        for each in value if isinstance(value, (list, tuple)) else (value,):
            word = _word(escape(each) if option in ("stop", "system") else str(each))
            if word is None:
                return f"# A line can't hold {option}={each!r}: use Python."
            words += [f"--{option.replace('_', '-')}", word]
    if chat is not None:
        words.append("--chat" if chat else "--no-chat")
    return f"%%hfnb {' '.join(words)}\n{asking.prompt}"


def _arguments(values: dict[str, Any]) -> list[str]:
    return [f"{name}={value!r}" for name, value in values.items()]


def _text(text: str) -> str:
    """Return a text as Python writes it: over several lines where it has them."""
    plain = '"""' not in text and "\\" not in text and not text.endswith('"')
    if "\n" in text and plain and text.replace("\n", "").isprintable():
        return f'"""\\\n{text}"""'
    return repr(text)


def _word(text: str) -> str | None:
    """Return a text as a word of a magic's line; ``None`` where a line can't hold it.

    IPython puts variables into a line where it has braces or a dollar sign.
    """
    if set(text) & set("{}$"):
        return None
    if text and text[0] != "-" and not any(each.isspace() or each in "\"'" for each in text):
        return text
    quote = next((each for each in "\"'" if each not in text), None)
    return None if quote is None else f"{quote}{text}{quote}"
