"""Where a run with OpenVINO spends its time: outside of OpenVINO, in its steps, in each kernel.

OpenVINO GenAI does not give its model's counters. So the steps that it takes are taken once more,
with the same rows, tokens and blocks, by the same model compiled with ``PERF_COUNT``.
"""

from __future__ import annotations

import collections
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from openvino_floor import sizes_of
from peers import load
from rivals import hfnb_run
from workloads import LONG, MIXED, Workload

TITLE = "OpenVINO on a CPU: where the time goes"
BLOCK = 32
"""Tokens in a block of keys and values on a CPU."""
_KINDS = {
    "FullyConnected": "matrix products",
    "MatMul": "matrix products",
    "PagedAttentionExtension": "attention",
    "PagedAttention": "attention",
}


class Piece(NamedTuple):
    """What a step computes of a row: ``new`` tokens after ``past`` ones."""

    row: int
    past: int
    new: int
    chooses: bool
    """Whether the row's next token is chosen after it."""


def schedule(lengths: Sequence[int], new_tokens: int, step_tokens: int) -> Iterator[list[Piece]]:
    """Yield the steps of OpenVINO GenAI's scheduler: answers first, then what fits of prompts.

    Args:
        lengths: Tokens of each prompt, in the order in which they are handed over.
        new_tokens: Tokens of each answer.
        step_tokens: The most tokens of a step.
    """
    computed = [0] * len(lengths)
    ends = [length + new_tokens - 1 for length in lengths]  # the last one is only chosen
    while any(done < end for done, end in zip(computed, ends, strict=True)):
        room, step = step_tokens, []
        answering = [i for i, n in enumerate(lengths) if n <= computed[i] < ends[i]]
        for i in answering[:room]:
            step.append(Piece(i, computed[i], 1, chooses=True))
        room -= len(step)
        for i, length in enumerate(lengths):
            count = min(room, length - computed[i])
            if count > 0:
                step.append(Piece(i, computed[i], count, computed[i] + count == length))
                room -= count
        for piece in step:
            computed[piece.row] += piece.new
        yield step


