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


class Sizes(NamedTuple):
    """What a Llama's arithmetic goes by."""

    shapes: Sequence[tuple[int, int]]
    """Of the matrices of a layer: rows in, rows out."""
    layers: int
    hidden: int
    vocabulary: int

    @property
    def weights(self) -> int:
        """The multiply-adds of all layers for a token."""
        return self.layers * sum(k * n for k, n in self.shapes)

    def rate(self, rows: int) -> float:
        """Return operations a second at the layers' own shapes, each weighted by its share."""
        rates = {shape: gemm_rate(rows, *shape) for shape in set(self.shapes)}
        total = sum(k * n for k, n in self.shapes)
        return total / sum(k * n / rates[k, n] for k, n in self.shapes)


def sizes_of(folder: Path) -> Sizes:
    """Return the sizes of a Llama."""
    config = json.loads((folder / "config.json").read_text())
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    narrow = hidden // config["num_attention_heads"] * config["num_key_value_heads"]
    shapes = [(hidden, hidden)] * 2 + [(hidden, narrow)] * 2 + [(hidden, inner)] * 2
    shapes.append((inner, hidden))
    return Sizes(shapes, config["num_hidden_layers"], hidden, config["vocab_size"])


def floor_of(folder: Path, prompt_tokens: Sequence[int], new_tokens: int) -> Floor:
    """Return the floor of a Llama for prompts of these lengths.

    The last new token is chosen, not computed; logits are needed once for each new token.
    """
    sizes = sizes_of(folder)
    multiply_adds = 0
    for prompt in prompt_tokens:
        computed = prompt + new_tokens - 1
        multiply_adds += computed * sizes.weights + new_tokens * sizes.hidden * sizes.vocabulary
        multiply_adds += sizes.layers * sizes.hidden * computed * (computed + 1)  # keys, values
    return Floor(2 * multiply_adds, sizes.rate(_ROWS))


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
