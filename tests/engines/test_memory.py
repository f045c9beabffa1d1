"""Memory that runs out: batches become smaller, finished rows stay, what worked is remembered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from hfnb import hardware
from hfnb.engines import memory
from hfnb.engines.base import Work
from hfnb.engines.memory import Ceiling, MemoryBudget
from hfnb.engines.row import Row
from hfnb.engines.shortage import is_out_of_memory
from hfnb.engines.torch_engine import TorchEngine
from hfnb.errors import EngineError
from hfnb.hardware import Memory
from tests.engines.reference import PROMPTS, answers, engine_of, streamed, texts

Engines = Callable[[str], TorchEngine]
WAYS = [
    pytest.param("llama", {}, id="decoder"),
    pytest.param("t5", {}, id="encoder-decoder"),
    pytest.param("llama", {"max_time": 600.0}, id="generate"),
    pytest.param("llama", {"num_beams": 2}, id="beams"),
    pytest.param("t5", {"max_time": 600.0}, id="generate-encoder-decoder"),
]
"""A model's name, and options that choose each way of the PyTorch engine."""
GROUPS = [prompt + " x" * (row % 3) for row, prompt in enumerate(["one two three"] * 24)]
"""Prompts of few lengths, so that `generate` batches them too."""
ALIKE = [f"{row} one two" for row in range(10)]
"""Prompts of one length."""


@contextmanager
def full(engine: TorchEngine, fits: Callable[[int, int], bool]) -> Iterator[None]:
    """Let each forward pass fail, as on a full accelerator, whose rows and tokens don't fit."""
    model = engine.loaded.model
    forward = model.forward

    def failing(*args: Any, **kwargs: Any) -> Any:
        ids = kwargs.get("input_ids")
        ids = kwargs["decoder_input_ids"] if ids is None else ids
        mask = kwargs["attention_mask"]
        if not fits(len(ids), mask.numel()):
            raise torch.OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB (injected)"
            )
        return forward(*args, **kwargs)

    model.forward = failing
    try:
        yield
    finally:
        model.forward = forward


@pytest.mark.parametrize(
    "fits",
    [lambda rows, tokens: rows <= 4, lambda rows, tokens: tokens <= 60],
    ids=["rows", "tokens"],
)
@pytest.mark.parametrize(("name", "options"), WAYS)
def test_a_batch_too_large_is_tried_smaller_and_finished_rows_stay(
    name: str,
    options: dict[str, Any],
    fits: Callable[[int, int], bool],
    engine: Engines,
    finished: set[Row],
) -> None:
    made, work = engine(name), Work()
    expected = texts(made, GROUPS, max_new_tokens=6, **options)
    finished.clear()
    with full(made, fits):
        done = answers(made, GROUPS, max_new_tokens=6, work=work, **options)
    assert [each.error for each in done] == [None] * len(GROUPS)
    assert [each.text for each in done] == expected
    assert work.memory_backoffs > 0
    assert work.recomputed_rows > 0


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_what_fits_is_remembered_at_the_next_call_and_the_next_load(
    name: str, options: dict[str, Any], engine: Engines, tiny_model: Callable[[str], Path]
) -> None:
    for made in (engine(name), engine(name), engine_of(tiny_model(name))):
        work = Work()
        with full(made, lambda rows, tokens: tokens <= 60):
            texts(made, GROUPS[:8], max_new_tokens=6, work=work, **options)
        if made is engine(name) and not memory._ceilings:
            pytest.fail("nothing was remembered")
    assert work.memory_backoffs <= 1  # it rises slowly, so that it is tried out now and then


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_batches_grow_again_when_there_is_more_memory(
    name: str, options: dict[str, Any], engine: Engines
) -> None:
    made = engine(name)
    given: dict[str, Any] = {"max_new_tokens": 3, **options}
    before, small, later = Work(), Work(), Work()
    texts(made, GROUPS[:8], work=before, **given)
    with full(made, lambda rows, tokens: rows <= 2 * given.get("num_beams", 1)):
        texts(made, GROUPS[:8], work=small, **given)
    for _ in range(30):
        later = Work()
        texts(made, GROUPS[:8], work=later, **given)
        assert later.memory_backoffs == 0
        if later.batch_rows == before.batch_rows:
            break
    assert later.batch_rows == before.batch_rows > 2


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_a_row_that_does_not_fit_alone_is_the_only_one_that_fails(
    name: str, options: dict[str, Any], engine: Engines, finished: set[Row]
) -> None:
    made = engine(name)
    long = "one two three four five " * 8
    prompts = [*GROUPS[:5], long, *GROUPS[5:9]]
    expected = texts(made, GROUPS[:9], max_new_tokens=6, **options)
    tokens = made.count_tokens(long)
    finished.clear()
    with full(made, lambda rows, held: held < tokens):
        done = answers(made, prompts, max_new_tokens=6, **options)
    error = done.pop(5).error
    assert isinstance(error, EngineError)
    assert f"{tokens:,} prompt tokens, and up to 6 new ones" in str(error)
    assert "smaller max_new_tokens" in str(error)
    assert "OutOfMemoryError" in str(error)
    assert isinstance(error.__cause__, torch.OutOfMemoryError)
    assert [each.text for each in done] == expected


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("Exception from src/x.cpp:1:\nstd::bad_alloc"),
    ],
    ids=["host", "torch on a CPU", "OpenVINO"],
)
@pytest.mark.parametrize(("name", "options"), WAYS)
def test_all_kinds_of_missing_memory_are_known(
    error: Exception, name: str, options: dict[str, Any], engine: Engines
) -> None:
    made, work = engine(name), Work()
    expected = texts(made, ALIKE, max_new_tokens=4, **options)

    def fits(rows: int, tokens: int) -> bool:
        if rows > 2:
            raise error
        return True

    with full(made, fits):
        assert texts(made, ALIKE, max_new_tokens=4, work=work, **options) == expected
    assert work.memory_backoffs > 0


