"""A fresh process answers its first row without torch, transformers and optimum."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.needs import require
from tests.openvino.engines import exported

require("openvino")

ENGINE = """
from hfnb.engines.base import Request
from hfnb.engines.registry import load_engine
from hfnb.spec import GenerationSpec, ModelSpec
engine = load_engine(ModelSpec({folder!r}, backend="openvino", reproducible=True))
(done,) = engine.generate([Request(0, "a")], GenerationSpec.of(max_new_tokens=3))
text = done.text
engine.close()
"""
LOAD = """
import hfnb
llm = hfnb.load({folder!r}, backend="openvino", reproducible=True, max_new_tokens=3)
text = llm.invoke("a")
"""
RUN = """
import hfnb, pandas
llm = hfnb.load({folder!r}, backend="openvino", reproducible=True, max_new_tokens=3)
result = hfnb.run(pandas.DataFrame({{"x": ["a"]}}), "{{x}}", llm)
text = result.data["output"].iloc[0]
"""
SAY = """
import json, sys
heavy = [each for each in ("torch", "transformers", "optimum", "nncf") if each in sys.modules]
print(json.dumps([text, heavy]))
"""


@pytest.mark.parametrize("program", [ENGINE, LOAD, RUN], ids=["engine", "load", "run"])
def test_the_first_answer_imports_no_torch(program: str) -> None:
    code = program.format(folder=str(exported("llama"))) + SAY
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    text, heavy = json.loads(done.stdout.splitlines()[-1])
    assert text
    assert heavy == []
    assert "leaked" not in done.stderr
