"""The arithmetic of forecasts, on a machine whose costs are known."""

import dataclasses
import math

import pytest

from hfnb.frame.forecast import (
    Estimate,
    Wave,
    Workload,
    device_memory_for,
    forecast_of,
    memory_for,
    new_tokens_of,
    seconds_for,
)

BATCH = 64
PROMPT, NEW = 100, 20


@dataclasses.dataclass
class Machine:
    """Computes rows that are all alike, `BATCH` at a time."""

    per_forward: float = 0.0
    per_token: float = 0.0
    starting: float = 0.0
    """Seconds that the first rows take besides."""

    def seconds(self, rows: int) -> float:
        tokens = rows * (PROMPT + NEW)
        return self.per_forward * self.forwards(rows) + self.per_token * tokens

    def forwards(self, rows: int) -> int:
        return math.ceil(rows / BATCH) * NEW

    def waves(self, *sizes: int) -> list[Wave]:
        return [
            Wave(
                rows=rows,
                seconds=self.seconds(rows) + (self.starting if at == 0 else 0.0),
                given_tokens=rows * PROMPT,
                prompt_tokens=rows * PROMPT,
                padding_tokens=0,
                new_tokens=rows * NEW,
                longest=NEW,
                forwards=self.forwards(rows),
                together=min(rows, BATCH),
                memory_bytes=1_000_000_000 + 1_000_000 * min(rows, BATCH),
            )
            for at, rows in enumerate(sizes)
        ]


def load(rows: int, **more: object) -> Workload:
    certain = Estimate(NEW, NEW, NEW)
    return Workload(rows, PROMPT, PROMPT, certain, NEW)._replace(**more)  # type: ignore[arg-type]


MACHINES = [
    Machine(per_forward=0.02, per_token=0.0001, starting=0.8),
    Machine(per_forward=0.05),
    Machine(per_token=0.0002, starting=0.8),
]


@pytest.mark.parametrize("machine", MACHINES)
def test_full_waves_tell_the_time_of_a_long_run(machine: Machine) -> None:
    found = seconds_for(machine.waves(3, 12, 48, 192, 768), load(50_000))
    truth = machine.seconds(50_000)
    assert found.likely == pytest.approx(truth, rel=0.1)
    assert found.low < truth < found.high < 1.5 * truth


@pytest.mark.parametrize("machine", MACHINES)
def test_waves_that_fill_no_batch_tell_a_range_with_the_truth_in_it(machine: Machine) -> None:
    found = seconds_for(machine.waves(3, 12, 48), load(50_000))
    assert found.low < machine.seconds(50_000) < found.high


@pytest.mark.parametrize("machine", MACHINES)
def test_a_batch_size_that_was_given_needs_no_full_wave(machine: Machine) -> None:
    found = seconds_for(machine.waves(3, 12, 48), load(50_000, most_rows=BATCH))
    assert found.likely == pytest.approx(machine.seconds(50_000), rel=0.1)


@pytest.mark.parametrize("machine", MACHINES)
def test_one_small_wave_tells_a_wide_range_with_the_truth_in_it(machine: Machine) -> None:
    found = seconds_for(machine.waves(3), load(50_000))
    assert found.low < machine.seconds(50_000) < found.high * 1.3
    assert found.high > 5 * found.low


def test_what_starting_costs_is_not_forecast_again_for_every_row() -> None:
    machine = Machine(per_token=0.0001, starting=60.0)
    found = seconds_for(machine.waves(3, 12, 48, 192), load(5_000))
    assert found.likely == pytest.approx(machine.seconds(5_000), rel=0.1)


def test_a_wave_that_was_cut_short_tells_costs_all_the_same() -> None:
    machine = Machine(per_forward=0.02, per_token=0.0001)
    part = machine.waves(192)[0]
    part = part._replace(
        whole=False,
        forwards=30,
        prompt_tokens=9_600,
        new_tokens=1_500,
        longest=0,
        seconds=30 * 0.02 + 11_100 * 0.0001,
    )
    found = seconds_for([*machine.waves(3, 12), part], load(50_000))
    assert found.low < machine.seconds(50_000) < found.high


