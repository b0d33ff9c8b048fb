"""The stopwatch: what a sample is, and which phase a nanosecond belongs to on an async device."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.devices import DEVICES
from bench.matrix.case import PHASES, WHOLE
from bench.measure.protocol import KINDS, PHASES_KIND, QUANTILES, WHOLE_KIND
from bench.measure.stopwatch import (
    percentiles,
    time_block,
    time_calls,
    time_phases,
    time_steps,
)
from sumnet.train import build_loop
from tests.measure.simulation import Costs, SimulatedDevice, simulated_loop

COSTS = st.builds(Costs, host=st.integers(0, 10_000), device=st.integers(0, 10_000))


class ScriptedClock:
    """A clock whose time only passes where it is told to."""

    def __init__(self) -> None:
        self.now = 0
        self.marks: list[int] = []
        self.reads = 0

    def mark(self) -> None:
        self.marks.append(self.now)

    def read(self) -> list[int]:
        self.reads += 1
        marks, self.marks = self.marks, []
        return marks


def scripted_loop(clock: ScriptedClock, durations: Callable[[str, int], int]) -> Any:
    """A loop whose phases take `durations(phase, step)`."""
    steps = 0

    def spend(phase: str) -> None:
        clock.now += durations(phase, steps)

    def step() -> None:
        nonlocal steps
        spend("step")
        steps += 1

    def train_step() -> None:
        for phase in ("forward", "backward"):
            spend(phase)
        step()

    return SimpleNamespace(
        forward=lambda: spend("forward"),
        backward=lambda loss: spend("backward"),
        step=step,
        train_step=train_step,
    )


# Samples


@pytest.mark.parametrize("samples", [2, 8, 40])
def test_a_block_holds_as_many_samples_as_asked_for_of_each_series(samples: int) -> None:
    loop, clock = build_loop(), DEVICES["cpu"].clock()
    for kind, series in KINDS.items():
        timed = time_block(loop, clock, kind, samples)
        assert tuple(timed) == series
        assert [len(values) for values in timed.values()] == [samples] * len(series)
        assert all(value > 0 for values in timed.values() for value in values)
        assert clock.read() == [], "nothing is left for the next block"


def test_a_block_of_phases_takes_one_step_more_than_it_holds_samples() -> None:
    steps: list[int] = []

    def durations(phase: str, step: int) -> int:
        steps.append(step)
        return 1

    loop = scripted_loop(clock := ScriptedClock(), durations)
    time_phases(loop, clock, 5)
    assert steps == [step for step in range(6) for _ in PHASES]


def test_the_first_step_is_discarded() -> None:
    def durations(phase: str, step: int) -> int:
        return 1_000_000 if step == 0 else 10 * step + PHASES.index(phase)

    loop = scripted_loop(clock := ScriptedClock(), durations)
    assert time_phases(loop, clock, 3) == {
        "forward": [10, 20, 30],
        "backward": [11, 21, 31],
        "step": [12, 22, 32],
    }
    loop = scripted_loop(clock := ScriptedClock(), durations)
    assert time_steps(loop, clock, 3) == {WHOLE: [33, 63, 93]}


def test_the_first_call_is_discarded() -> None:
    clock = ScriptedClock()
    costs = iter([999, 1, 2, 3])

    def call() -> None:
        clock.now += next(costs)

    assert time_calls(call, clock, 3) == [1, 2, 3]


def test_the_whole_step_is_timed_with_no_mark_inside_it() -> None:
    loop = scripted_loop(clock := ScriptedClock(), lambda phase, step: len(clock.marks))
    # Each phase takes as many nanoseconds as there are marks so far: 1 in the first step, 2 in ...
    assert time_steps(loop, clock, 4) == {WHOLE: [6, 9, 12, 15]}


def test_the_device_is_waited_for_once_a_block() -> None:
    for kind in KINDS:
        loop = scripted_loop(clock := ScriptedClock(), lambda phase, step: 1)
        time_block(loop, clock, kind, 8)
        assert clock.reads == 1


def test_a_kind_of_block_says_which_way_it_is_timed() -> None:
    assert set(KINDS) == {PHASES_KIND, WHOLE_KIND}
    loop = scripted_loop(clock := ScriptedClock(), lambda phase, step: 7)
    assert time_block(loop, clock, PHASES_KIND, 2) == {phase: [7, 7] for phase in PHASES}
    assert time_block(loop, clock, WHOLE_KIND, 2) == {WHOLE: [21, 21]}


@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 3), min_size=3, max_size=20))
def test_phases_are_contiguous_and_sum_to_the_span(steps: list[tuple[int, int, int]]) -> None:
    loop = scripted_loop(
        clock := ScriptedClock(), lambda phase, step: steps[step][PHASES.index(phase)]
    )
    timed = time_phases(loop, clock, len(steps) - 1)
    span = clock.now - sum(steps[0])
    assert sum(sum(values) for values in timed.values()) == span
    assert list(zip(*timed.values(), strict=True)) == steps[1:]


# A device the host runs ahead of

DEVICE_BOUND = {"forward": Costs(2, 300), "backward": Costs(3, 500), "step": Costs(1, 200)}
HOST_BOUND = {"forward": Costs(300, 20), "backward": Costs(500, 30), "step": Costs(200, 10)}


def test_a_device_bound_loop_gets_the_devices_time_for_each_phase() -> None:
    device = SimulatedDevice(latency=40)
    timed = time_phases(simulated_loop(device, **DEVICE_BOUND), device, 10)
    assert device.lead > 5 * 1000, "the host ran ahead by whole steps"
    assert timed == {"forward": [300] * 10, "backward": [500] * 10, "step": [200] * 10}


def test_the_hosts_clock_would_have_given_the_cost_of_launching() -> None:
    device = SimulatedDevice(latency=40)
    timed = time_phases(simulated_loop(device, **DEVICE_BOUND), device.host_clock(), 10)
    assert timed == {"forward": [2] * 10, "backward": [3] * 10, "step": [1] * 10}


def test_a_host_bound_loop_gets_the_time_from_launch_to_launch() -> None:
    """The device waits for the host: its span from mark to mark is the host's time."""
    device = SimulatedDevice(latency=5)
    timed = time_phases(simulated_loop(device, **HOST_BOUND), device, 10)
    total = sum(sum(values) for values in timed.values())
    assert total == 10 * (300 + 500 + 200)
    # A mark after a phase lands when the device has done it: its own work late, never more.
    assert timed == {
        "forward": [300 + 20 - 10] * 10,
        "backward": [500 + 30 - 20] * 10,
        "step": [200 + 10 - 30] * 10,
    }


