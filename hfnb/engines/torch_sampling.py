"""Choose each row's next token: the likeliest, or one drawn with the row's own random numbers.

A row's random numbers depend on the seed, its prompt and its copy number, never on the rows
beside it, so that a seeded run repeats whatever the batches were.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from hfnb.engines.row import Row
from hfnb.engines.torch_grammar import (
    CompiledGrammar,
    RowGrammar,
    compile_grammar,
    fill_masks,
    mask_logits,
)
from hfnb.engines.torch_model import TorchModel
from hfnb.engines.torch_processors import ROW_PROCESSOR_OPTIONS, has_effect, processors_for
from hfnb.errors import RowError
from hfnb.spec import GenerationSpec

_RARE = ROW_PROCESSOR_OPTIONS - {"repetition_penalty", "min_new_tokens", "renormalize_logits"}
"""Options that need processors of the row's own. Drawing renormalises whatever it is told."""


class RowRandom:
    """A row's stream of uniform numbers in [0, 1)."""

    def __init__(self, seed: int | None, prompt_ids: Sequence[int], copy: int) -> None:
        if seed is None:
            number = secrets.randbits(63)
        else:
            text = f"{seed}:{copy}:{','.join(map(str, prompt_ids))}".encode()
            number = int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1
        self._number = number
        self._generator = torch.Generator()
        self.restart()

    def restart(self) -> None:
        """Begin the same stream again."""
        self._generator.manual_seed(self._number)
        self._ready: list[float] = []

    def next(self) -> float:
        """Return the next number."""
        if not self._ready:
            drawn = torch.rand(64, generator=self._generator, dtype=torch.float64)
            self._ready = drawn.flip(0).tolist()
        return self._ready.pop()


def warpers(options: dict[str, Any]) -> Callable[[Any, Any], Any]:
    """Return transformers' own warpers for the sampling options, in transformers' order."""
    chosen = LogitsProcessorList()
    if options["temperature"] != 1.0:
        chosen.append(TemperatureLogitsWarper(options["temperature"]))
    if options.get("top_k"):
        chosen.append(TopKLogitsWarper(options["top_k"]))
    if options.get("top_p", 1.0) < 1.0:
        chosen.append(TopPLogitsWarper(options["top_p"]))
    if options.get("min_p"):
        chosen.append(MinPLogitsWarper(options["min_p"]))
    if options.get("typical_p", 1.0) < 1.0:
        chosen.append(TypicalLogitsWarper(options["typical_p"]))
    return chosen


class TorchState:
    """What a row needs for choosing its tokens, where it is not simply the likeliest."""

    def __init__(
        self, random: RowRandom, processors: Any = None, grammar: RowGrammar | None = None
    ) -> None:
        self.random = random
        self.processors = processors
        """transformers' logits processors for this row, where its options need any."""
        self.grammar = grammar

    def accept(self, token: int) -> None:
        """Take note of the row's next token."""
        if self.grammar is not None:
            self.grammar.accept(token)

    def restart(self) -> None:
        """Go back to the beginning."""
        self.random.restart()
        if self.grammar is not None:
            self.grammar.reset()


class TorchSettings:
    """How the rows of one call choose their tokens.

    Args:
        loaded: The model.
        generation: How to generate.
        options: The generation options in force.

    Raises:
        OptionError: The grammar can't be compiled.
    """

    def __init__(
        self, loaded: TorchModel, generation: GenerationSpec, options: dict[str, Any]
    ) -> None:
        self._loaded = loaded
        self._generation = generation
        self._options = options
        self._eos = loaded.eos_of(dict(generation.options))
        self.choose = TokenChooser.of(options, self._eos, sampling=generation.sampling)
        self._grammar: CompiledGrammar | None = None
        if generation.grammar is not None:
            self._grammar = compile_grammar(loaded, generation.grammar, self._eos)

    def state_of(self, row: Row) -> TorchState | None:
        """Return a row's state; ``None`` where it always takes the likeliest token."""
        sampling = self._generation.sampling
        if not sampling and not self.choose.by_row and self._grammar is None:
            return None
        random = _NO_RANDOM
        if sampling:
            random = RowRandom(self._generation.seed, row.prompt_ids, row.copy)
        processors = None
        if self.choose.by_row:
            processors = processors_for(
                self._options,
                eos_ids=self._eos,
                encoder_ids=row.prompt_ids,
                prompt_length=len(row.context_ids),
                most_new=row.most_new,
                device=self._loaded.device,
            )
        return TorchState(random, processors, self._grammar.matcher() if self._grammar else None)


