"""What is run: rows, a model and options, as data. Every candidate gets the same."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Callable
from pathlib import Path

from models import VOCABULARY, mixed_prompts, packaged, random_llama, random_t5


@dataclasses.dataclass(frozen=True)
class Workload:
    """Rows for one model, and how they are answered. All answers are greedy."""

    title: str
    prompts: Callable[[int], list[str]]
    """The prompts of a round. Each round has new ones of the same lengths, so that nothing is kept
    from the last."""
    new_tokens: int = 32
    stop: tuple[str, ...] = ()
    model: Callable[[], Path] = random_llama
    model_title: str = "a random Llama of 110 M parameters"
    chat: bool = False
    """Whether each prompt is a user's message for the model's chat template."""
    seq2seq: bool = False


def words(draw: random.Random, count: int) -> str:
    """Return so many words, each a token of the random models' tokenizer."""
    return " ".join(f"w{draw.randrange(3, VOCABULARY)}" for _ in range(count))


def sharing(rows: int, shared: int, least: int, most: int, seed: int) -> list[str]:
    """Return prompts that begin alike, as few-shot prompts do, each with words of its own."""
    draw = random.Random(seed)
    beginning = words(draw, shared)
    return [f"{beginning} {words(draw, draw.randint(least, most))}" for _ in range(rows)]


def twice(prompts: list[str], seed: int) -> list[str]:
    """Return each prompt twice, shuffled."""
    both = prompts * 2
    random.Random(seed).shuffle(both)
    return both


def questions(rows: int, seed: int) -> list[str]:
    """Return what the packaged decoder was trained to answer, of numbers below 10,000."""
    chosen = random.Random(seed).sample(range(10_000), rows)
    return [f"What is the number {number} in french?" for number in chosen]


PREFIX_TOKENS = 400
"""What the rows of `PREFIX` have in common."""
_PACKAGED = {
    "model": lambda: packaged("numbers-fr"),
    "model_title": "the packaged decoder of 1 M parameters",
}

MIXED = Workload("64 prompts of 8 to 256 tokens", lambda seed: mixed_prompts(seed=seed))
SHORT = Workload(
    "1,000 questions of 15 to 20 tokens, answers of 1 to 7 tokens that end by themselves",
    lambda seed: questions(1000, seed),
    chat=True,
    **_PACKAGED,
)
STOPPED = Workload(
    "128 prompts of 8 to 16 tokens, answers of 1 to 64 tokens that a stop string ends",
    lambda seed: mixed_prompts(128, 8, 16, seed),
    new_tokens=64,
    stop=("w7",),
)
PREFIX = Workload(
    "64 rows that share a beginning of 400 tokens, 8 to 24 of their own",
    lambda seed: sharing(64, PREFIX_TOKENS, 8, 24, seed),
)
DUPLICATES = Workload(
    "64 rows, each prompt of 8 to 256 tokens twice",
    lambda seed: twice(mixed_prompts(32, seed=seed), seed),
)
UNIQUE = dataclasses.replace(
    DUPLICATES,
    title="the 32 different rows of these alone",
    prompts=lambda seed: mixed_prompts(32, seed=seed),
)
LONG = Workload("8 prompts of 1,000 tokens", lambda seed: mixed_prompts(8, 1000, 1000, seed))
TRANSLATION = Workload(
    "64 inputs of 8 to 256 tokens",
    lambda seed: mixed_prompts(seed=seed),
    model=random_t5,
    model_title="a random T5 in the shape of t5-small",
    seq2seq=True,
)
CHAT = Workload(
    "256 chat messages of 15 to 20 tokens, answers of 1 to 7 tokens",
    lambda seed: questions(256, seed),
    chat=True,
    **_PACKAGED,
)
HALF_BILLION = Workload(
    "16 prompts of 8 to 256 tokens",
    lambda seed: mixed_prompts(16, seed=seed),
    model=lambda: random_llama("500m"),
    model_title="a random Llama of 500 M parameters",
)
PREFIX_OPENVINO = Workload(
    "64 rows that share a beginning of 400 tokens, 8 of their own",
    lambda seed: sharing(64, PREFIX_TOKENS, 8, 8, seed),
)
