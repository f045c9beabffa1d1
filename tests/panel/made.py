"""States and results for the tests of the panel's pure parts; the models in them are real."""

from dataclasses import replace
from typing import Any

import pandas as pd

import hfnb
from hfnb.catalogue.entry import ModelEntry
from hfnb.estimating import Estimate
from hfnb.frame.result import RunResult
from hfnb.machine import Device, Devices, Missing
from hfnb.panel import events as on
from hfnb.panel.reduce import reduce
from hfnb.panel.state import Asking, Choice, InUse, State, Table

DECODER = ModelEntry(
    name="a/decoder",
    source="cache",
    tasks=("text-generation",),
    backends=("pytorch", "openvino"),
    parameters=1_000_000,
    dtype="float32",
    size=4_000_000,
    context_length=512,
    has_chat_template=True,
)
EXPORTED = replace(DECODER, name="an/export", backends=("openvino",), dtype="int8")
CPU = Devices(
    [
        Device("pytorch", "cpu", "A processor", 10**9, 10**10),
        Device("openvino", "CPU", "A processor", 10**9, 10**10),
    ],
    [Missing("accelerator for PyTorch", "it is built for the CPU alone", "pip install torch")],
)


def llm(**options: Any) -> hfnb.HuggingFacePipeline:
    """Return a model that answers at once."""
    return hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine(**options))


def ready(rows: int = 25) -> State:
    """Return the state of a panel that could run."""
    return State(
        choice=Choice("a/decoder"),
        here=(DECODER, EXPORTED),
        devices=CPU,
        in_use=InUse(llm(), Choice("a/decoder")),
        tables=(Table("df", ("i", "to"), rows),),
        asking=Asking(table="df", prompt="What is {i}?", into="answer"),
    )


def result(rows: int = 25, fails: tuple[int, ...] = ()) -> RunResult:
    """Return what a run over so many rows left, some of which failed."""
    frame = pd.DataFrame({"i": range(rows), "to": ["<b>x</b>"] * rows})
    engine = hfnb.EchoEngine(fail=lambda text: text in [f"What is {i} in <b>x</b>?" for i in fails])
    return hfnb.run(frame, "What is {i} in {to}?", engine, into="answer", progress=False)


def after(state: State, *events: on.Event) -> State:
    """Return the state after some events."""
    for event in events:
        state = reduce(state, event)
    return state


def estimate(verdict: str) -> Estimate:
    """Return an estimate with a verdict."""
    free = {"fits": 10**10, "tight": 1_100_000_000, "does not fit": 10**8}[verdict]
    sizes = {
        "weights_bytes": 9 * 10**8,
        "kv_bytes": 10**7,
        "compute_bytes": 10**7,
        "libraries_bytes": 0,
        "loading_bytes": 9 * 10**8,
        "total_bytes": 10**9,
        "export_bytes": 0,
        "disk_bytes": 0,
        "free_bytes": free,
    }
    return Estimate(
        model="a/decoder",
        backend="pytorch",
        device="cpu",
        dtype="float32",
        parameters=1_000_000,
        rows=8,
        prompt_tokens=256,
        max_new_tokens=256,
        memory_limit="",
        largest_batch=8,
        **sizes,
    )
