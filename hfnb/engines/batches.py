"""How much is computed together unless the caller says otherwise; memory may allow less."""

from __future__ import annotations

PREFILL_TOKENS = 2048
"""Prompt tokens that PyTorch computes in one forward pass on a CPU, padding included ..."""
PREFILL_TOKENS_ELSEWHERE = 16384
"""... and elsewhere, unless one row alone has more."""
_ENCODER_TOKENS, _ENCODER_TOKENS_ELSEWHERE = 4096, 8192
"""Tokens that PyTorch's encoders read at once on a CPU, and elsewhere, padding included."""
_ROWS, _SMALL_ROWS, _MOST_ROWS = 64, 128, 256
"""Rows that are decoded together: of a large model, of a small one, and where steps are cheap."""
_TINY = 20_000_000
"""The most parameters of a model whose steps cost what starting them costs."""
_STEP_TOKENS = 512
"""Tokens, of prompts and of answers, in one step of OpenVINO's, which nothing can interrupt."""
_SMALL_STEP_TOKENS = 1024
"""The same of a small model: its steps are short, and the weights are read less often (3% here)."""
_SMALL = 500_000_000
"""The most parameters of a small model."""


def torch_rows(device: str, parameters: int) -> int:
    """Return how many rows PyTorch decodes together.

    A step costs a fixed time (reading the weights, starting the operators) and a time for each
    row. Rows are worth adding until the second outweighs the first, and the more there are, the
    less do the last ones of a run decode nearly alone. With 110 million parameters, 128 rows took a
    fifth less time than 64 where prompts were short, and the same where they had up to 256 tokens;
    larger models were not measured. An accelerator takes more.
    """
    if device != "cpu" or parameters < _TINY:
        return _MOST_ROWS
    return _SMALL_ROWS if parameters <= _SMALL else _ROWS


def openvino_rows(parameters: int) -> int:
    """Return how many rows OpenVINO decodes together; see `torch_rows`."""
    return _MOST_ROWS if parameters < _TINY else _ROWS


def prefill_tokens(device: str) -> int:
    """Return how many prompt tokens PyTorch computes in one forward pass of a decoder."""
    return PREFILL_TOKENS if device == "cpu" else PREFILL_TOKENS_ELSEWHERE


def encoder_tokens(device: str) -> int:
    """Return how many tokens of texts PyTorch's encoder reads in one forward pass."""
    return _ENCODER_TOKENS if device == "cpu" else _ENCODER_TOKENS_ELSEWHERE


def openvino_step_tokens(parameters: int) -> int:
    """Return how many tokens OpenVINO GenAI computes in one step."""
    return _SMALL_STEP_TOKENS if parameters <= _SMALL else _STEP_TOKENS
