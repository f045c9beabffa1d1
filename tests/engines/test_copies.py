"""Several copies of a model that share the rows of a call."""

from __future__ import annotations

import pickle
import threading

import pandas as pd
import pytest

import hfnb
from hfnb.engines.base import Completion, Request, Work
from hfnb.engines.copies import Copies
from hfnb.engines.echo import EchoEngine
from hfnb.errors import DeviceError, OptionError
from hfnb.spec import GenerationSpec, ModelSpec
from tests.needs import require

NAME = "hfnb/numbers-fr"
PLAIN = GenerationSpec()


def requests(count: int) -> list[Request]:
    return [Request(row, f"row {row}") for row in range(count)]


def copies(*engines: EchoEngine) -> Copies:
    return Copies(engines, ModelSpec(NAME))


def test_every_row_is_answered_once_and_the_copies_share_them() -> None:
    engines = EchoEngine(), EchoEngine()
    work = Work()
    answers = list(copies(*engines).generate(requests(101), PLAIN, work=work))
    assert sorted(each.row for each in answers) == list(range(101))
    assert all(each.text == f"row {each.row}" for each in answers if isinstance(each, Completion))
    assert {each.calls for each in engines} == {50, 51}
    assert (work.forwards, work.prompt_tokens) == (101, 202)


def test_fewer_rows_than_copies_and_none_at_all() -> None:
    several = copies(EchoEngine(), EchoEngine(), EchoEngine())
    assert [each.row for each in several.generate(requests(1), PLAIN)] == [0]
    assert list(several.generate([], PLAIN, work=Work())) == []


class Broken(EchoEngine):
    def generate(self, *args, **options):
        raise RuntimeError("this copy is broken")


def test_what_one_copy_raises_is_raised_and_ends_the_others() -> None:
    slow = EchoEngine(delay_s=0.05)
    with pytest.raises(RuntimeError, match="this copy is broken"):
        list(copies(slow, Broken()).generate(requests(400), PLAIN))
    assert slow.calls < 200


def test_closing_and_cancelling_end_all_copies() -> None:
    engines = EchoEngine(delay_s=0.01), EchoEngine(delay_s=0.01)
    answers = copies(*engines).generate(requests(1000), PLAIN)
    next(answers)
    answers.close()
    assert sum(each.calls for each in engines) < 1000
    cancel = threading.Event()
    cancelled = copies(*engines).generate(requests(1000), PLAIN, cancel=cancel)
    next(cancelled)
    cancel.set()
    assert len(list(cancelled)) < 999
    assert not [each for each in threading.enumerate() if each.name.startswith("hfnb-copy")]


@pytest.mark.parametrize("backend", ["pytorch", "openvino"])
def test_two_copies_answer_a_run_as_one_model_does(backend: str) -> None:
    if backend == "openvino":
        require("openvino")
    frame = pd.DataFrame({"i": range(60, 80)})
    prompt = "What is the number {i} in french?"
    options = {"progress": False, "journal": False}
    one = hfnb.run(frame, prompt, hfnb.load(NAME, backend=backend, device="cpu"), **options)
    llm = hfnb.load(NAME, backend=backend, device=["cpu", "cpu"])
    two = hfnb.run(frame, prompt, llm, **options)
    assert two.data["output"].tolist() == one.data["output"].tolist()
    assert two.stats.device.lower() == "cpu, cpu"
    assert "2 copies share the rows" in two.stats.note
    assert (
        llm.engine.info.weight_bytes
        == 2 * hfnb.load(NAME, backend=backend, device="cpu").engine.info.weight_bytes
    )
    assert "".join(llm.stream("What is the number 72 in french?")) == "soixante-douze"
    assert pickle.loads(pickle.dumps(llm)).engine.info.device == llm.engine.info.device
    assert hfnb.unload(llm).models == (NAME,)


@pytest.mark.parametrize(
    ("device", "kind", "told"),
    [
        ([], OptionError, "a device, or a list of them"),
        (["cpu", None], OptionError, "names and numbers of devices"),
        (["cpu", "gpu0"], DeviceError, "Unknown device 'gpu0'"),
    ],
)
def test_a_list_with_something_else_in_it_is_refused(device: object, kind: type, told: str) -> None:
    with pytest.raises(kind, match=told):
        hfnb.load(NAME, device=device)  # type: ignore[arg-type]


@pytest.mark.cuda
def test_two_copies_on_cuda_answer_as_one() -> None:
    llm = hfnb.load(NAME, device=["cuda:0", "cuda:0"])
    assert llm.batch(["What is the number 72 in french?"] * 4) == ["soixante-douze"] * 4
