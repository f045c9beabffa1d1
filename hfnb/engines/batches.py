"""How much is computed together unless the caller says otherwise; memory may allow less."""

from __future__ import annotations

import dataclasses

PREFILL_TOKENS = 2048
"""Prompt tokens that PyTorch computes in one forward pass on a CPU, padding included ..."""
PREFILL_TOKENS_ELSEWHERE = 16384
"""... and elsewhere, unless one row alone has more."""
_ENCODER_TOKENS, _ENCODER_TOKENS_ELSEWHERE = 4096, 8192
"""Tokens that PyTorch's encoders read at once on a CPU, and elsewhere, padding included."""
_ROWS, _MOST_ROWS = 64, 256
"""Rows that are decoded together: of a large model, and where steps are cheap."""
_PROMPTS_OF_A_BATCH = 16_384
"""Prompt tokens, padding included, that a small model reads before a batch of more is decoded."""
_TINY = 20_000_000
"""The most parameters of a model whose steps cost what starting them costs."""
_STEP_TOKENS = 512
"""Tokens, of prompts and of answers, in one step of OpenVINO's, which nothing can interrupt."""
_SMALL_STEP_TOKENS = 1024
"""The same of a small model: its steps are short, and the weights are read less often (3% here)."""
_SMALL = 500_000_000
"""The most parameters of a small model."""


@dataclasses.dataclass(frozen=True)
class Rows:
    """How many rows to decode together.

    Args:
        most: The most.
        prompts: How many prompt tokens they may have, as if all were as long as the longest, where
            they are more than `_ROWS`; ``None`` for any number.
    """

    most: int
    prompts: int | None = None

    def for_prompts_of(self, tokens: int) -> int:
        """Return how many rows whose prompts have up to so many tokens.

        Example:
            >>> [Rows(256, prompts=16_384).for_prompts_of(each) for each in (16, 128, 1024)]
            [256, 128, 64]
        """
        if self.prompts is None:
            return self.most
        return max(min(self.most, _ROWS), min(self.most, self.prompts // max(1, tokens)))


def torch_rows(device: str, parameters: int) -> Rows:
    """Return how many rows PyTorch decodes together; an accelerator takes the most."""
    return _cpu_rows(parameters) if device == "cpu" else Rows(_MOST_ROWS)


def openvino_rows(parameters: int) -> Rows:
    """Return how many rows OpenVINO decodes together."""
    return _cpu_rows(parameters)


def _cpu_rows(parameters: int) -> Rows:
    """Return how many rows to decode together on a CPU.

    A step costs a fixed time (reading the weights, starting the operators) and a time for each
    row. Rows are worth adding until the second outweighs the first, and the more there are, the
    less do the last ones of a run decode nearly alone. With 110 million parameters and prompts of
    up to 16 tokens, 256 rows took 12% less time with PyTorch than 128, and 7% less with OpenVINO
    than 64; of up to 256 tokens, 4 and 3%. But the first answer comes after the prompts of a batch,
    so that long ones make it smaller. Models of more than 500 million were not measured.
    """
    if parameters < _TINY:
        return Rows(_MOST_ROWS)
    return Rows(_MOST_ROWS, _PROMPTS_OF_A_BATCH) if parameters <= _SMALL else Rows(_ROWS)


def prefill_tokens(device: str) -> int:
    """Return how many prompt tokens PyTorch computes in one forward pass of a decoder."""
    return PREFILL_TOKENS if device == "cpu" else PREFILL_TOKENS_ELSEWHERE


def encoder_tokens(device: str) -> int:
    """Return how many tokens of texts PyTorch's encoder reads in one forward pass."""
    return _ENCODER_TOKENS if device == "cpu" else _ENCODER_TOKENS_ELSEWHERE


def openvino_step_tokens(parameters: int) -> int:
    """Return how many tokens OpenVINO GenAI computes in one step."""
    return _SMALL_STEP_TOKENS if parameters <= _SMALL else _STEP_TOKENS
