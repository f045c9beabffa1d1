"""What the tests of runs share."""

import threading
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

import hfnb
from hfnb.engines.base import Chat, Request


class Recorder(hfnb.EchoEngine):
    """An echo engine that keeps the requests and the generation options it was given."""

    asked: list[Request]
    generation: Any

    def generate(self, requests: Iterable[Request], generation: Any, **options: Any) -> Any:
        self.asked, self.generation = [], generation

        def noted() -> Iterator[Request]:
            for request in requests:
                self.asked.append(request)
                yield request

        return super().generate(noted(), generation, **options)


def echo(df: pd.DataFrame, prompt: Any, **options: Any) -> hfnb.RunResult:
    """Run with an echo engine, so that a row's output is its prompt."""
    return hfnb.run(df, prompt, hfnb.EchoEngine(), progress=False, **options)


def echo_chain(df: pd.DataFrame, chain: Any, **options: Any) -> hfnb.RunResult:
    return hfnb.run(df, chain, progress=False, **options)


def prompt_of_cell(value: Any, template: str = "<{x}>", **options: Any) -> Any:
    """Return the prompt that one cell makes; NA where it made none."""
    return prompts_of_column(pd.Series([value], dtype=object), template, **options)[0]


def prompts_of_column(values: Any, template: str = "<{x}>", **options: Any) -> list[Any]:
    return echo(pd.DataFrame({"x": values}), template, **options).data["output"].tolist()


def workers() -> list[str]:
    """Return the threads of runs that have not ended; a panel's is for the whole process."""
    names = [each.name for each in threading.enumerate()]
    return [each for each in names if each.startswith("hfnb-") and each != "hfnb-panel"]


def said(request: Request) -> list[tuple[str, str]]:
    """Return the messages that an engine was asked with: role and text."""
    assert isinstance(request.prompt, Chat)
    return [(each.role, each.content) for each in request.prompt.messages]
