"""One call of an engine: its rows, how they are generated, and their answers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Protocol

from hfnb.engines.base import Completion, Delta, Prompt, Request, Work
from hfnb.engines.batches import Rows
from hfnb.engines.limits import new_token_limit, prompt_room
from hfnb.engines.row import Row, RowState
from hfnb.engines.shorten import shorten
from hfnb.engines.text import TextDecoder
from hfnb.errors import EngineError, RowError
from hfnb.spec import GenerationSpec

LOOKAHEAD = 4096
"""Requests that are tokenised and sorted at a time."""


class Model(Protocol):
    """What calls and rows need to know of a model."""

    context_length: int | None

    @property
    def is_decoder(self) -> bool:
        """Whether the answer continues the prompt; in an encoder-decoder it stands apart."""

    @property
    def begin_id(self) -> int | None:
        """The token that a text begins with where a prompt has none."""

    def encode_each(
        self, prompts: Sequence[Prompt], generation: GenerationSpec
    ) -> list[list[int] | EngineError]:
        """Return the token ids of each prompt, or why it has none."""

    def encode(self, prompts: Sequence[Prompt]) -> list[list[int]]:
        """Return the token ids of prompts."""

    def tokenise(self, texts: list[str]) -> list[list[int]]:
        """Return the token ids of texts as they stand, with no special tokens added."""

    def text_decoder(self, keep: Sequence[str] = ()) -> TextDecoder:
        """Return what turns tokens into text; ``keep`` are special tokens that stay in it."""

    def start_ids(self, options: Mapping[str, Any]) -> list[int]:
        """Return what an encoder-decoder's answer begins with."""

    def eos_of(self, options: Mapping[str, Any]) -> frozenset[int]:
        """Return the tokens that end a row."""


class Settings(Protocol):
    """What an engine made of a call's options."""

    def state_of(self, row: Row) -> RowState | None:
        """Return what the engine keeps for a row."""


class Call:
    """Draws requests as they are needed and makes rows of them.

    The thread that called draws; whichever thread computes takes the rows and puts the answers
    into `out`. `Scheduler` says how the two share it.

    Args:
        model: Who answers.
        requests: What to answer.
        generation: How to generate.
        options: The generation options in force.
        settings: What the engine made of them.
        rows: How many rows to compute together.
        cancel: Set by another thread to end the call.
        stream: Whether pieces of text are wanted.
        work: Filled with what was computed.
    """

    def __init__(
        self,
        model: Model,
        requests: Iterable[Request],
        generation: GenerationSpec,
        options: dict[str, Any],
        settings: Settings,
        *,
        rows: Rows,
        cancel: threading.Event,
        stream: bool,
        work: Work,
    ) -> None:
        self.generation = generation
        self.options = options
        self.settings: Any = settings
        self.stop = generation.stop
        self.stream = stream
        self.by_token = stream or bool(generation.stop)
        """Whether each token is looked at as it comes."""
        self.cancel = cancel
        self.work = work
        self.eos_ids = model.eos_of(dict(generation.options))
        self.text = model.text_decoder(generation.keep_tokens)
        self._together = rows
        self.waiting: list[Row] = []
        """Rows that nothing was computed of, sorted by length, the longest last."""
        self.fresh: deque[list[Row]] = deque()
        """Rows that were drawn and are not yet in `waiting`."""
        self.unfinished: set[Row] = set()
        self.out: deque[Completion | Delta] = deque()
        self.woken = threading.Event()
        """Set when there is something in `out`, or something to do for the calling thread."""
        self.more = True
        """Whether requests may be left to draw."""
        self.left = False
        """Whether the caller has gone: its rows are to be dropped."""
        self._model = model
        self._source = iter(requests)
        self._room: int | None = None
        """The most tokens of a prompt, where longer ones are to be shortened."""
        if generation.get("truncation") == "value":
            self._room = prompt_room(options, model.context_length, shared=model.is_decoder)

    @property
    def done(self) -> bool:
        """Whether every request has its completion."""
        return not self.more and not self.unfinished

    @property
    def hungry(self) -> bool:
        """Whether it is time to draw requests."""
        return self.more and not self.fresh and len(self.waiting) < self._together.most

    @property
    def most_rows(self) -> int:
        """How many rows to compute together at most, by the longest that waits."""
        longest = self.waiting[-1].own_tokens if self.waiting else 0
        return self._together.for_prompts_of(longest)

    @property
    def few(self) -> bool:
        """Whether so few rows are left that they all fit at once."""
        return not self.more and len(self.waiting) <= self.most_rows

    def draw(self) -> None:
        """Draw requests and tokenise them; refuse those that can't be answered."""
        window = list(islice(self._source, LOOKAHEAD))
        self.more = len(window) == LOOKAHEAD
        rows = list(self._rows(window))
        self.unfinished.update(rows)
        if rows:
            self.fresh.append(rows)

    def line_up(self) -> None:
        """Put rows that were drawn in line, the longest last: it is taken first."""
        while self.fresh:
            self.waiting += self.fresh.popleft()
            self.waiting.sort(key=lambda row: len(row.prompt_ids))

    def wait_again(self, rows: Iterable[Row]) -> None:
        """Put rows that must be computed again back in line."""
        for row in rows:
            row.restart()
            self.waiting.append(row)
            self.work.recomputed_rows += 1
        self.waiting.sort(key=lambda row: len(row.prompt_ids))

    def finish(self, row: Row, completion: Completion) -> None:
        """Hand out a row's end."""
        self.unfinished.discard(row)
        self.out.append(completion)

    def _rows(self, requests: list[Request]) -> Iterator[Row]:
        arrived = time.perf_counter()
        model = self._model
        encoded = model.encode_each([request.prompt for request in requests], self.generation)
        for request, ids in zip(requests, encoded, strict=True):
            if isinstance(ids, EngineError):
                self.out.append(Completion(request.row, None, None, ids, copy=request.copy))
                continue
            tokens = len(ids)
            if self._room is not None:
                ids = shorten(model, request.prompt, ids, self._room)
            if not ids and model.is_decoder and model.begin_id is not None:
                ids = [model.begin_id]
            row = Row(
                call=self,
                index=request.row,
                copy=request.copy,
                prompt_ids=ids,
                most_new=0,
                arrived=arrived,
                truncated=max(0, tokens - len(ids)),
                context_ids=ids if model.is_decoder else model.start_ids(self.options),
            )
            problem = self._prepare(row)
            if problem is None:
                yield row
            else:
                self.out.append(row.failure(problem))

    def _prepare(self, row: Row) -> RowError | None:
        """Set a row's limit and what its engine keeps; return why it can't be answered."""
        model = self._model
        if not row.prompt_ids:
            return EngineError(
                "The prompt is empty, and this model has no token to begin a text with. Leave the "
                "row out, or write a prompt."
            )
        row.most_new, problem = new_token_limit(
            self.options, len(row.prompt_ids), model.context_length, shared=model.is_decoder
        )
        if problem is None:
            row.state = self.settings.state_of(row)
        return problem
