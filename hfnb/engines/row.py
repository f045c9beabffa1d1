"""One request while it is being answered: its tokens, its text, and why it ended."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Protocol

from hfnb.engines.base import Completion, Delta, FinishReason
from hfnb.engines.stopping import cut_at_stop, safe_length
from hfnb.engines.text import GrowingText
from hfnb.errors import EngineError, RowError

if TYPE_CHECKING:
    from hfnb.engines.call import Call
    from hfnb.engines.prefixes import Prefix


class RowState(Protocol):
    """What an engine keeps for a row beside its tokens."""

    def accept(self, token: int) -> None:
        """Take note of the row's next token."""

    def restart(self) -> None:
        """Go back to the beginning: the row is tried again."""


@dataclasses.dataclass(eq=False)
class Row:
    """One request of a call."""

    call: Call
    index: int
    copy: int
    prompt_ids: list[int]
    most_new: int
    arrived: float
    truncated: int = 0
    """Tokens that were taken out of the prompt."""
    context_ids: list[int] = dataclasses.field(default_factory=list)
    """What stands before the new tokens: the prompt, or an encoder-decoder's start token."""
    state: RowState | None = None
    prefix: Prefix | None = None
    """The first tokens of the prompt, where an engine computes them for several rows at once."""
    problem: RowError | None = None
    """Why it failed."""
    new_ids: list[int] = dataclasses.field(default_factory=list)
    reason: FinishReason | None = None
    started: float = 0.0
    batch_rows: int = 1
    _growing: GrowingText | None = None
    _shown: int = 0

    @property
    def shared_tokens(self) -> int:
        """How many tokens of the prompt are computed for several rows at once."""
        return 0 if self.prefix is None else len(self.prefix)

    @property
    def own_tokens(self) -> int:
        """How many tokens of the prompt are computed for this row alone."""
        return len(self.prompt_ids) - self.shared_tokens

    def begin(self, now: float) -> None:
        """Note when its computation began; a row that is tried again began before."""
        self.started = self.started or now

    def restart(self) -> None:
        """Forget what was computed, but not what was shown: it comes out the same again."""
        self.new_ids = []
        self.reason = None
        self._growing = None
        if self.state is not None:
            self.state.restart()

    def give(self, token: int) -> Delta | None:
        """Add the next token; return what may be shown with it, when streaming."""
        call = self.call
        if self.state is not None:
            self.state.accept(token)
        if token in call.eos_ids:
            self.reason = "eos"
        else:
            self.new_ids.append(token)
            call.work.new_tokens += 1
            if len(self.new_ids) >= self.most_new:
                self.reason = "length"
        if not call.by_token:
            return None
        growing = self._grow()
        piece = growing.finish() if self.reason == "eos" else growing.add(token)
        if self.reason == "length":
            piece += growing.finish()
        if call.stop and piece:
            reach = len(piece) + max(map(len, call.stop))
            if cut_at_stop(growing.text[-reach:], call.stop)[1]:
                self.reason = "stop"
        return self._delta(growing) if call.stream else None

    def end(self, problem: RowError | None = None) -> Delta | None:
        """End the row where it stands, since nothing more may follow; as `give`."""
        self.reason = "eos"
        self.problem = problem
        if self._growing is None:
            return None
        self._growing.finish()
        return self._delta(self._growing) if self.call.stream else None

    def completion(self) -> Completion:
        """Return what the row has come to."""
        if self.problem is not None:
            return self.failure(self.problem)
        now = time.perf_counter()
        if self._growing is not None:
            text = self._growing.text
        else:
            text = self.call.text.new(self.context_ids, self.new_ids)
        text, _ = cut_at_stop(text, self.call.stop)
        return Completion(
            row=self.index,
            text=text,
            finish_reason=self.reason,
            prompt_tokens=len(self.prompt_ids),
            new_tokens=len(self.new_ids),
            queue_s=self.started - self.arrived,
            latency_s=now - self.started,
            batch_rows=self.batch_rows,
            copy=self.copy,
            truncated_tokens=self.truncated,
        )

    def failure(self, error: Exception) -> Completion:
        """Return the row's end by an error."""
        problem = error
        if not isinstance(problem, RowError):
            problem = EngineError(f"{type(error).__name__}: {error}")
            problem.__cause__ = error
        tokens = len(self.prompt_ids)
        return Completion(self.index, None, None, problem, tokens, copy=self.copy)

    def _grow(self) -> GrowingText:
        if self._growing is None:
            self._growing = GrowingText(self.call.text, self.context_ids)
        return self._growing

    def _delta(self, growing: GrowingText) -> Delta | None:
        text, _ = cut_at_stop(growing.text, self.call.stop)
        upto = len(text) if self.reason is not None else safe_length(text, self.call.stop)
        if upto <= self._shown:
            return None
        piece = text[self._shown : upto]
        self._shown = upto
        return Delta(self.index, piece, len(self.new_ids))
