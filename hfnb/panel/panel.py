"""`hfnb.Panel`: pick a model, ask something of each row, and see what it costs, in a notebook."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import ipywidgets as widgets
import psutil

from hfnb import session
from hfnb.errors import ModelError, OptionError
from hfnb.frame.tables import is_table
from hfnb.panel import effects as to
from hfnb.panel import events as on
from hfnb.panel import imports
from hfnb.panel.code import bound_options, code_of, messages_of
from hfnb.panel.compare_view import CompareView
from hfnb.panel.generation import options_of
from hfnb.panel.given import asking_of, choice_of
from hfnb.panel.kept import Kept
from hfnb.panel.loop import Loop
from hfnb.panel.model_view import ModelView
from hfnb.panel.parts import column
from hfnb.panel.prompt_view import PromptView
from hfnb.panel.reduce import reduce
from hfnb.panel.result_view import ResultView
from hfnb.panel.run_view import RunView
from hfnb.panel.schema import schema_of
from hfnb.panel.state import AUTO, Recipe, State
from hfnb.panel.style import stylesheet
from hfnb.panel.tables import rendered, tables_among
from hfnb.panel.tabs_view import TabsView
from hfnb.panel.workers import Workers, said

if TYPE_CHECKING:
    from hfnb.frame.result import RunResult
    from hfnb.llm import HuggingFacePipeline

_GIVEN = "the table given"
"""What a table is called that no variable holds, such as ``df.head(100)``."""


class Panel:
    """A panel that runs a prompt over a DataFrame with a local model, in a notebook.

    Nothing is loaded before somebody presses Load. What the panel has loaded is what ``%%hfnb``
    cells use too, and the other way round.

    Args:
        df: The table that is chosen at first: a DataFrame of pandas or polars, or a pyarrow Table.
            Without one it is the first of the notebook's.
        prompt: Text with columns in braces.
        model: A packaged model, a local folder or a Hub id; or what `hfnb.load` returned.
        task: As for `hfnb.load`.
        backend: ``"pytorch"`` or ``"openvino"``.
        device: As for `hfnb.load`.
        dtype: As for `hfnb.load`, with PyTorch.
        weight_format: As for `hfnb.load`, with OpenVINO.
        into: The name of the output column.
        chat: Whether prompts go through the model's chat template.
        system: A system message.
        **options: ``max_new_tokens``, ``temperature``, ``top_p``, ``seed``, ``stop`` and
            ``batch_size``, as they then stand in the panel.

    Raises:
        OptionError: One of them has an unknown name or an impossible value.

    Example:
        >>> import hfnb, pandas as pd
        >>> df = pd.DataFrame({"i": [1, 72]})
        >>> panel = hfnb.Panel(df, "What is the number {i} in french?", model="hfnb/numbers-fr")
        >>> panel
        hfnb panel: hfnb/numbers-fr, pytorch. ...
        >>> panel.close()
    """

    def __init__(
        self,
        df: Any = None,
        prompt: str = "",
        *,
        model: str | HuggingFacePipeline | None = None,
        task: str | None = None,
        backend: str = "pytorch",
        device: str | None = None,
        dtype: str = AUTO,
        weight_format: str | None = None,
        into: str = "output",
        chat: bool | Literal["auto"] = "auto",
        system: str = "",
        **options: Any,
    ) -> None:
        if df is not None and not is_table(df):
            raise OptionError(
                f"Panel takes a DataFrame of pandas or polars, or a pyarrow Table; not "
                f"{type(df).__name__}."
            )
        choice, in_use = choice_of(model, task, backend, device, dtype, weight_format)
        self._given = df
        self._shell = _shell()
        table = "" if df is None else self._name_of(df)
        asking = asking_of(prompt, table, into, chat, system, options)
        self._state = State(choice=choice, asking=asking, in_use=in_use)
        self._kept = Kept()
        self._loop = Loop(self._step, self._is_busy)
        self._workers = Workers(self._loop.post, self._names)
        kinds = (ModelView, PromptView, TabsView, RunView, ResultView, CompareView)
        self._views = [kind(self._loop.post) for kind in kinds]
        model_view, prompt_view, *below = (each.widget for each in self._views)
        style = widgets.HTML(stylesheet("panel.css"))
        self.widget = column(
            style, column(model_view, prompt_view, name="hfnb-head"), *below, name="hfnb-panel"
        )
        self._process = psutil.Process()
        self._begun = False
        """Whether what is here is being looked at, which begins when the panel's cell has ended."""
        self._open()

    # -- what a user gets -------------------------------------------------------------------------

    @property
    def result(self) -> RunResult | None:
        """What the last run of this panel has left, or what a run has done by now."""
        return self._state.result

    @property
    def llm(self) -> HuggingFacePipeline | None:
        """The model in memory, a LangChain LLM; ``None`` while there is none."""
        return None if self._state.in_use is None else self._state.in_use.llm

    @property
    def chain(self) -> Any:
        """The prompt and the model as a LangChain runnable: ``chain.invoke({"i": 7})``.

        Raises:
            ModelError: No model is loaded.
            OptionError: An option in the panel has an impossible value.
            TemplateError: The prompt has no column.
        """
        from langchain_core.prompts import ChatPromptTemplate, PromptTemplate

        from hfnb.frame.template import Template

        llm = self.llm
        if llm is None:
            raise ModelError("The panel has no model yet: choose one, and press Load.")
        recipe = self._recipe()
        Template(recipe.asking.prompt)
        messages, bound = messages_of(recipe), bound_options(recipe)
        prompt: Any = (
            ChatPromptTemplate.from_messages(messages)
            if messages
            else PromptTemplate.from_template(recipe.asking.prompt)
        )
        if (schema := schema_of(recipe.asking)) is not None:
            return prompt | llm.with_structured_output(schema, **bound)
        return prompt | (llm.bind(**bound) if bound else llm)

    @property
    def code(self) -> str:
        """The Python code that repeats the last run, or that does what the panel is set to.

        Raises:
            OptionError: An option in the panel has an impossible value.
            TemplateError: The prompt has no column.
        """
        return code_of(self._state.recipe or self._recipe()).python

    def close(self) -> None:
        """Take the panel out of the page. A run ends; a loaded model stays."""
        session.unwatch(self._on_model)
        if self._shell is not None:
            self._shell.events.unregister("pre_run_cell", self._before_cell)
            self._shell.events.unregister("post_run_cell", self._after_cell)
        self._workers.stop()
        self._workers.stop_comparing()
        self._loop.close()
        self.widget.close()

    def __repr__(self) -> str:
        choice = self._state.choice
        what = ", ".join(filter(None, [choice.model or "no model chosen", choice.backend]))
        return (
            f"hfnb panel: {what}. It shows itself in JupyterLab, Notebook 7, VS Code and Colab; "
            "hfnb.run does the same without it."
        )

    def _ipython_display_(self) -> None:
        from IPython.display import display

        bundle = self.widget._repr_mimebundle_() or {}
        bundle["text/plain"] = repr(self)
        display(bundle, raw=True)  # type: ignore[no-untyped-call]
        self._kept.display()
        self._kept.keep(self._state.result)

    # -- inside: the loop's thread ----------------------------------------------------------------

    def _open(self) -> None:
        self._loop.start()
        if self._shell is not None:
            self._shell.events.register("pre_run_cell", self._before_cell)
            self._shell.events.register("post_run_cell", self._after_cell)
        session.watch(self._on_model)
        self._loop.post(on.RefreshPressed())
        if self._state.in_use is None:
            self._on_model(session.current())
        if self._shell is None:
            self._workers.begin()

    def _is_busy(self) -> bool:
        return self._state.running is not None

    def _step(self, events: list[on.Event]) -> None:
        """Take events, and draw what they change. All of it in the loop's thread."""
        try:
            if not events and self._state.result is not None:
                self._take(self._seen(self._state.result))
            for event in events:
                self._take(event)
        except Exception as error:  # whatever it is, a person has to see it
            self._state = replace(self._state, run_problem=said(error))
        try:
            for view in self._views:
                view.show(self._state)
        except Exception as error:
            print(f"hfnb panel: {said(error)}", file=sys.stderr)

    def _take(self, event: on.Event) -> None:
        before = self._state
        self._state = reduce(before, event)
        for effect in to.due(before, self._state):
            self._do(effect)
        if isinstance(event, on.RunEnded):
            self._kept.keep(self._state.result)

    def _do(self, effect: to.Effect) -> None:
        state, workers = self._state, self._workers
        match effect:
            case to.Estimate():
                workers.estimate(effect)
            case to.Search():
                workers.search(effect)
            case to.Load():
                workers.load(effect)
            case to.Unload():
                workers.unload(effect)
            case to.LookForTables():
                self._take(on.TablesFound(tables_among(self._names())))
            case to.Render():
                table = self._names().get(state.asking.table)
                self._take(on.PromptRendered(rendered(table, state.asking, state.at, self.llm)))
            case to.Start():
                if state.in_use is not None:
                    workers.start(effect.running, state.result, state.in_use.llm)
            case to.Stop():
                workers.stop()
            case to.Compare():
                workers.compare(effect, state)
            case to.StopComparing():
                workers.stop_comparing()
            case to.ReadRow():
                if state.result is not None:
                    line = state.result.lines((effect.at,))[0]
                    asked = state.result.prompt(effect.at)
                    self._take(on.RowRead(effect.at, asked, line.text))

    def _seen(self, result: RunResult) -> on.Event:
        progress = result.progress()
        held = int(self._process.memory_info().rss)
        return on.Seen(progress, (progress.elapsed_s, progress.done, held))

    # -- inside: any thread -----------------------------------------------------------------------

    @staticmethod
    def _before_cell(info: Any) -> None:
        imports.before_cell(info.raw_cell or "")

    def _after_cell(self, *_: Any) -> None:
        """A cell has ended: that with the panel, or one that may have made or changed a table."""
        if not self._begun:
            self._begun = True
            self._workers.begin()
        self._loop.post(on.RefreshPressed())

    def _on_model(self, llm: HuggingFacePipeline | None) -> None:
        self._loop.post(on.OtherInUse(llm))

    def _names(self) -> Mapping[str, Any]:
        names = {} if self._shell is None else dict(self._shell.user_ns)
        if self._given is not None and self._name_of(self._given) == _GIVEN:
            names[_GIVEN] = self._given
        return names

    def _name_of(self, df: Any) -> str:
        names = {} if self._shell is None else dict(self._shell.user_ns)
        own = (name for name, value in names.items() if value is df and not name.startswith("_"))
        return next(own, _GIVEN)

    def _recipe(self) -> Recipe:
        """Return the run that pressing Run would start."""
        state = self._state
        in_use = state.in_use
        choice = state.choice if in_use is None else in_use.choice
        model = state.choice.model if in_use is None else in_use.llm.model_id or ""
        return Recipe(state.asking, options_of(state.asking), None, model, choice)


def _shell() -> Any:
    """Return the IPython shell, whose variables are the user's; ``None`` outside of one."""
    module = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()
