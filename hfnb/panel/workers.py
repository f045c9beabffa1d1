"""What takes time, in threads of their own: each posts its news, and none touches a widget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from hfnb import session, steps
from hfnb.engines.fits import anyway
from hfnb.engines.shortage import give_back
from hfnb.errors import HfnbError
from hfnb.frame.progress import Progress
from hfnb.panel import effects as to
from hfnb.panel import events as on
from hfnb.panel import imports
from hfnb.panel.comparing import compared, recommended
from hfnb.panel.schema import schema_of
from hfnb.panel.state import AUTO, Choice, Memory, Running, State

if TYPE_CHECKING:
    from hfnb.estimating import Estimate
    from hfnb.frame.result import RunResult
    from hfnb.llm import HuggingFacePipeline

_TYPING_S = 0.35
"""Seconds without a key after which a name is taken to be typed."""


class Workers:
    """Does what takes time.

    Args:
        post: Takes news; any thread may call it.
        names: Returns the user's variables.
    """

    def __init__(
        self, post: Callable[[on.Event], None], names: Callable[[], Mapping[str, Any]]
    ) -> None:
        self._post = post
        self._names = names
        self._latest: dict[type, int] = {}
        self._stop, self._stop_comparing = threading.Event(), threading.Event()
        self._result: RunResult | None = None

    def begin(self) -> None:
        """Look at what is here, while nobody waits for it."""
        for work in (self._find_models, self._find_devices):
            self._in_thread(work)

    def estimate(self, effect: to.Estimate) -> None:
        """Estimate the memory for a choice, once no more is typed."""
        self._when_typed(effect, lambda: self._post(_estimated(effect.choice)))

    def search(self, effect: to.Search) -> None:
        """Ask the Hub, once no more is typed."""
        self._when_typed(effect, lambda: self._post(_searched(effect.query, effect.task)))

    def load(self, effect: to.Load) -> None:
        """Load a model, and make it the one that panel and magics share."""
        self._in_thread(lambda: self._load(effect))

    def unload(self, effect: to.Unload) -> None:
        """Give a model's memory back."""
        self._in_thread(lambda: self._unload(effect.in_use.llm))

    def start(self, running: Running, before: RunResult | None, llm: HuggingFacePipeline) -> None:
        """Start a run, or run rows of the result ``before`` again."""
        self._stop.clear()
        self._in_thread(lambda: self._run(running, before, llm))

    def stop(self) -> None:
        """End the run, also one that has not begun yet."""
        self._stop.set()
        if self._result is not None:
            self._result.cancel()

    def compare(self, effect: to.Compare, state: State) -> None:
        """Measure candidates, or the ways to run a model, each in a process of its own."""
        self._stop_comparing.clear()
        self._in_thread(lambda: self._compare(state, fastest=effect.fastest))

    def stop_comparing(self) -> None:
        """End the comparison."""
        self._stop_comparing.set()

    # -- in the threads ---------------------------------------------------------------------------

    def _in_thread(self, work: Callable[[], None]) -> None:
        def guarded() -> None:
            try:
                work()
            except Exception as error:
                self._post(on.Failed(said(error)))

        threading.Thread(target=guarded, name="hfnb-panel-worker", daemon=True).start()

    def _when_typed(self, effect: object, work: Callable[[], None]) -> None:
        """Do some work after a while, unless the same kind of work was asked for since."""
        kind = type(effect)
        number = self._latest[kind] = self._latest.get(kind, 0) + 1

        def later() -> None:
            time.sleep(_TYPING_S)
            imports.wait_for_first()
            if self._latest[kind] == number:
                work()

        self._in_thread(later)

    def _find_models(self) -> None:
        imports.wait_for_first()
        from hfnb.catalogue.listing import models

        found = models(source=("packaged", "exports", "cache", "folders"))
        self._post(on.Found(tuple(found)))

    def _find_devices(self) -> None:
        from hfnb.machine import devices

        self._post(on.DevicesFound(devices()))

    def _load(self, effect: to.Load) -> None:
        choice, began = effect.loading.choice, time.perf_counter()
        self._post(on.Stepped("importing PyTorch and transformers"))
        imports.wait_for_all()
        if not effect.fits_beside:  # nobody else may hold the one before: then it goes now
            session.use(None)
            give_back()
        try:
            with steps.told_to(lambda step: self._post(on.Stepped(step))):
                if effect.loading.anyway:
                    with anyway():
                        llm = _loaded(choice)
                else:
                    llm = _loaded(choice)
        except Exception as error:
            self._post(on.LoadFailed(said(error)))
            return
        session.use(llm)  # first: whoever sees it in the panel finds it in the session
        self._post(on.Loaded(llm, time.perf_counter() - began))
        give_back()

    def _unload(self, llm: HuggingFacePipeline) -> None:
        try:
            note = repr(session.unload(llm))
        except Exception as error:
            note = said(error)
        self._post(on.Unloaded(note))

    def _run(self, running: Running, before: RunResult | None, llm: HuggingFacePipeline) -> None:
        result, problem, warned = None, "", list[str]()
        try:
            result = self._result = self._started(running, before, llm)
            self._post(on.RunBegan(result, running.recipe))
            if self._stop.is_set():
                result.cancel()
            result.wait(warn=warned.append)
        except Exception as error:
            problem = said(error)
        finally:
            self._result = None
        self._post(on.RunEnded(result, problem or " ".join(warned)))

    def _compare(self, state: State, *, fastest: bool) -> None:
        try:
            measure = recommended if fastest else compared
            table = self._names()[state.asking.table]
            tell = self._tell_comparing
            self._post(measure(table, state, tell, self._stop_comparing))
        except Exception as error:
            self._post(on.Compared(problem=said(error)))

    def _tell_comparing(self, progress: Progress) -> None:
        self._post(on.CompareTold(progress))

    def _started(
        self, running: Running, before: RunResult | None, llm: HuggingFacePipeline
    ) -> RunResult:
        from hfnb.frame.run import run

        recipe, asking = running.recipe, running.recipe.asking
        if running.again and before is not None:
            return before.retry(running.again, llm=llm, progress=False, wait=False)
        result: RunResult = run(
            self._names()[asking.table],
            asking.prompt,
            llm,
            into=asking.into,
            chat=asking.use_chat,
            system=asking.system or None,
            limit=recipe.limit,
            schema=schema_of(asking),
            progress=False,
            wait=False,
            **recipe.options,
        )
        return result


