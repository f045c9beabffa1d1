"""What travels between driver and workers arrives as it was, and what can't travel is told."""

import threading
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import hfnb
from hfnb.engines.base import Completion
from hfnb.errors import AnswerError, ModelError, OptionError, RowError
from hfnb.frame.given import read_given
from hfnb.frame.prepare import Checked, check
from hfnb.frame.store import RowStore
from hfnb.ray.model import portable, restored
from hfnb.ray.report import Report, from_bytes, to_bytes, unpacked
from hfnb.ray.task import task_for
from tests.needs import require


class UnsendableError(RowError):
    """An error that holds what no other process can have."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


def checked(llm: Any, prompt: Any = "{x}") -> Checked:
    df = pd.DataFrame({"x": ["a", "b"]})
    given: dict[str, Any] = {"into": "y", "chat": None, "system": None, "nulls": "skip"}
    given |= {"too_long": "error", "on_error": "keep", "journal": False, "batch_size": None}
    return check(df, prompt, llm, {}, limit=None, overwrite=False, read=read_given, **given)


def store_of(size: int) -> RowStore:
    store = RowStore(size)
    store.put(Completion(0, "zero", "eos", None, 3, 1, 0.1, 0.2, 2), "zero")
    store.fail(1, AnswerError("half of it", '{"a"'))
    store.skip(2, "column 'x' is null")
    return store


def test_rows_are_absorbed_where_they_belong() -> None:
    whole, part = RowStore(9), store_of(4)
    whole.put(Completion(8, "last", "length"), "last", "journal")
    whole.absorb(np.array([6, 4, 2, 0]), part)
    assert (whole.done, whole.failed, whole.reused) == (4, 1, 1)
    lines = whole.table(pd.RangeIndex(9))
    assert lines["status"].tolist()[::2] == ["cancelled", "skipped", "error", "ok", "ok"]
    assert lines["prompt_tokens"][6] == 3
    assert (lines["source"][6], lines["source"][8]) == ("generated", "journal")
    assert whole.outputs[6] == "zero"
    error = whole.errors[4]
    assert isinstance(error, AnswerError)
    assert error.text == '{"a"'
    assert whole.skipped == {2: "column 'x' is null"}


def test_a_report_arrives_as_it_was_sent() -> None:
    require("ray")
    sent = Report("a block", "a worker", began=1.0, store=store_of(4), rows=np.arange(4))
    there = unpacked(sent.packed())
    assert there.store is not None
    pd.testing.assert_frame_equal(
        there.store.table(pd.RangeIndex(4)), store_of(4).table(pd.RangeIndex(4))
    )
    there.store.put(Completion(3, "later", "eos"), "later")  # it has a lock of its own


def test_an_error_that_cannot_be_sent_arrives_as_its_message() -> None:
    require("ray")
    store = RowStore(1)
    store.fail(0, UnsendableError("the row's own reason"))
    report = unpacked(Report("a", "b", store=store, problem=UnsendableError("why")).packed())
    assert report.store is not None
    assert str(report.store.errors[0]) == "the row's own reason"
    assert isinstance(report.problem, RowError)
    plain = unpacked(Report("a", "b", problem=_ForeignError("gone")).packed()).problem
    assert isinstance(plain, ModelError)
    assert "gone" in str(plain)


class _ForeignError(Exception):
    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.lock = threading.Lock()


def test_a_slice_of_a_table_travels_without_the_rest() -> None:
    table = pa.table({"x": ["word " * 100] * 1000})
    piece = table.slice(990, 10)
    assert from_bytes(to_bytes(piece)).equals(piece)
    assert len(to_bytes(piece)) < len(to_bytes(table)) / 20


def test_a_chain_that_cannot_be_sent_is_told_before_a_worker_starts() -> None:
    require("ray")
    from langchain_core.prompts import PromptTemplate
    from langchain_core.runnables import RunnableLambda

    lock = threading.Lock()
    llm = hfnb.HuggingFacePipeline(engine=hfnb.EchoEngine())
    chain = PromptTemplate.from_template("{x}") | llm | RunnableLambda(lambda text: (lock, text))
    task = task_for(checked(None, chain), "frame", num_cpus=1, own_journal=False)
    with pytest.raises(OptionError, match="can't be sent to the workers"):
        task.packed()


def test_a_model_is_sent_as_how_to_load_it() -> None:
    llm = hfnb.load("hfnb/numbers-fr", max_new_tokens=5, chat=False)
    sent = portable(llm)
    assert sent.spec.model == "hfnb/numbers-fr"
    there = restored(sent, 1)
    assert there.generation == llm.generation
    assert there.chat is False
    assert portable("hfnb/numbers-fr").spec.model == "hfnb/numbers-fr"
    openvino = sent.spec.__class__("hfnb/numbers-fr", backend="openvino")
    from hfnb.ray.model import _for_cores

    assert dict(_for_cores(openvino, 3).ov_config) == {"INFERENCE_NUM_THREADS": 3}


def test_a_model_that_only_this_process_has_is_refused() -> None:
    from transformers import pipeline

    from hfnb import hub
    from hfnb.spec import ModelSpec

    folder = hub.find(ModelSpec("hfnb/numbers-fr")).folder
    llm = hfnb.HuggingFacePipeline(pipeline=pipeline("text-generation", model=str(folder)))
    with pytest.raises(OptionError, match="was made of a pipeline"):
        portable(llm)