class TokenChooser:
    """Chooses one token a row from the logits of one step; make one with `TokenChooser.of`.

    Args:
        options: The generation options in force.
        eos_ids: The tokens that end a row.
        sampling: Draw tokens; otherwise the likeliest is taken.
    """

    def __init__(self, options: dict[str, Any], eos_ids: frozenset[int], *, sampling: bool) -> None:
        self._warpers = warpers(options) if sampling else None
        self._penalty = float(options.get("repetition_penalty") or 1.0)
        self._least = int(options.get("min_new_tokens") or 0)
        self._eos = sorted(eos_ids)
        self.by_row = any(
            name in _RARE and has_effect(name, value) for name, value in options.items()
        )
        """Whether each row has processors of its own, which then do all but the drawing."""
        if self.by_row:
            self._penalty, self._least = 1.0, 0

    @classmethod
    def of(
        cls, options: dict[str, Any], eos_ids: frozenset[int], *, sampling: bool
    ) -> TokenChooser:
        """Return a chooser; callers who only want the likeliest token share one."""
        made = cls(options, eos_ids, sampling=sampling)
        plain = made._penalty == 1.0 and not (sampling or made._least or made.by_row)
        return LIKELIEST if plain else made

    def __call__(self, logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        """Return the chosen tokens, [rows], from logits shaped [rows, vocabulary]."""
        if self._penalty != 1.0:
            logits = self._penalise(logits.float(), rows)
        if self._least:
            early = [i for i, row in enumerate(rows) if len(row.new_ids) < self._least]
            if early:
                logits = logits.float().clone()
                for token in self._eos:
                    logits[early, token] = -torch.inf
        if self.by_row:
            logits = torch.cat(
                [_processed(row, each) for row, each in zip(rows, logits.float(), strict=True)]
            )
        grammars = [grammar_of(row) for row in rows]
        if any(grammars):
            logits = mask_logits(logits, grammars)
        if self._warpers is None:
            return logits.argmax(dim=-1)
        none = torch.empty((len(rows), 0), dtype=torch.long, device=logits.device)
        return draw(
            self._warpers(none, logits.float()), [_state(row).random.next() for row in rows]
        )

    def _penalise(self, logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        """Make tokens that a row has less likely (Keskar et al. 2019, arXiv:1909.05858, 4.1)."""
        logits = logits.clone()
        for i, row in enumerate(rows):
            seen = torch.tensor(sorted({*row.context_ids, *row.new_ids}), device=logits.device)
            score = logits[i, seen]
            logits[i, seen] = torch.where(score < 0, score * self._penalty, score / self._penalty)
        return logits


LIKELIEST = TokenChooser({}, frozenset(), sampling=False)


def choose(logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
    """Choose each row's token as its call wants it.

    Args:
        logits: The logits after the last column, [rows, vocabulary].
        rows: The rows, of one call or of several.

    Returns:
        Token ids, [rows].
    """
    choosers: dict[TokenChooser, list[int]] = {}
    for i, row in enumerate(rows):
        choosers.setdefault(row.call.settings.choose, []).append(i)
    if len(choosers) == 1:
        return next(iter(choosers))(logits, rows)
    tokens = torch.empty(len(rows), dtype=torch.long, device=logits.device)
    for chooser, places in choosers.items():
        tokens[places] = chooser(logits[places], [rows[i] for i in places])
    return tokens


def stopped_by_grammar(rows: Sequence[Row]) -> list[tuple[Row, RowError | None]]:
    """Return rows whose text is complete, so that a forward pass would only find that out.

    With each stands why it can't go on, where it is not complete.
    """
    bound = [(row, grammar) for row in rows if (grammar := grammar_of(row)) is not None]
    fill_masks([grammar for row, grammar in bound if row.reason is None])
    return [
        (row, grammar.problem)
        for row, grammar in bound
        if grammar.problem is not None or (row.reason is None and grammar.finished)
    ]


def _state(row: Row) -> TorchState:
    state = row.state
    assert isinstance(state, TorchState)  # `TorchSettings.state_of` made it
    return state


def grammar_of(row: Row) -> RowGrammar | None:
    """Return where a row stands in its grammar; ``None`` where it has none."""
    return row.state.grammar if isinstance(row.state, TorchState) else None


def _processed(row: Row, logits: torch.Tensor) -> torch.Tensor:
    """Return one row's logits, [1, vocabulary], as its own processors change them."""
    ids = torch.tensor([[*row.context_ids, *row.new_ids]], device=logits.device)
    changed: torch.Tensor = _state(row).processors(ids, logits.unsqueeze(0))
    return changed


def draw(scores: torch.Tensor, uniform: Sequence[float]) -> torch.Tensor:
    """Draw one token a row by inverting the cumulated probabilities at the row's own number.

    Args:
        scores: Warped logits, [rows, vocabulary]; minus infinity for tokens that are out.
        uniform: One number in [0, 1) a row.

    Returns:
        Token ids, [rows].
    """
    wide = torch.float32 if scores.device.type == "mps" else torch.float64
    cumulated = scores.softmax(dim=-1).to(wide).cumsum(dim=-1)
    numbers = torch.tensor(uniform, dtype=wide, device=scores.device)
    target = numbers.unsqueeze(-1) * cumulated[:, -1:]
    # The first place whose sum is beyond the target: never a token of probability zero.
    chosen = torch.searchsorted(cumulated, target, right=True).squeeze(-1)
    return chosen.clamp_(max=scores.shape[-1] - 1)


_NO_RANDOM = RowRandom(0, (), 0)
"""For greedy rows, which draw nothing."""