def test_what_is_no_lack_of_memory_is_told_apart() -> None:
    for error in (RuntimeError("shapes differ"), ValueError("out of memory"), KeyError("x")):
        assert not is_out_of_memory(error)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_a_step_without_memory_loses_only_half_of_the_rows(name: str, engine: Engines) -> None:
    made, work = engine(name), Work()
    expected = texts(made, GROUPS[:6], max_new_tokens=8)
    steps = [0]

    def fits(rows: int, tokens: int) -> bool:
        steps[0] += 1
        return steps[0] != 4

    with full(made, fits):
        assert texts(made, GROUPS[:6], max_new_tokens=8, work=work) == expected
    assert work.recomputed_rows == 3
    assert work.memory_backoffs == 1


@pytest.mark.parametrize("options", [{}, {"temperature": 1.2, "seed": 3}], ids=["greedy", "seeded"])
@pytest.mark.parametrize(("name", "way"), WAYS)
def test_streams_show_nothing_twice_when_memory_runs_out(
    name: str, way: dict[str, Any], options: dict[str, Any], engine: Engines
) -> None:
    made = engine(name)
    if options and "num_beams" in way:
        pytest.skip("a beam search draws nothing")
    expected = texts(made, GROUPS[:8], max_new_tokens=8, **way, **options)
    passes = [0]

    def fits(rows: int, tokens: int) -> bool:
        passes[0] += 1
        return passes[0] < 5 or rows <= 3

    with full(made, fits):
        deltas, done = streamed(made, GROUPS[:8], max_new_tokens=8, **way, **options)
    assert [each.text for each in done] == expected
    assert ["".join(each) for each in deltas] == expected


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_a_row_that_fails_for_itself_makes_no_later_batch_smaller(
    name: str, options: dict[str, Any], engine: Engines
) -> None:
    made = engine(name)
    before, during, after = Work(), Work(), Work()
    given: dict[str, Any] = {"max_new_tokens": 4, "batch_size": 8, **options}
    prompts = [f"{'x' if row == 5 else 'y'} one" for row in range(16)]
    expected = texts(made, prompts, work=before, **given)
    (mark,) = set(made.token_ids(prompts[5])) - set(made.token_ids(prompts[0]))
    model = made.loaded.model
    body = model.get_encoder() if not made.loaded.is_decoder else model
    forward = body.forward

    def failing(*args: Any, **kwargs: Any) -> Any:
        if bool((kwargs["input_ids"] == mark).any()):
            raise RuntimeError("this row is odd")
        return forward(*args, **kwargs)

    body.forward = failing
    try:
        done = answers(made, prompts, work=during, **given)
    finally:
        body.forward = forward
    assert [row for row, each in enumerate(done) if each.error] == [5]
    assert all(each.text == expected[row] for row, each in enumerate(done) if row != 5)
    assert during.memory_backoffs == 0
    # 8, 4, 2 and 1 rows are tried; the other batch of 8 is whole.
    assert during.recomputed_rows == 8 + 4 + 2
    assert during.batch_rows == before.batch_rows
    texts(made, prompts, work=after, **given)
    assert after == before


