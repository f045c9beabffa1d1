"""The public fake: an engine without weights, with known answers and chosen delays and faults.

For tests of code that uses hfnb, for documentation, and for measuring what hfnb itself costs.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal

from hfnb.engines.base import (
    Chat,
    Completion,
    Delta,
    EngineInfo,
    FinishReason,
    Prompt,
    Request,
    Work,
)
from hfnb.engines.stopping import cut_at_stop
from hfnb.errors import EngineError, PromptTooLongError
from hfnb.spec import GenerationSpec, Task


def _text_of(prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return "\n".join(message.content for message in prompt.messages)


class EchoEngine:
    """Answers every prompt at once with a known text. Its tokens are words.

    Args:
        answer: Makes the answer from the prompt's text. By default the answer is the prompt.
        delay_s: Seconds that each row takes. Cancelling interrupts the wait.
        fail: Says for which prompts the row fails with an `EngineError`.
        context_length: The most words in a prompt; longer ones fail with `PromptTooLongError`.
        task: The task it claims to have.
        fingerprint: A name under which its answers are kept in a journal; without one they aren't.

    Example:
        >>> import hfnb, pandas as pd
        >>> llm = hfnb.EchoEngine(answer=str.upper)
        >>> hfnb.run(pd.DataFrame({"x": ["a", "b"]}), "row {x}", llm, progress=False).data
           x output
        0  a  ROW A
        1  b  ROW B
    """

    def __init__(
        self,
        answer: Callable[[str], str] | None = None,
        *,
        delay_s: float = 0.0,
        fail: Callable[[str], bool] | None = None,
        context_length: int | None = None,
        task: Task = "text-generation",
        fingerprint: str = "",
    ) -> None:
        self._answer = answer
        self._delay_s = delay_s
        self._fail = fail
        self.fingerprint = fingerprint
        self.calls = 0
        """Rows that were really answered; cancelled and refused ones do not count."""
        self.info = EngineInfo(
            engine="echo",
            backend="echo",
            model="hfnb/echo",
            task=task,
            device="cpu",
            dtype="none",
            parameters=0,
            context_length=context_length,
            has_chat_template=True,
            load_s=0.0,
            template_variables=frozenset({"messages", "tools"}),
        )

    def options_in_force(self, generation: GenerationSpec) -> dict[str, Any]:
        """Return the caller's options: it has none of its own."""
        return dict(generation.options)

    def token_ids(self, prompt: Prompt) -> list[int]:
        """Return a number for each word."""
        return [zlib.crc32(word.encode()) for word in _text_of(prompt).split()]

    def render(self, chat: Chat) -> str:
        """Return the messages' texts, a line each."""
        return _text_of(chat)

    def count_tokens(self, prompt: Prompt) -> int:
        """Return the number of words."""
        return len(_text_of(prompt).split())

    def close(self) -> None:
        """Do nothing: there is no memory to give back."""

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
        """Answer row by row; see `hfnb.engines.base.Engine`."""
        del batch_size  # every row is its own batch
        work = Work() if work is None else work
        cancel = threading.Event() if cancel is None else cancel
        limit, stop = generation.get("max_new_tokens"), generation.stop
        context_length = self.info.context_length
        began = time.perf_counter()
        for request in requests:
            if cancel.is_set():
                return
            start = time.perf_counter()
            prompt = _text_of(request.prompt)
            tokens = len(prompt.split())
            if context_length is not None and tokens > context_length:
                too_long = PromptTooLongError(
                    f"The prompt has {tokens} tokens, the model's context holds {context_length}.",
                    option="truncation='value'",
                )
                yield Completion(request.row, None, None, too_long, tokens)
                continue
            if self._delay_s and cancel.wait(self._delay_s):
                return
            self.calls += 1
            if self._fail is not None and self._fail(prompt):
                error = EngineError("The echo engine was told to fail on this prompt.")
                yield Completion(request.row, None, None, error, tokens)
                continue
            text = prompt if self._answer is None else self._answer(prompt)
            reason: FinishReason = "eos"
            words = text.split()
            if limit is not None and len(words) > limit:
                words = words[:limit]
                text, reason = " ".join(words), "length"
            if stop:
                text, stopped = cut_at_stop(text, stop)
                if stopped:
                    reason = "stop"
                    words = text.split()
            work.forwards += 1
            work.batches += 1
            work.batch_rows = 1
            work.prompt_tokens += tokens
            work.new_tokens += len(words)
            if stream:
                yield Delta(request.row, text, len(words))
            now = time.perf_counter()
            yield Completion(
                request.row, text, reason, None, tokens, len(words), start - began, now - start, 1
            )
