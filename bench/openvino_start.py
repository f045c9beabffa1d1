"""Loading with OpenVINO: a second load beside the first, and a fresh process's first answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

from measure import in_turn
from models import random_llama

TITLE = "OpenVINO on a CPU: loading"
ROUNDS = 7

_LOAD = """
import json, sys, time
import hfnb
began = time.perf_counter()
llm = hfnb.load(sys.argv[1], backend="openvino")
print(json.dumps(time.perf_counter() - began))
"""
_LLM = """
import json, sys, time
began = time.perf_counter()
import hfnb
llm = hfnb.load(sys.argv[1], backend="openvino", max_new_tokens=4)
text = llm.invoke(sys.argv[2])
seconds = time.perf_counter() - began
"""
_ENGINE = """
import json, sys, time
began = time.perf_counter()
from hfnb.engines.base import Request
from hfnb.engines.registry import load_engine
from hfnb.spec import GenerationSpec, ModelSpec
engine = load_engine(ModelSpec(sys.argv[1], backend="openvino"))
(done,) = engine.generate([Request(0, sys.argv[2])], GenerationSpec.of(max_new_tokens=4))
text = done.text
seconds = time.perf_counter() - began
"""
_LANGCHAIN = """
import json, sys, time
began = time.perf_counter()
import langchain_core.language_models.llms
text = ""
seconds = time.perf_counter() - began
"""
_RUN = """
import json, sys, time
began = time.perf_counter()
import hfnb, pandas
llm = hfnb.load(sys.argv[1], backend="openvino", max_new_tokens=4)
frame = pandas.DataFrame({"prompt": [sys.argv[2]]})
result = hfnb.run(frame, "{prompt}", llm, progress=False, journal=False)
text = result.data["output"].iloc[0]
seconds = time.perf_counter() - began
"""
_BARE = """
import json, sys, time
began = time.perf_counter()
import openvino_genai
scheduler = openvino_genai.SchedulerConfig()
scheduler.cache_size = 1
pipeline = openvino_genai.ContinuousBatchingPipeline(sys.argv[1], scheduler, "CPU", {})
config = openvino_genai.GenerationConfig()
config.max_new_tokens = 4
text = pipeline.generate([sys.argv[2]], [config])[0].m_generation_ids[0]
seconds = time.perf_counter() - began
"""
_SAY = """
heavy = [each for each in ("torch", "transformers", "optimum", "nncf") if each in sys.modules]
print(json.dumps([seconds, text, heavy]))
"""
_PROMPT = "w11 w12 w13 w14 w15 w16 w17 w18"


def run() -> str:
    """Return the results as Markdown."""
    folder = str(random_llama("100m"))
    with tempfile.TemporaryDirectory() as cache:
        first = _python(_LOAD, folder, cache=cache)
        seconds = sorted(_python(_LOAD, folder, cache=cache) for _ in range(3))
    second = seconds[1]
    return "\n".join(
        [
            f"The first `hfnb.load` of a random Llama of 110 M parameters, its export included, "
            f"took {first:.1f} s; a second one, in a new process, {second:.2f} s (median of 3, "
            f"{seconds[0]:.2f}-{seconds[-1]:.2f}): **{second / first:.1%}** of it (target: at most "
            "10%).",
            "",
            *_cold(folder),
        ]
    )


def _cold(folder: str) -> list[str]:
    import hfnb

    export = str(hfnb.export(folder, progress=None))
    programs = {
        "openvino_genai alone: import, load, answer": _BARE,
        "hfnb's engine: import, load, answer": _ENGINE,
        "hfnb: import, `hfnb.load`, `llm.invoke`": _LLM,
        "hfnb and pandas: import, `hfnb.load`, `hfnb.run`": _RUN,
        "of these, the import of LangChain's `BaseLLM`, which `hfnb.load` returns": _LANGCHAIN,
    }
    inside: dict[str, list[float]] = {name: [] for name in programs}
    heavy: set[str] = set()

    def timed(name: str) -> None:
        took, _, imported = _python(programs[name] + _SAY, export, _PROMPT)
        inside[name].append(took)
        heavy.update(imported)

    def candidate(name: str):
        return name, lambda _: timed(name)

    in_turn([candidate(name) for name in programs], range(ROUNDS))
    median = {name: sorted(each)[len(each) // 2] for name, each in inside.items()}
    bare = next(iter(median.values()))
    return [
        f"Fresh processes that load the exported decoder and answer one row of 4 tokens, medians "
        f"of {ROUNDS} in turn, from the first import to the answer:",
        "",
        "| | median, s | fastest-slowest, s | ratio |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {median[name]:.2f} | {min(each):.2f}-{max(each):.2f} | "
            f"{median[name] / bare:.2f} |"
            for name, each in inside.items()
        ),
        "",
        f"Target: at most 1.5. Of torch, transformers, optimum and nncf these imported: "
        f"{', '.join(sorted(heavy)) or 'none'}.",
    ]


def _python(code: str, *arguments: str, cache: str | None = None):
    environment = dict(os.environ)
    # A package that pip installed has its bytecode; a checkout gets it by the first import.
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    if cache is not None:
        environment["XDG_CACHE_HOME"] = cache
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    )
    return json.loads(done.stdout.splitlines()[-1])
