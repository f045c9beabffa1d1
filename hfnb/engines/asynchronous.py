"""Await an engine: its generator runs in a thread, its pieces arrive in the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable
from typing import Literal

from hfnb.engines.base import Completion, Delta, Engine, Request, Work
from hfnb.spec import GenerationSpec


class _End:
    """The generator has ended, with an error or without."""

    def __init__(self, problem: BaseException | None = None) -> None:
        self.problem = problem


async def agenerate(
    engine: Engine,
    requests: Iterable[Request],
    generation: GenerationSpec,
    *,
    batch_size: int | Literal["auto"] = "auto",
    stream: bool = False,
    work: Work | None = None,
) -> AsyncGenerator[Completion | Delta, None]:
    """Yield what `Engine.generate` yields, without blocking the event loop.

    Calls that are awaited side by side are computed together where the engine can. Closing the
    generator, or cancelling the task that awaits it, ends the computation within one decoding
    step.

    Args:
        engine: Who answers.
        requests: What to answer. They are drawn in the thread.
        generation: How to generate.
        batch_size: The most rows at a time, or ``"auto"``.
        stream: Yield a `Delta` for each piece of new text too.
        work: Filled with what was computed.

    Raises:
        HfnbError: What makes every row fail, as in `Engine.generate`.
    """
    loop = asyncio.get_running_loop()
    pieces: asyncio.Queue[Completion | Delta | _End] = asyncio.Queue()
    cancel = threading.Event()

    def put(piece: Completion | Delta | _End) -> None:
        try:
            loop.call_soon_threadsafe(pieces.put_nowait, piece)
        except RuntimeError:  # the event loop was closed: nobody waits any more
            cancel.set()

    def run() -> None:
        problem: BaseException | None = None
        try:
            for piece in engine.generate(
                requests,
                generation,
                batch_size=batch_size,
                cancel=cancel,
                stream=stream,
                work=work,
            ):
                put(piece)
        except BaseException as error:
            problem = error
        put(_End(problem))

    threading.Thread(target=run, name="hfnb-async", daemon=True).start()
    try:
        while not isinstance(piece := await pieces.get(), _End):
            yield piece
        if piece.problem is not None:
            raise piece.problem
    finally:
        cancel.set()
