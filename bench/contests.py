"""Contests by section: which workloads run on which engine, beside whom, and what is asked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import tried
from contest import Outcome, contest, overhead
from peers import (
    CTRANSLATE2,
    CTRANSLATE2_INT8,
    DATASET,
    GENAI,
    GENERATE_BATCH,
    LANGCHAIN,
    LANGCHAIN_OPENVINO,
    OPTIMUM,
    SORTED,
    openvino_peers,
    torch_peers,
)
from workloads import (
    CHAT,
    DUPLICATES,
    HALF_BILLION,
    LONG,
    SHORT,
    STOPPED,
    TRANSLATION,
    UNIQUE,
    Workload,
)

_TORCH = (LANGCHAIN, DATASET, SORTED, GENERATE_BATCH)
_OPENVINO = (LANGCHAIN_OPENVINO, OPTIMUM, CTRANSLATE2_INT8, GENAI)
_NO_SLOWER = dict.fromkeys((SORTED, GENERATE_BATCH, OPTIMUM, GENAI), 1.0)
"""Targets: no slower than any of these."""


@dataclasses.dataclass(frozen=True)
class Match:
    """One workload on one engine."""

    engine: str
    """``"PyTorch"`` or ``"OpenVINO"``."""
    workload: Workload
    peers: Sequence[str]
    targets: Mapping[str, float] = dataclasses.field(default_factory=dict)
    rounds: int = 2
    dtype: str = "float32"
    less: Workload | None = None
    """Rows that hfnb runs for comparison, in place of all rows by its engine alone."""

    def play(self) -> Outcome:
        """Time all candidates."""
        given = (self.workload, self.peers, self.targets)
        if self.engine == "PyTorch":
            candidates = torch_peers(*given, dtype=self.dtype, less=self.less)
        else:
            candidates = openvino_peers(*given, less=self.less)
        return contest(self.workload, candidates, self.rounds)

    def overhead(self, outcome: Outcome) -> str:
        """Say what `hfnb.run` takes beyond what it is compared with of its own."""
        if self.less is None:
            return overhead("its engine", outcome, 3)
        return overhead("these", outcome, 2)


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of the results."""

    TITLE: str
    matches: Sequence[Match]
    note: str = ""

    def run(self) -> str:
        """Return the results as Markdown."""
        parts = []
        for match in self.matches:
            outcome = match.play()
            dtype = f", {match.dtype}" if match.engine == "PyTorch" else ""
            parts += [
                f"### {match.engine}{dtype}",
                "",
                outcome.table(),
                "",
                match.overhead(outcome),
                "",
            ]
        return "\n".join([*parts, self.note])


SECTIONS = {
    "short": Section(
        "Short prompts, answers of different length",
        [
            Match("PyTorch", SHORT, _TORCH, {SORTED: 2.0, GENERATE_BATCH: 1.0}, 2),
            Match("OpenVINO", SHORT, _OPENVINO, {OPTIMUM: 1.0, GENAI: 1.0}, 5),
        ],
        tried.SHORT,
    ),
    "stopped": Section(
        "Short prompts, answers that a stop string ends",
        [
            Match(
                "PyTorch",
                STOPPED,
                (DATASET, SORTED, GENERATE_BATCH),
                {SORTED: 2.0, GENERATE_BATCH: 1.0},
            ),
            Match("OpenVINO", STOPPED, _OPENVINO, {OPTIMUM: 1.0, GENAI: 1.0}),
        ],
        "The peers on PyTorch, optimum-intel and CTranslate2 get the tokens that hold the stop "
        "string as tokens that end a row; LangChain passes them over.",
    ),
    "duplicates": Section(
        "Half of the rows are duplicates",
        [
            Match("PyTorch", DUPLICATES, (SORTED, GENERATE_BATCH), _NO_SLOWER, 2, less=UNIQUE),
            Match("OpenVINO", DUPLICATES, (OPTIMUM, GENAI), _NO_SLOWER, 3, less=UNIQUE),
        ],
    ),
    "long": Section(
        "Long prompts",
        [
            Match("PyTorch", LONG, _TORCH, {LANGCHAIN: 3.0, GENERATE_BATCH: 1.0}, 1),
            Match("OpenVINO", LONG, _OPENVINO, {LANGCHAIN_OPENVINO: 3.5, OPTIMUM: 3.0, GENAI: 1.0}),
        ],
        tried.LONG,
    ),
    "translation": Section(
        "An encoder-decoder on PyTorch",
        [Match("PyTorch", TRANSLATION, (SORTED, CTRANSLATE2), {SORTED: 1.0, CTRANSLATE2: 1.0})],
        "langchain-huggingface and transformers 5 have no pipeline for such models any more.",
    ),
    "chat": Section(
        "Chat",
        [
            Match("PyTorch", CHAT, _TORCH, {LANGCHAIN: 3.0, GENERATE_BATCH: 1.0}, 3),
            Match("OpenVINO", CHAT, _OPENVINO, {LANGCHAIN_OPENVINO: 3.5, GENAI: 1.0}, 5),
        ],
        tried.CHAT,
    ),
    "half_billion": Section(
        "A model of 500 M parameters",
        [
            Match("PyTorch", HALF_BILLION, (SORTED, GENERATE_BATCH), _NO_SLOWER, 1, "bfloat16"),
            Match("OpenVINO", HALF_BILLION, (OPTIMUM, GENAI), _NO_SLOWER),
        ],
        "In bfloat16 the rounding, which differs with a batch's shape, tips rows over whose "
        "likeliest tokens are nearly equal; see the note on prompts of mixed length.",
    ),
}