def test_a_mixed_loop_gives_each_phase_what_the_device_saw_of_it() -> None:
    """A forward that starves the device beside a backward that floods it."""
    device = SimulatedDevice()
    costs = {"forward": Costs(800, 10), "backward": Costs(5, 500), "step": Costs(5, 100)}
    timed = time_phases(simulated_loop(device, **costs), device, 10)
    # The device works 610 of the 810 the host needs, and waits the rest of it for a forward.
    assert timed == {"forward": [210] * 10, "backward": [500] * 10, "step": [100] * 10}


def test_launching_that_hides_behind_the_devices_work_is_no_time_of_the_phase() -> None:
    device = SimulatedDevice()
    costs = {"forward": Costs(800, 10), "backward": Costs(5, 900), "step": Costs(5, 100)}
    timed = time_phases(simulated_loop(device, **costs), device, 10)
    assert timed == {"forward": [10] * 10, "backward": [900] * 10, "step": [100] * 10}


@pytest.mark.parametrize("costs", [DEVICE_BOUND, HOST_BOUND])
def test_the_whole_step_is_as_long_as_its_phases_together(costs: dict[str, Costs]) -> None:
    phases, whole = SimulatedDevice(latency=40), SimulatedDevice(latency=40)
    timed = time_phases(simulated_loop(phases, **costs), phases, 10)
    steps = time_steps(simulated_loop(whole, **costs), whole, 10)
    assert steps[WHOLE] == [sum(step) for step in zip(*timed.values(), strict=True)]


def test_the_latency_of_the_first_launch_falls_into_the_discarded_step() -> None:
    slow, quick = SimulatedDevice(latency=100_000), SimulatedDevice()
    timed = [
        time_phases(simulated_loop(device, **DEVICE_BOUND), device, 4) for device in (slow, quick)
    ]
    assert timed[0] == timed[1]


def test_the_cost_of_marking_is_hidden_where_the_device_is_the_bottleneck() -> None:
    device = SimulatedDevice(latency=40, enqueue=7)
    timed = time_phases(simulated_loop(device, **DEVICE_BOUND), device, 10)
    assert timed == {"forward": [300] * 10, "backward": [500] * 10, "step": [200] * 10}


def test_one_block_leaves_nothing_of_itself_in_the_next() -> None:
    device = SimulatedDevice(latency=40)
    loop = simulated_loop(device, **DEVICE_BOUND)
    first, second = (time_phases(loop, device, 5) for _ in range(2))
    assert first == second
    assert device.waits == 2
    assert device.host >= device.free, "the block ended with the device idle"


@given(forward=COSTS, backward=COSTS, step=COSTS, latency=st.integers(0, 100_000))
def test_whatever_the_costs_no_phase_is_shorter_than_its_work_nor_all_longer_than_they_took(
    forward: Costs, backward: Costs, step: Costs, latency: int
) -> None:
    device = SimulatedDevice(latency=latency)
    costs = {"forward": forward, "backward": backward, "step": step}
    timed = time_phases(simulated_loop(device, **costs), device, 8)
    for phase, values in timed.items():
        assert min(values) >= costs[phase].device
    host, busy = sum(c.host for c in costs.values()), sum(c.device for c in costs.values())
    # 24 phases in the time the slower of the two needs, give or take what was under way.
    span = sum(sum(values) for values in timed.values())
    assert 8 * max(host, busy) - busy <= span <= 8 * max(host, busy) + host + busy


# Percentiles


@given(st.lists(st.integers(1, 10**10), min_size=2, max_size=60))
def test_percentiles_are_those_of_numpys_linear_method(durations: list[int]) -> None:
    expected = np.percentile(durations, QUANTILES, method="linear")
    assert percentiles(durations) == pytest.approx(expected, abs=0.501, rel=1e-12)


def test_percentiles_do_not_depend_on_the_order_of_samples() -> None:
    durations = list(range(0, 1000, 10))
    shuffled = random.Random(1).sample(durations, len(durations))
    assert percentiles(shuffled) == percentiles(durations) == [99, 248, 495, 891]


def test_percentiles_are_whole_nanoseconds_in_the_order_of_their_names() -> None:
    assert QUANTILES == (10, 25, 50, 90)
    values = percentiles([3, 1, 4, 1, 5, 9, 2, 6])
    assert values == sorted(values)
    assert all(type(value) is int for value in values)
