"""A fresh process answers its first row soon: without torch, with LangChain beside the compiler."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

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
IMPORTS = """
import sys, threading
by = []
class Look:
    def find_spec(self, name, *rest):
        if name == "langchain_core":
            by.append(threading.current_thread().name)
sys.meta_path.insert(0, Look())
import hfnb
hfnb.load({folder!r}, backend="openvino", reproducible=True)
import json
print(json.dumps(by))
"""


@pytest.mark.parametrize("program", [ENGINE, LOAD, RUN], ids=["engine", "load", "run"])
def test_the_first_answer_imports_no_torch(program: str) -> None:
    text, heavy = said_by(program + SAY)
    assert text
    assert heavy == []


def test_langchain_is_imported_while_openvino_compiles() -> None:
    assert said_by(IMPORTS) == ["hfnb-meanwhile"]


def said_by(program: str) -> Any:
    code = program.format(folder=str(exported("llama")))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "leaked" not in done.stderr
    return json.loads(done.stdout.splitlines()[-1])