def said(error: BaseException) -> str:
    """Return an error as one line: hfnb's own say all that is needed, others also what they are."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines)
    return text if isinstance(error, HfnbError) else f"{type(error).__name__}: {text}".rstrip(": ")


def _loaded(choice: Choice) -> HuggingFacePipeline:
    from hfnb.loading import load

    return load(choice.model, **choice.arguments())


def _estimated(choice: Choice) -> on.Estimated:
    from hfnb.estimating import estimate

    try:
        found = estimate(choice.model, **choice.arguments())
        return on.Estimated(choice, Memory(found, advice=_advice(choice, found)))
    except HfnbError as error:
        return on.Estimated(choice, Memory(why_not=said(error)))


def _advice(choice: Choice, found: Estimate) -> str:
    """Return that OpenVINO would be faster, where it would."""
    from hfnb.engines.telling import openvino_advice
    from hfnb.hub import find
    from hfnb.spec import ModelSpec, check_task

    if found.backend != "pytorch" or found.device != "cpu":
        return ""
    try:
        task = find(ModelSpec(choice.model, load_options=(("local_files_only", True),))).task
    except HfnbError:  # it is on the Hub
        task = check_task(None if choice.task == AUTO else choice.task) or "text-generation"
    return openvino_advice(choice.model, task, found.parameters)


def _searched(query: str, task: str) -> on.Searched:
    from hfnb.catalogue.listing import models

    found = models(query, None if task == AUTO else task, source="hub")
    return on.Searched(query, tuple(found), " ".join(found.notes))