class PagedModel:
    """An exported decoder as OpenVINO GenAI compiles it: paged attention, few logits."""

    def __init__(self, export: Path, rows: int, most_tokens: int, precision: str) -> None:
        import numpy as np
        import openvino
        from openvino._offline_transformations import paged_attention_transformation

        self._np, self._openvino = np, openvino
        model = openvino.Core().read_model(str(export / "openvino_model.xml"))
        paged_attention_transformation(model)
        _logits_of_some(model)
        config = {"PERF_COUNT": True, "KV_CACHE_PRECISION": precision}
        compiled = openvino.Core().compile_model(model, "CPU", config)
        self._request = compiled.create_infer_request()
        self._steps = 0
        self._sums: collections.Counter[str] = collections.Counter()
        self._blocks = -(-most_tokens // BLOCK)
        for port in compiled.inputs:
            if port.any_name.startswith(("key_cache.", "value_cache.")):
                shape = [
                    rows * self._blocks,
                    *(each.get_length() for each in list(port.partial_shape)[1:]),
                ]
                tensor = openvino.Tensor(port.element_type, shape)
                self._request.set_tensor(port, tensor)

    def step(self, pieces: Sequence[Piece], draw: Any) -> dict[str, float]:
        """Compute a step with random tokens; return the seconds of each kind, and ``"all"``."""
        np = self._np
        begins = np.cumsum([0, *(each.new for each in pieces)])
        used = [-(-(each.past + each.new) // BLOCK) for each in pieces]
        blocks = [
            np.arange(count) + each.row * self._blocks
            for each, count in zip(pieces, used, strict=True)
        ]
        positions = [np.arange(each.past, each.past + each.new) for each in pieces]
        chosen = [end - 1 for each, end in zip(pieces, begins[1:], strict=True) if each.chooses]
        given = {
            "input_ids": draw.integers(3, 1000, begins[-1]),
            "position_ids": np.concatenate(positions),
            "past_lens": np.array([each.past for each in pieces], np.int32),
            "subsequence_begins": begins.astype(np.int32),
            "block_indices": np.concatenate(blocks).astype(np.int32),
            "block_indices_begins": np.cumsum([0, *used]).astype(np.int32),
            "max_context_len": np.array(max(each.past + each.new for each in pieces), np.int32),
            "sampled_tokens_indices": np.array(chosen, np.int64),
        }
        for name, value in given.items():
            self._request.set_tensor(name, self._openvino.Tensor(value))
        began = time.perf_counter()
        self._request.infer()
        seconds = {"all": time.perf_counter() - began}
        # The counters are means over all steps so far.
        self._steps += 1
        sums: collections.Counter[str] = collections.Counter()
        for node in self._request.profiling_info:
            kind = _KINDS.get(node.node_type, "all else")
            sums[kind] += node.real_time.total_seconds() * self._steps
        seconds |= {kind: sums[kind] - self._sums[kind] for kind in sums}
        self._sums = sums
        return seconds


def _logits_of_some(model: Any) -> None:
    """Let a model compute the logits of chosen tokens alone, as OpenVINO GenAI does."""
    import numpy as np
    from openvino import opset13 as ops

    product = model.outputs[0].get_node().input_value(0).get_node()
    while product.get_type_name() != "MatMul":
        product = product.input_value(0).get_node()
    places = ops.parameter([-1], np.int64, name="sampled_tokens_indices")
    places.output(0).set_names({"sampled_tokens_indices"})
    gathered = ops.gather(product.input_value(0), places, ops.constant(np.int64(0)))
    product.input(0).replace_source_output(gathered.output(0))
    model.add_parameters([places])
    model.validate_nodes_and_infer_types()


class Clock:
    """Adds up the time that is spent in an object's methods; stands in its place."""

    def __init__(self, inner: Any) -> None:
        self.inner = inner
        self.seconds: collections.Counter[str] = collections.Counter()
        self.calls: collections.Counter[str] = collections.Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, name)
        if not callable(found):
            return found

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            try:
                return found(*args, **kwargs)
            finally:
                self.seconds[name] += time.perf_counter() - began
                self.calls[name] += 1

        return timed


_READING = """How to read it: hfnb's own part is what the first line gives to all but `step()`; to
be quicker there can win no more than that. Inside of a step the matrix products run as fast as the
same products alone, which is what the arithmetic floor counts; attention, the time between kernels
and scheduling come on top of it, and belong to OpenVINO and OpenVINO GenAI. In steps of few rows
the products themselves are slower, alone too: the weights are read once for each step, however few
rows there are. Targets that are ratios to peers on the same library's products are bounded by
that."""


def run() -> str:
    """Return the results as Markdown."""
    llm = load(MIXED, backend="openvino")
    parts = []
    for workload in (MIXED, LONG):
        parts += [f"### {workload.title}", "", profile(llm, workload), ""]
    return "\n".join([*parts, _READING])


def profile(llm: Any, workload: Workload) -> str:
    """Return where the time of a run goes, as Markdown."""
    import numpy as np

    from hfnb.engines import batches

    engine = llm.engine
    call = hfnb_run(llm, workload)
    call(workload.prompts(99)[:8])  # warm up
    pipeline, tokenizer = Clock(engine._batch._pipeline), Clock(engine.model)
    engine._batch._pipeline, engine.model = pipeline, tokenizer
    began = time.perf_counter()
    call(workload.prompts(98))
    wall = time.perf_counter() - began
    engine._batch._pipeline, engine.model = pipeline.inner, tokenizer.inner
    outside = {
        "`step()`": pipeline.seconds["step"],
        "`add_request()`": pipeline.seconds["add_request"],
        "tokenizing": tokenizer.seconds["encode_each"],
    }
    outside["the frame, texts, the journal, all else"] = wall - sum(outside.values())

    lengths = sorted((engine.count_tokens(each) for each in workload.prompts(98)), reverse=True)
    step_tokens = batches.openvino_step_tokens(engine.info.parameters)
    steps = list(schedule(lengths, workload.new_tokens, step_tokens))
    precision = "bf16" if engine.info.dtype == "bf16" else "f16"
    most = max(lengths) + workload.new_tokens
    model, draw = PagedModel(engine.model.folder, len(lengths), most, precision), _draw()
    for step in steps:  # warm up
        model.step(step, draw)
    sizes, parts = sizes_of(workload.model()), []
    kernels = ("matrix products", "attention", "all else")
    large = [step for step in steps if sum(each.new for each in step) > len(lengths)]
    small = [step for step in steps if sum(each.new for each in step) <= len(lengths)]
    totals: collections.Counter[str] = collections.Counter()
    for name, some in (("with prompts", large), ("of answers alone", small)):
        spent: collections.Counter[str] = collections.Counter()
        operations = 0
        for step in some:
            spent.update(model.step(step, draw))
            operations += sum(each.new for each in step) * 2 * sizes.weights
            operations += sum(each.chooses for each in step) * 2 * sizes.hidden * sizes.vocabulary
        tokens = int(np.mean([sum(each.new for each in step) for step in some]))
        rate = sizes.rate(tokens)
        parts.append(
            f"| {name} | {len(some)} | {tokens:,} | {spent['all']:.2f} | "
            + "".join(f"{spent[each]:.2f} | " for each in kernels)
            + f"{spent['all'] - sum(spent[each] for each in kernels):.2f} | "
            f"{operations / spent['matrix products'] / 1e9:.0f} | {rate / 1e9:.0f} |"
        )
        totals.update(spent)
    share = {name: f"{seconds / wall:.1%}" for name, seconds in outside.items()}
    return "\n".join(
        [
            f"Where the time of a run of {wall:.2f} s goes: "
            + ", ".join(f"{name} {each}" for name, each in share.items())
            + f". There were {pipeline.calls['step']} steps.",
            "",
            "The same steps once more, by the same model with OpenVINO's counters on:",
            "",
            "| steps | number | tokens each | s | matrix products, s | attention, s | all else, "
            "s | between kernels, s | GFLOP/s of the products | of a product alone, so many rows |",
            "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
            *parts,
            "",
            f"Together {totals['all']:.2f} s. Of `step()` that leaves "
            f"{pipeline.seconds['step'] - totals['all']:.2f} s to scheduling and to choosing "
            "tokens, as far as two runs can be compared.",
        ]
    )


def _draw() -> Any:
    import numpy as np

    return np.random.default_rng(0)
