"""Choose each row's next token: the likeliest, or one drawn with the row's own random numbers.

A row's random numbers depend on the seed, its prompt and its copy number, never on the rows
beside it, so that a seeded run repeats whatever the batches were.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from hfnb.options import GENERATION_OPTIONS
from hfnb.spec import GenerationSpec

_TRANSFORMERS_TOP_K = 50
"""What transformers' sampling takes when neither the caller nor the checkpoint names a top_k."""


class SampledRow(Protocol):
    """What choosing a token needs to know of a row."""

    @property
    def prompt_ids(self) -> Sequence[int]:
        """The prompt's tokens."""

    @property
    def new_ids(self) -> Sequence[int]:
        """The tokens chosen so far."""

    @property
    def random(self) -> RowRandom:
        """The row's own random numbers."""


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


def checkpoint_options(model: Any, generation: GenerationSpec) -> dict[str, Any]:
    """Return the generation options in force: the checkpoint's own, over which the caller's win.

    How the checkpoint samples counts only when the caller samples: greedy is hfnb's default.
    """
    of_sampling = {
        "do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p",
        "epsilon_cutoff", "eta_cutoff",
    }  # fmt: skip
    of_beams = {"num_beams", "num_return_sequences", "early_stopping", "length_penalty"}
    stored = {
        name: value
        for name, value in model.generation_config.to_diff_dict().items()
        if name in GENERATION_OPTIONS and value is not None
    }
    if generation.sampling:
        stored = {name: value for name, value in stored.items() if name not in of_beams}
    else:
        stored = {name: value for name, value in stored.items() if name not in of_sampling}
    if not model.config.is_encoder_decoder:
        # It counts the prompt too, and nobody has asked for prompts to be refused.
        stored.pop("max_length", None)
    if generation.get("max_length") is not None or generation.get("max_new_tokens") is not None:
        stored.pop("max_length", None)
        stored.pop("max_new_tokens", None)
    options = {**stored, **dict(generation.options)}
    if generation.sampling:
        options["temperature"] = generation.temperature
        options.setdefault("top_k", _TRANSFORMERS_TOP_K)
    else:
        options = {name: value for name, value in options.items() if name not in of_sampling}
    return options


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


class TokenChooser:
    """Chooses one token a row from the logits of one step.

    Args:
        options: The generation options in force, from `checkpoint_options`.
        eos_ids: The tokens that end a row.
        sampling: Draw tokens; otherwise the likeliest is taken.
    """

    def __init__(self, options: dict[str, Any], eos_ids: frozenset[int], *, sampling: bool) -> None:
        self._warpers = warpers(options) if sampling else None
        self._penalty = float(options.get("repetition_penalty") or 1.0)
        self._least = int(options.get("min_new_tokens") or 0)
        self._eos = sorted(eos_ids)

    def __call__(self, logits: torch.Tensor, rows: Sequence[SampledRow]) -> torch.Tensor:
        """Return the chosen tokens, [rows], from logits shaped [rows, vocabulary]."""
        if self._penalty != 1.0:
            logits = self._penalise(logits.float(), rows)
        if self._least:
            early = [i for i, row in enumerate(rows) if len(row.new_ids) < self._least]
            if early:
                logits = logits.float().clone()
                for token in self._eos:
                    logits[early, token] = -torch.inf
        if self._warpers is None:
            return logits.argmax(dim=-1)
        none = torch.empty((len(rows), 0), dtype=torch.long, device=logits.device)
        return draw(self._warpers(none, logits.float()), [row.random.next() for row in rows])

    def _penalise(self, logits: torch.Tensor, rows: Sequence[SampledRow]) -> torch.Tensor:
        """Make tokens that a row has less likely (Keskar et al. 2019, arXiv:1909.05858, 4.1)."""
        logits = logits.clone()
        for i, row in enumerate(rows):
            seen = torch.tensor(sorted({*row.prompt_ids, *row.new_ids}), device=logits.device)
            score = logits[i, seen]
            logits[i, seen] = torch.where(score < 0, score * self._penalty, score / self._penalty)
        return logits


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