def test_an_error_of_memory_keeps_no_tensors(engine: Engines) -> None:
    """A traceback holds the variables of its frames: all that the failed pass had made."""
    made = engine("llama")
    with full(made, lambda rows, tokens: False):
        (done,) = answers(made, ["one two three"], max_new_tokens=4)
    assert done.error is not None
    problem = done.error.__cause__
    assert isinstance(problem, torch.OutOfMemoryError)
    trace = problem.__traceback__
    held: list[object] = []
    while trace is not None:
        held += [each for each in trace.tb_frame.f_locals.values() if torch.is_tensor(each)]
        trace = trace.tb_next
    assert held == []


# --- what is free -----------------------------------------------------------------------------


def free_memory(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch, count: int) -> list[int]:
    """Let so many bytes be free; return a list with an item for each look."""
    looks: list[int] = []

    def look() -> Memory:
        looks.append(1)
        return Memory(count, 1_000_000_000)

    monkeypatch.setattr(engine._budget, "_look", look)
    engine._budget.look_anew()
    return looks


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_rows_are_added_only_while_there_is_memory_for_them(
    name: str, options: dict[str, Any], engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, plenty, little, none = engine(name), Work(), Work(), Work()
    expected = texts(made, ALIKE, max_new_tokens=6, work=plenty, **options)
    budget, beams = made._budget, options.get("num_beams", 1)
    tokens = max(map(made.count_tokens, ALIKE)) + 6
    room = int(4.5 * tokens * budget.bytes_per_token * beams)
    monkeypatch.setattr(budget, "bytes_to_compute", 0)
    monkeypatch.setattr(budget, "_measured", 10**9)  # not again
    monkeypatch.setattr(memory, "_LOOK_S", 0.0)

    def look() -> Memory:
        scheduler = made._scheduler
        rows = [] if scheduler is None else scheduler._batch.rows
        held = sum(len(row.prompt_ids) + len(row.new_ids) for row in rows)
        free = memory._LEAST_RESERVE + room - held * budget.bytes_per_token
        return Memory(free, 1_000_000_000)

    monkeypatch.setattr(budget, "_look", look)
    assert texts(made, ALIKE, max_new_tokens=6, work=little, **options) == expected
    assert 1 < little.batch_rows <= 4 < plenty.batch_rows
    assert little.memory_backoffs == 0
    free_memory(made, monkeypatch, 0)  # one row is always tried
    assert texts(made, ALIKE, max_new_tokens=6, work=none, **options) == expected
    assert none.batch_rows == 1


def test_when_others_take_the_memory_fewer_rows_go_on(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, work = engine("llama"), Work()
    expected = texts(made, GROUPS, max_new_tokens=20)
    free = [10**12]
    monkeypatch.setattr(made._budget, "_look", lambda: Memory(free[0], 10**9))
    monkeypatch.setattr(memory, "_LOOK_S", 0.0)
    passes = [0]

    def fits(rows: int, tokens: int) -> bool:
        passes[0] += 1
        free[0] = 0 if 5 <= passes[0] < 12 else 10**12
        return True

    with full(made, fits):
        assert texts(made, GROUPS, max_new_tokens=20, work=work) == expected
    assert work.memory_backoffs >= 3
    assert work.recomputed_rows > work.batch_rows // 2


def test_memory_is_looked_at_a_few_times_a_second_and_not_at_each_step(
    engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, work = engine("llama"), Work()
    looks = free_memory(made, monkeypatch, 10**12)
    monkeypatch.setattr(memory, "_LOOK_S", 3600.0)
    texts(made, PROMPTS, batch_size=4, max_new_tokens=30, work=work)
    assert work.forwards > 100
    assert len(looks) == 1


@pytest.mark.parametrize(("name", "options"), WAYS)
def test_each_call_looks_at_the_memory_anew(
    name: str, options: dict[str, Any], engine: Engines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two calls a notebook may have taken most of what there was."""
    made, before, after = engine(name), Work(), Work()
    monkeypatch.setattr(memory, "_LOOK_S", 3600.0)
    free_memory(made, monkeypatch, 10**12)
    expected = texts(made, ALIKE, max_new_tokens=4, work=before, **options)
    monkeypatch.setattr(made._budget, "_look", lambda: Memory(0, 10**9))
    assert texts(made, ALIKE, max_new_tokens=4, work=after, **options) == expected
    assert (before.batch_rows, after.batch_rows) == (len(ALIKE), 1)


def test_what_a_forward_pass_takes_is_measured(engine: Engines) -> None:
    made = engine("llama")
    budget = MemoryBudget(bytes_to_compute=1)
    with budget.measured(100):
        torch.ones(40_000_000)
    assert budget.bytes_to_compute == 1  # too few tokens to tell
    with budget.measured(1000):
        block = torch.ones(40_000_000)
        del block
    assert 100_000 < budget.bytes_to_compute < 250_000  # 160 MB over 1,000 tokens
    with budget.measured(1500):
        torch.ones(1)
    assert budget.bytes_to_compute > 100_000  # not much larger: not measured again
    texts(made, ["one two " * 40] * 8, max_new_tokens=2)
    assert made._budget.bytes_per_token == 2 * 2 * 64 * 4


def test_a_measure_goes_by_the_devices_own_count_where_it_has_one() -> None:
    counts = iter([(100, 5000), (100, 5000), (100, 5000), (200, 9000)])
    budget = MemoryBudget(bytes_to_compute=3, peak=lambda: next(counts))
    with budget.measured(1000):
        pass
    assert budget.bytes_to_compute == 3  # a higher peak came before: nothing can be told
    with budget.measured(1000):
        pass
    assert budget.bytes_to_compute == 8


# --- ceilings ---------------------------------------------------------------------------------


def test_a_ceiling_halves_what_was_added_and_falls_back_to_what_worked() -> None:
    ceiling = Ceiling()
    ceiling.finished(10, 1000)
    assert ceiling.tokens is None
    ceiling.failed(1000)
    assert ceiling.tokens == 500
    ceiling.failed(400, beside=100)
    assert ceiling.tokens == 300
    for _ in range(8):
        ceiling.finished(30, 290)
    assert 300 < ceiling.tokens < 400
    ceiling.failed(ceiling.tokens)
    assert ceiling.tokens == 290
    ceiling.failed(290)  # now there is less memory than there was
    assert ceiling.tokens == 145


def test_a_ceiling_that_was_too_high_each_time_rises_more_slowly() -> None:
    ceiling, rises = Ceiling(), []
    ceiling.failed(2000)
    for _ in range(4):
        before = ceiling.tokens or 0
        ceiling.finished(800, before)
        rises.append((ceiling.tokens or 0) - before)
        ceiling.failed(ceiling.tokens or 0)
    assert rises == sorted(rises, reverse=True)
    assert rises[-1] <= rises[0] // 4


def test_a_ceiling_always_falls_until_one_row_stands_alone() -> None:
    ceiling, tokens, failures = Ceiling(), 10_000, 0
    while tokens > 1:
        ceiling.failed(tokens)
        assert (ceiling.tokens or 0) < tokens
        tokens, failures = ceiling.tokens or 0, failures + 1
    assert failures < 20


def test_one_row_too_long_leaves_the_others_half_its_tokens() -> None:
    ceiling = Ceiling()
    for tokens in (1600, 800, 400):
        ceiling.failed(tokens)
    ceiling.does_not_fit(1000)
    assert ceiling.tokens == 500


def test_control_groups_around_the_process_count(tmp_path: Path) -> None:
    own = tmp_path / "own"
    own.write_text("4:cpu,memory:/job/step\n1:name=systemd:/\n0::/job/step\n")
    for version in (1, 2):
        root = tmp_path / str(version)
        top = root / "memory" if version == 1 else root
        names = (
            ("memory.limit_in_bytes", "memory.usage_in_bytes")
            if version == 1
            else ("memory.max", "memory.current")
        )
        for folder, most, used in (("job", 5_000_000, 4_500_000), ("job/step", 900_000, 100_000)):
            (top / folder).mkdir(parents=True, exist_ok=True)
            (top / folder / names[0]).write_text(f"{most}\n")
            (top / folder / names[1]).write_text(f"{used}\n")
        assert hardware._cgroup_memory(root, own) == (5_000_000, 4_500_000)
        (top / "job/step" / names[1]).write_text("700000\n")
        assert hardware._cgroup_memory(root, own) == (900_000, 700_000)
        (top / "job/step" / names[0]).write_text("max\n")
        assert hardware._cgroup_memory(root, own) == (5_000_000, 4_500_000)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no ulimit")
def test_ulimits_count(monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    limit = [0, 0]

    def told(which: int) -> tuple[int, int]:
        most = limit[which == resource.RLIMIT_DATA]
        return (most or resource.RLIM_INFINITY, resource.RLIM_INFINITY)

    monkeypatch.setattr(resource, "getrlimit", told)
    unlimited = hardware.memory_free()
    used = hardware.psutil.Process().memory_info()
    for which, taken in ((0, used.vms), (1, used.data)):
        limit[:] = [0, 0]
        limit[which] = taken + 50_000_000
        assert 0 < hardware.memory_free() < 80_000_000 < unlimited
