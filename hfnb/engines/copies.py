"""Several copies of one model, each on a device of its own, that share the rows of a call."""

from __future__ import annotations

import dataclasses
import queue
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

from hfnb.engines import loaded
from hfnb.engines.base import Chat, Completion, Delta, Engine, EngineInfo, Prompt, Request, Work
from hfnb.engines.deal import Deal
from hfnb.spec import GenerationSpec, ModelSpec

_SUMMED = (
    *("forwards", "prompt_tokens", "shared_tokens", "padding_tokens", "new_tokens", "batches"),
    *("recomputed_rows", "memory_backoffs"),
)


class Copies:
    """An engine over engines; see `hfnb.engines.base.Engine`.

    Args:
        engines: The copies, in the order of their devices.
        spec: What they were loaded by.
    """

    def __init__(self, engines: Sequence[Engine], spec: ModelSpec) -> None:
        self._engines = tuple(engines)
        self._spec = spec
        first, every = engines[0].info, [each.info for each in engines]
        note = f"{len(engines)} copies share the rows"
        self.info: EngineInfo = dataclasses.replace(
            first,
            device=", ".join(each.device for each in every),
            load_s=max(each.load_s for each in every),
            weight_bytes=sum(each.weight_bytes for each in every),
            note="; ".join(filter(None, (first.note, note))),
        )

    def generate(
        self,
        requests: Iterable[Request],
        generation: GenerationSpec,
        *,
        batch_size: int | Literal["auto"] = "auto",
        cancel: threading.Event | None = None,
        stream: bool = False,
        work: Work | None = None,
    ) -> Iterator[Completion | Delta]:
        """Yield completions of all copies as they come; rows are dealt out in turn."""
        self.options_in_force(generation)  # what is wrong for one is wrong for all
        deal = Deal(requests, len(self._engines))
        stop = _Either(cancel)
        works = [Work() for _ in self._engines]
        answers: queue.SimpleQueue[Completion | Delta | BaseException | None] = queue.SimpleQueue()

        def answer(at: int) -> None:
            try:
                for each in self._engines[at].generate(
                    deal.hand(at),
                    generation,
                    batch_size=batch_size,
                    cancel=stop,
                    stream=stream,
                    work=works[at],
                ):
                    answers.put(each)
                    deal.answered(at)
            except BaseException as error:  # it belongs to the caller, in another thread
                answers.put(error)
            finally:
                answers.put(None)

        threads = [
            threading.Thread(target=answer, args=(at,), name=f"hfnb-copy-{at}", daemon=True)
            for at in range(len(self._engines))
        ]
        return self._gather(threads, answers, stop, works, work)

    def _gather(
        self,
        threads: Sequence[threading.Thread],
        answers: queue.SimpleQueue[Completion | Delta | BaseException | None],
        stop: threading.Event,
        works: Sequence[Work],
        work: Work | None,
    ) -> Iterator[Completion | Delta]:
        for each in threads:
            each.start()
        try:
            left = len(threads)
            while left:
                answer = answers.get()
                if answer is None:
                    left -= 1
                elif isinstance(answer, BaseException):
                    raise answer
                else:
                    yield answer
        finally:
            stop.set()
            for each in threads:
                each.join()
            if work is not None:
                _add(work, works)

    @property
    def fingerprint(self) -> str:
        """What tells this model from any other: the copies are equal."""
        return self._engines[0].fingerprint

    def options_in_force(self, generation: GenerationSpec) -> dict[str, Any]:
        """Return the options of a call, the checkpoint's own among them."""
        return self._engines[0].options_in_force(generation)

    def token_ids(self, prompt: Prompt) -> list[int]:
        """Return a prompt's tokens, special ones included."""
        return self._engines[0].token_ids(prompt)

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of tokens of a prompt, special ones included."""
        return self._engines[0].count_tokens(prompt)

    def render(self, chat: Chat) -> str:
        """Return a chat's text, as the model's chat template writes it."""
        return self._engines[0].render(chat)

    def __reduce__(self) -> Any:
        """Pickle how they were loaded, not the weights."""
        from hfnb.engines.registry import load_engine

        return load_engine, (self._spec,)

    def __deepcopy__(self, memo: dict[int, Any]) -> Copies:
        """Return itself: copies of what uses an engine share it."""
        return self

    def close(self) -> None:
        """Give the memory of all copies back."""
        for each in self._engines:
            each.close()
        loaded.forget(self)


class _Either(threading.Event):
    """Set when it is set itself, and when the caller's event is."""

    def __init__(self, other: threading.Event | None) -> None:
        super().__init__()
        self._other = other

    def is_set(self) -> bool:
        return super().is_set() or (self._other is not None and self._other.is_set())


def _add(work: Work, works: Sequence[Work]) -> None:
    """Add up what the copies have computed."""
    for name in _SUMMED:
        setattr(work, name, getattr(work, name) + sum(getattr(each, name) for each in works))
    work.batch_rows = max(work.batch_rows, *(each.batch_rows for each in works))
    work.path = next((each.path for each in works if each.path), work.path)