def test_tokens_that_rows_share_are_not_forecast_for_each_of_them() -> None:
    machine = Machine(per_token=0.0002)
    shared = [
        each._replace(
            prompt_tokens=each.rows * 10, seconds=machine.per_token * each.rows * (10 + NEW)
        )
        for each in machine.waves(3, 48, 192)
    ]
    found = seconds_for(shared, load(50_000))
    assert found.likely == pytest.approx(0.0002 * 50_000 * (10 + NEW), rel=0.01)


def test_unsure_answers_make_the_range_wider() -> None:
    waves = Machine(per_forward=0.02, per_token=0.0001).waves(3, 192, 768)
    sure = seconds_for(waves, load(50_000))
    unsure = seconds_for(waves, load(50_000, new_tokens=Estimate(10.0, NEW, 40.0)))
    assert unsure.low < sure.low
    assert unsure.high > sure.high
    assert unsure.likely == sure.likely


def test_nothing_to_compute_takes_the_time_of_the_rest_alone() -> None:
    found = forecast_of([], load(0), memory=1_000, device=None, other_s=2.0)
    assert found.seconds == (2.0, 2.0, 2.0)
    assert found.memory == (1_000.0, 1_000.0, 1_000.0)
    assert found.device_memory is None
    assert not found.batch_is_known


def test_an_engine_that_counts_no_forward_passes_is_forecast_by_its_tokens() -> None:
    machine = Machine(per_token=0.0002)
    waves = [each._replace(forwards=0, together=1) for each in machine.waves(3, 12, 48)]
    found = seconds_for(waves, load(50_000))
    assert found.likely == pytest.approx(machine.seconds(50_000), rel=0.01)


def test_new_tokens_of_many_rows_are_known_better_than_of_few() -> None:
    few, many = new_tokens_of([2, 4, 6]), new_tokens_of([2, 4, 6] * 100)
    assert few == (2.0, 4.0, 6.0)
    assert many.likely == 4.0
    assert 3.5 < many.low < 4.0 < many.high < 4.5


def test_memory_that_full_waves_have_shown_does_not_grow_but_by_the_results() -> None:
    waves = Machine(per_token=0.1).waves(3, 48, 192)
    found = memory_for(1_000_000_000, waves, load(10_000, held_rows=10_000, row_bytes=400.0))
    assert found.low == 1_064_000_000
    assert found.likely == 1_064_000_000 + 10_000 * (100 + 400)
    assert found.high > found.likely


def test_memory_of_small_waves_grows_with_the_rows_to_come() -> None:
    waves = Machine(per_token=0.1).waves(3, 12)
    found = memory_for(1_000_000_000, waves, load(10_000, most_rows=BATCH))
    assert found.low == 1_012_000_000
    assert found.low < found.likely <= 1_064_000_000 + 10_000 * 100
    assert found.high >= 1_064_000_000


def test_memory_of_longer_prompts_than_were_measured_is_more() -> None:
    waves = Machine(per_token=0.1).waves(3, 48, 192)
    usual = memory_for(1_000_000_000, waves, load(10_000))
    longer = memory_for(1_000_000_000, waves, load(10_000, longest_prompts=1_000.0))
    assert longer.likely > usual.likely


def test_memory_on_an_accelerator_is_forecast_where_it_was_measured() -> None:
    waves = Machine(per_token=0.1).waves(3, 48, 192)
    assert device_memory_for(0, waves, load(10_000)) is None
    on = [each._replace(device_bytes=2 * each.memory_bytes) for each in waves]
    found = device_memory_for(2_000_000_000, on, load(10_000))
    assert found is not None
    assert found.likely == 2_128_000_000
