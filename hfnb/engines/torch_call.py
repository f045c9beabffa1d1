"""One call of `TorchEngine.generate`: its rows, how they are generated, and their answers."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Literal

from hfnb.engines.base import Completion, Delta, Request, Work
from hfnb.engines.torch_grammar import CompiledGrammar, compile_grammar
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_plan import LOOKAHEAD, auto_rows, new_token_limit, prompt_room
from hfnb.engines.torch_processors import processors_for
from hfnb.engines.torch_row import Row
from hfnb.engines.torch_sampling import NO_RANDOM, RowRandom, TokenChooser
from hfnb.engines.torch_shorten import shorten
from hfnb.engines.torch_text import TextDecoder
from hfnb.errors import EngineError, PromptTooLongError
from hfnb.spec import GenerationSpec


class Call:
    """Draws requests as they are needed and makes rows of them.

    The thread that called draws; whichever thread computes takes the rows and puts the answers
    into `out`. `Scheduler` says how the two share it.

    Args:
        loaded: The model.
        requests: What to answer.
        generation: How to generate.
        options: The generation options in force.
        batch_size: The most rows at a time, or ``"auto"``.
        cancel: Set by another thread to end the call.
        stream: Whether pieces of text are wanted.
        work: Filled with what was computed.
    """

    def __init__(
        self,
        loaded: TorchModel,
        requests: Iterable[Request],
        generation: GenerationSpec,
        options: dict[str, Any],
        *,
        batch_size: int | Literal["auto"],
        cancel: threading.Event,
        stream: bool,
        work: Work,
    ) -> None:
        self.generation = generation
        self.options = options
        self.stop = generation.stop
        self.stream = stream
        self.cancel = cancel
        self.work = work
        self.eos_ids = loaded.eos_of(dict(generation.options))
        self.text = TextDecoder(loaded.tokenizer, generation.keep_tokens)
        self.choose = TokenChooser.of(options, self.eos_ids, sampling=generation.sampling)
        self.most_rows = auto_rows(loaded) if batch_size == "auto" else batch_size
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
        self._loaded = loaded
        self._source = iter(requests)
        self._room: int | None = None
        """The most tokens of a prompt, where longer ones are to be shortened."""
        if generation.get("truncation") == "value":
            self._room = prompt_room(options, loaded.context_length, shared=loaded.is_decoder)
        self._grammar: CompiledGrammar | None = None
        if generation.grammar is not None:
            self._grammar = compile_grammar(loaded, generation.grammar, self.eos_ids)

    @property
    def done(self) -> bool:
        """Whether every request has its completion."""
        return not self.more and not self.unfinished

    @property
    def hungry(self) -> bool:
        """Whether it is time to draw requests."""
        return self.more and not self.fresh and len(self.waiting) < self.most_rows

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
        loaded, generation = self._loaded, self.generation
        encoded = loaded.encode_each([request.prompt for request in requests], generation)
        for request, ids in zip(requests, encoded, strict=True):
            if isinstance(ids, EngineError):
                self.out.append(Completion(request.row, None, None, ids, copy=request.copy))
                continue
            tokens = len(ids)
            if self._room is not None:
                ids = shorten(loaded, request.prompt, ids, self._room)
            if not ids and loaded.is_decoder and loaded.begin_id is not None:
                ids = [loaded.begin_id]
            row = Row(
                self,
                request.row,
                request.copy,
                ids,
                0,
                RowRandom(generation.seed, ids, request.copy) if generation.sampling else NO_RANDOM,
                arrived,
                truncated=max(0, tokens - len(ids)),
                context_ids=ids if loaded.is_decoder else loaded.start_ids(self.options),
            )
            problem = self._prepare(row)
            if problem is None:
                yield row
            else:
                self.out.append(row.failure(problem))

    def _prepare(self, row: Row) -> EngineError | PromptTooLongError | None:
        """Set a row's limits and what chooses its tokens; return why it can't be answered."""
        loaded, options = self._loaded, self.options
        if not row.prompt_ids:
            return EngineError(
                "The prompt is empty, and this model has no token to begin a text with. Leave the "
                "row out, or write a prompt."
            )
        tokens = len(row.prompt_ids)
        context, shared = loaded.context_length, loaded.is_decoder
        row.most_new, problem = new_token_limit(options, tokens, context, shared=shared)
        if problem is not None:
            return problem
        if self.choose.by_row:
            row.processors = processors_for(
                options,
                eos_ids=self.eos_ids,
                encoder_ids=row.prompt_ids,
                prompt_length=len(row.context_ids),
                most_new=row.most_new,
                device=loaded.device,
            )
        if self._grammar is not None:
            row.grammar = self._grammar.matcher()
        return None
