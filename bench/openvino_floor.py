"""The least time that a model's arithmetic takes: its multiply-adds over a measured GEMM rate."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_ROWS = 512
_REPEATS = 10


class Floor(NamedTuple):
    """What a run has to compute, and how fast this machine multiplies."""

    operations: float
    """Floating-point operations: two for each multiply-add of a weight or of the attention."""
    rate: float
    """Operations a second of OpenVINO's own matrix product, in its default precision."""

    @property
    def seconds(self) -> float:
        return self.operations / self.rate


def floor_of(folder: Path, prompt_tokens: Sequence[int], new_tokens: int) -> Floor:
    """Return the floor of a Llama for prompts of these lengths.

    The last new token is chosen, not computed; logits are needed once for each new token.
    """
    config = json.loads((folder / "config.json").read_text())
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    inner, heads = config["intermediate_size"], config["num_attention_heads"]
    narrow = hidden // heads * config["num_key_value_heads"]
    shapes = [(hidden, hidden)] * 2 + [(hidden, narrow)] * 2 + [(hidden, inner)] * 3
    weights = layers * sum(k * n for k, n in shapes)
    multiply_adds = 0
    for prompt in prompt_tokens:
        computed = prompt + new_tokens - 1
        multiply_adds += computed * weights + new_tokens * hidden * config["vocab_size"]
        multiply_adds += layers * hidden * computed * (computed + 1)  # keys, then values
    # The rate over the layers' own shapes, each weighted by its share.
    rates = {shape: gemm_rate(_ROWS, *shape) for shape in set(shapes)}
    rate = sum(k * n for k, n in shapes) / sum(k * n / rates[k, n] for k, n in shapes)
    return Floor(2 * multiply_adds, rate)


def gemm_rate(m: int, k: int, n: int) -> float:
    """Return the operations a second of an (m, k) by (k, n) product, the best of several."""
    import numpy as np
    import openvino
    from openvino import opset13 as ops

    draw = np.random.default_rng(0)
    given = ops.parameter([-1, k], np.float32)
    weight = ops.constant(draw.standard_normal((n, k), dtype=np.float32))
    model = openvino.Model([ops.matmul(given, weight, False, True)], [given])
    request = openvino.Core().compile_model(model, "CPU").create_infer_request()
    rows = draw.standard_normal((m, k), dtype=np.float32)
    best = float("inf")
    for repeat in range(_REPEATS):
        began = time.perf_counter()
        for _ in range(10):
            request.infer([rows], share_inputs=True)
        if repeat:  # the first one warms up
            best = min(best, (time.perf_counter() - began) / 10)
    return 2 * m * k * n / best
