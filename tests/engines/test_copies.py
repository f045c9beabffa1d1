"""Several copies of a model that share the rows of a call."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator

import pandas as pd
import pytest

import hfnb
from hfnb.engines.base import Completion, Request, Work
from hfnb.engines.copies import Copies
from hfnb.engines.deal import Deal
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
    assert min(each.calls for each in engines) >= 1
    assert sum(each.calls for each in engines) == 101
    assert (work.forwards, work.prompt_tokens) == (101, 202)


def test_fewer_rows_than_copies_and_none_at_all() -> None:
    several = copies(EchoEngine(), EchoEngine(), EchoEngine())
    assert [each.row for each in several.generate(requests(1), PLAIN)] == [0]
    assert list(several.generate([], PLAIN, work=Work())) == []


def test_rows_are_read_as_they_are_drawn_and_the_quicker_copy_takes_over() -> None:
    slow, quick = EchoEngine(delay_s=0.05), EchoEngine()
    read: list[int] = []

    def source() -> Iterator[Request]:
        for each in requests(20_000):
            read.append(each.row)
            yield each

    answers = copies(slow, quick).generate(source(), PLAIN)
    next(answers)
    rest = len(list(answers))
    assert rest == 19_999
    assert slow.calls < 1_000  # of those that lay before it, the quick one has taken most

    read.clear()
    some = copies(EchoEngine(delay_s=0.01), EchoEngine(delay_s=0.01)).generate(source(), PLAIN)
    for _ in range(5):
        next(some)
    some.close()
    assert len(read) < 1_000


def test_an_engine_that_draws_eagerly_at_first_leaves_the_others_their_share() -> None:
    deal = Deal(requests(100), 2)
    assert [each.row for each in deal.hand(0)] == list(range(0, 100, 2))
    assert [each.row for each in deal.hand(1)] == list(range(1, 100, 2))

    deal = Deal(requests(100), 2)
    first = deal.hand(0)
    next(first)
    deal.answered(0)  # under way, it takes over
    assert len(list(first)) > 90
    assert len(list(deal.hand(1))) >= 1


def test_what_reading_the_rows_raises_is_raised() -> None:
    def source() -> Iterator[Request]:
        yield from requests(10)
        raise ValueError("no more of them")

    with pytest.raises(ValueError, match="no more of them"):
        list(copies(EchoEngine(), EchoEngine()).generate(source(), PLAIN))


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
