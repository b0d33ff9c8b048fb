"""The stopwatch: what a sample is, and which phase a nanosecond belongs to on an async device."""

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.devices import device_named
from bench.devices.base import Clock
from bench.devices.cpu import WallClock
from bench.matrix.case import DISPATCH, LATENCY, THROUGHPUT, WHOLE
from bench.matrix.step import PHASES
from bench.protocol.messages import (
    CEILING,
    KINDS,
    PHASES_KIND,
    QUANTILES,
    THROUGHPUT_KIND,
    WAITING_KIND,
    WHOLE_KIND,
    series_of,
)
from bench.worker.refusals import PhasesUnclear
from bench.worker.timing import (
    IN_FLIGHT,
    Stopwatch,
    percentiles,
    prefixes_of,
    time_block,
    time_calls,
    time_in_flight,
    time_phases,
    time_prefixes,
    time_waiting,
)
from tests.loops import build_loop
from tests.worker.simulation import Costs, SimulatedDevice, simulated_loop

TIMED = [PHASES_KIND, *(kind for kind in KINDS if kind != CEILING)]
"""The kinds of block that a loop has."""
COSTS = st.builds(Costs, host=st.integers(0, 10_000), device=st.integers(0, 10_000))


class ScriptedClock:
    """A clock whose time passes only where it is set."""

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


class TickingClock(ScriptedClock):
    """A clock by which each span is longer than the one before it."""

    def mark(self) -> None:
        super().mark()
        self.now += 100 * len(self.marks)


def scripted_loop(clock: ScriptedClock, durations: Callable[[str, int], int]) -> Any:
    """A loop whose phases take `durations(phase, step)`."""
    steps = 0

    def spend(phase: str) -> None:
        clock.now += durations(phase, steps)

    def step(_: object = None) -> None:
        nonlocal steps
        spend("step")
        steps += 1

    def backward(_: object = None) -> None:
        spend("forward")
        spend("backward")

    def train_step() -> None:
        backward()
        step()

    return SimpleNamespace(
        model=SimpleNamespace(parameters=list),  # it has none
        optimizer=SimpleNamespace(),
        phases={
            "forward": lambda _=None: spend("forward"),
            "backward": lambda loss: spend("backward"),
            "step": step,
        },
        backward=backward,
        train_step=train_step,
    )


def watch_of(clock: Clock, repeats: int = 1) -> Stopwatch:
    """Where the host and the device are one, and waiting takes no time."""
    return Stopwatch(clock, clock, lambda: None, repeats)


def ahead(device: SimulatedDevice, repeats: int = 1) -> Stopwatch:
    """Where the host runs ahead; with repeats, and no clock in the device's queue."""
    clock = device if repeats == 1 else device.waiting_clock()
    return Stopwatch(clock, device.host_clock(), device.synchronize, repeats)


def whole_steps(loop: Any, clock: Clock, samples: int) -> list[int]:
    return time_block(loop, watch_of(clock), WHOLE_KIND, samples)[WHOLE]


def total(costs: dict[str, Costs]) -> Costs:
    """A whole step's."""
    return Costs(sum(c.host for c in costs.values()), sum(c.device for c in costs.values()))


# Samples


@pytest.mark.parametrize("samples", [2, 8, 40])
def test_a_block_holds_as_many_samples_as_asked_for_of_each_series(samples: int) -> None:
    loop, cpu = build_loop(), device_named("cpu")
    watch = Stopwatch(cpu.clock(), WallClock(), cpu.synchronize)
    for kind in TIMED:
        timed = time_block(loop, watch, kind, samples)
        series = series_of(kind, PHASES)
        assert tuple(timed) == series
        assert [len(values) for values in timed.values()] == [samples] * len(series)
        assert all(value > 0 for values in timed.values() for value in values)
        for clock in (watch.device, watch.host):
            assert clock.read() == [], "nothing is left for the next block"


def test_a_block_of_phases_takes_one_step_more_than_it_holds_samples() -> None:
    steps: list[int] = []

    def durations(phase: str, step: int) -> int:
        steps.append(step)
        return 1

    loop = scripted_loop(clock := ScriptedClock(), durations)
    time_phases(loop.phases, clock, 5)
    assert steps == [step for step in range(6) for _ in PHASES]


def test_the_first_step_is_discarded() -> None:
    def durations(phase: str, step: int) -> int:
        return 1_000_000 if step == 0 else 10 * step + PHASES.index(phase)

    loop = scripted_loop(clock := ScriptedClock(), durations)
    assert time_phases(loop.phases, clock, 3) == {
        "forward": [10, 20, 30],
        "backward": [11, 21, 31],
        "step": [12, 22, 32],
    }
    loop = scripted_loop(clock := ScriptedClock(), durations)
    assert whole_steps(loop, clock, 3) == [33, 63, 93]


def test_the_first_call_is_discarded() -> None:
    clock = ScriptedClock()
    costs = iter([999, 1, 2, 3])

    def call() -> None:
        clock.now += next(costs)

    assert time_calls(call, clock, 3) == [1, 2, 3]


def test_the_whole_step_is_timed_with_no_mark_inside_it() -> None:
    loop = scripted_loop(clock := ScriptedClock(), lambda phase, step: len(clock.marks))
    # Each phase takes as many nanoseconds as there are marks so far: 1 in the first step, 2 in ...
    assert whole_steps(loop, clock, 4) == [6, 9, 12, 15]


def test_the_device_is_waited_for_once_a_block() -> None:
    for kind in (PHASES_KIND, WHOLE_KIND):
        loop = scripted_loop(clock := ScriptedClock(), lambda phase, step: 1)
        time_block(loop, watch_of(clock), kind, 8)
        assert clock.reads == 1


def test_a_kind_of_block_says_which_way_it_is_timed() -> None:
    loop = scripted_loop(clock := ScriptedClock(), lambda phase, step: 7)
    timed = {kind: time_block(loop, watch_of(clock), kind, 2) for kind in TIMED}
    assert timed == {
        PHASES_KIND: {phase: [7, 7] for phase in PHASES},
        WHOLE_KIND: {WHOLE: [21, 21]},
        WAITING_KIND: {DISPATCH: [21, 21], LATENCY: [21, 21]},
        THROUGHPUT_KIND: {THROUGHPUT: [21, 21]},
    }


def test_of_repeated_calls_a_sample_is_a_call() -> None:
    clock = ScriptedClock()
    costs = iter([900, 900, 900, 1, 2, 3, 10, 10, 12])

    def call() -> None:
        clock.now += next(costs)

    assert time_calls(call, clock, 2, repeats=3) == [2, 10]
    assert list(costs) == []


@given(st.lists(st.tuples(*[st.integers(0, 10**9)] * 3), min_size=3, max_size=20))
def test_phases_are_contiguous_and_sum_to_the_span(steps: list[tuple[int, int, int]]) -> None:
    loop = scripted_loop(
        clock := ScriptedClock(), lambda phase, step: steps[step][PHASES.index(phase)]
    )
    timed = time_phases(loop.phases, clock, len(steps) - 1)
    span = clock.now - sum(steps[0])
    assert sum(sum(values) for values in timed.values()) == span
    assert list(zip(*timed.values(), strict=True)) == steps[1:]


# A device the host runs ahead of

DEVICE_BOUND = {"forward": Costs(2, 300), "backward": Costs(3, 500), "step": Costs(1, 200)}
HOST_BOUND = {"forward": Costs(300, 20), "backward": Costs(500, 30), "step": Costs(200, 10)}


def test_a_device_bound_loop_gets_the_devices_time_for_each_phase() -> None:
    device = SimulatedDevice(latency=40)
    timed = time_phases(simulated_loop(device, **DEVICE_BOUND).phases, device, 10)
    assert device.lead > 5 * 1000, "the host ran ahead by whole steps"
    assert timed == {"forward": [300] * 10, "backward": [500] * 10, "step": [200] * 10}


def test_the_hosts_clock_would_have_given_the_cost_of_launching() -> None:
    device = SimulatedDevice(latency=40)
    timed = time_phases(simulated_loop(device, **DEVICE_BOUND).phases, device.host_clock(), 10)
    assert timed == {"forward": [2] * 10, "backward": [3] * 10, "step": [1] * 10}


def test_a_host_bound_loop_gets_the_time_from_launch_to_launch() -> None:
    """The device waits for the host: its span from mark to mark is the host's time."""
    device = SimulatedDevice(latency=5)
    timed = time_phases(simulated_loop(device, **HOST_BOUND).phases, device, 10)
    assert sum(sum(values) for values in timed.values()) == 10 * (300 + 500 + 200)
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
    timed = time_phases(simulated_loop(device, **costs).phases, device, 10)
    # The device works 610 of the 810 the host needs, and waits the rest of it for a forward.
    assert timed == {"forward": [210] * 10, "backward": [500] * 10, "step": [100] * 10}


def test_launching_that_hides_behind_the_devices_work_is_no_time_of_the_phase() -> None:
    device = SimulatedDevice()
    costs = {"forward": Costs(800, 10), "backward": Costs(5, 900), "step": Costs(5, 100)}
    timed = time_phases(simulated_loop(device, **costs).phases, device, 10)
    assert timed == {"forward": [10] * 10, "backward": [900] * 10, "step": [100] * 10}


@pytest.mark.parametrize("costs", [DEVICE_BOUND, HOST_BOUND])
def test_the_whole_step_is_as_long_as_its_phases_together(costs: dict[str, Costs]) -> None:
    phases, whole = SimulatedDevice(latency=40), SimulatedDevice(latency=40)
    timed = time_phases(simulated_loop(phases, **costs).phases, phases, 10)
    steps = whole_steps(simulated_loop(whole, **costs), whole, 10)
    assert steps == [sum(step) for step in zip(*timed.values(), strict=True)]


def test_the_latency_of_the_first_launch_falls_into_the_discarded_step() -> None:
    slow, quick = SimulatedDevice(latency=100_000), SimulatedDevice()
    timed = [
        time_phases(simulated_loop(device, **DEVICE_BOUND).phases, device, 4)
        for device in (slow, quick)
    ]
    assert timed[0] == timed[1]


def test_the_cost_of_marking_is_hidden_where_the_device_is_the_bottleneck() -> None:
    device = SimulatedDevice(latency=40, enqueue=7)
    timed = time_phases(simulated_loop(device, **DEVICE_BOUND).phases, device, 10)
    assert timed == {"forward": [300] * 10, "backward": [500] * 10, "step": [200] * 10}


def test_one_block_leaves_nothing_of_itself_in_the_next() -> None:
    device = SimulatedDevice(latency=40)
    loop = simulated_loop(device, **DEVICE_BOUND)
    first, second = (time_phases(loop.phases, device, 5) for _ in range(2))
    assert first == second
    assert device.waits == 2
    assert device.host >= device.free, "the block ended with the device idle"


@given(forward=COSTS, backward=COSTS, step=COSTS, latency=st.integers(0, 100_000))
def test_whatever_the_costs_no_phase_is_shorter_than_its_work_nor_all_longer_than_they_took(
    forward: Costs, backward: Costs, step: Costs, latency: int
) -> None:
    device = SimulatedDevice(latency=latency)
    costs = {"forward": forward, "backward": backward, "step": step}
    timed = time_phases(simulated_loop(device, **costs).phases, device, 8)
    for phase, values in timed.items():
        assert min(values) >= costs[phase].device
    host, busy = total(costs)
    # 24 phases in the time the slower of the two needs, give or take what was under way.
    span = sum(sum(values) for values in timed.values())
    assert 8 * max(host, busy) - busy <= span <= 8 * max(host, busy) + host + busy


# Steps waited for, one by one or many at once


@pytest.mark.parametrize(
    ("costs", "latency", "after_dispatch"),
    [
        (DEVICE_BOUND, 40, 40 + 1000 - 4),  # begun once the forward was launched
        (HOST_BOUND, 5, 5 + 10),  # the last phase's work alone
    ],
)
def test_a_step_that_is_waited_for_shows_the_hosts_part_and_the_whole(
    costs: dict[str, Costs], latency: int, after_dispatch: int
) -> None:
    device = SimulatedDevice(latency=latency)
    timed = time_block(simulated_loop(device, **costs), ahead(device), WAITING_KIND, 10)
    dispatch = total(costs).host
    assert timed == {DISPATCH: [dispatch] * 10, LATENCY: [dispatch + after_dispatch] * 10}


def test_a_step_that_is_waited_for_begins_on_an_idle_device() -> None:
    device = SimulatedDevice()
    device.launch(Costs(0, 10**9))
    timed = time_waiting(simulated_loop(device, **DEVICE_BOUND).train_step, ahead(device), 2)
    assert max(timed[LATENCY]) < 10**9


@pytest.mark.parametrize(
    ("costs", "a_step"), [(DEVICE_BOUND, 1000), (HOST_BOUND, 1000)], ids=["device", "host"]
)
def test_a_step_in_flight_takes_what_the_slower_of_host_and_device_needs(
    costs: dict[str, Costs], a_step: int
) -> None:
    device = SimulatedDevice(latency=2)
    steps = simulated_loop(device, **costs).train_step
    assert time_in_flight(steps, ahead(device), 10) == [a_step] * 10


@given(forward=COSTS, backward=COSTS, step=COSTS, latency=st.integers(0, 100_000))
def test_whatever_the_costs_waiting_and_throughput_stay_within_what_both_need(
    forward: Costs, backward: Costs, step: Costs, latency: int
) -> None:
    costs = {"forward": forward, "backward": backward, "step": step}
    host, busy = total(costs)
    device = SimulatedDevice(latency=latency)
    loop = simulated_loop(device, **costs)
    timed = time_block(loop, ahead(device), WAITING_KIND, 4)
    assert timed[DISPATCH] == [host] * 4
    assert max(host, busy + latency) <= timed[LATENCY][0] <= host + busy + latency
    (flight,) = set(time_block(loop, ahead(device), THROUGHPUT_KIND, 4)[THROUGHPUT])
    once = host + busy + latency
    assert max(host, busy) <= flight <= max(host, busy) + once / IN_FLIGHT
    assert flight <= timed[LATENCY][0], "steps in flight overlap"


# A device whose clock has to wait

REPEATS = 100


def phases_by_waiting(costs: dict[str, Costs], latency: int = 0) -> dict[str, list[int]]:
    device = SimulatedDevice(latency=latency)
    loop = simulated_loop(device, True, **costs)
    return time_block(loop, ahead(device, REPEATS), PHASES_KIND, 10)


@pytest.mark.parametrize("costs", [DEVICE_BOUND, HOST_BOUND], ids=["device", "host"])
def test_a_clock_that_waits_gives_each_phase_what_the_slower_of_host_and_device_needs(
    costs: dict[str, Costs],
) -> None:
    timed = phases_by_waiting(costs, latency=40)
    assert timed == {phase: [max(costs[phase])] * 10 for phase in PHASES}


def test_a_clock_that_waits_between_phases_would_have_added_the_latency_to_each() -> None:
    device = SimulatedDevice(latency=40)
    loop = simulated_loop(device, **DEVICE_BOUND)
    timed = time_phases(loop.phases, device.waiting_clock(), 10)
    assert timed == {phase: [40 + sum(DEVICE_BOUND[phase])] * 10 for phase in PHASES}


@given(forward=COSTS, backward=COSTS, step=COSTS, latency=st.integers(0, 100_000))
def test_phases_by_a_clock_that_waits_add_up_to_the_whole_or_are_refused(
    forward: Costs, backward: Costs, step: Costs, latency: int
) -> None:
    costs = {"forward": forward, "backward": backward, "step": step}
    device = SimulatedDevice(latency=latency)
    whole = time_block(simulated_loop(device, **costs), ahead(device, REPEATS), WHOLE_KIND, 10)
    try:
        timed = phases_by_waiting(costs, latency)
    except PhasesUnclear:
        return
    assert [sum(step) for step in zip(*timed.values(), strict=True)] == whole[WHOLE]
    assert min(min(values) for values in timed.values()) > 0


@pytest.mark.parametrize(
    ("phase", "costs"),
    [
        ("forward", DEVICE_BOUND | {"forward": Costs(0, 0)}),
        ("backward", DEVICE_BOUND | {"backward": Costs(3, 0)}),
        ("step", DEVICE_BOUND | {"step": Costs(100, 0)}),
    ],
)
def test_a_phase_that_hides_behind_the_others_is_refused(
    phase: str, costs: dict[str, Costs]
) -> None:
    with pytest.raises(PhasesUnclear, match=f" {phase} "):
        phases_by_waiting(costs)


def test_one_sample_that_does_not_split_is_enough_to_refuse_them() -> None:
    """The machine was slow while backward was repeated, and the step seems to cost less than 0."""
    clock = ScriptedClock()
    slow = iter([0, 0, 0, 0, 500, 0])  # the discarded sample, and the next

    def durations(phase: str, step: int) -> int:
        return 10 + (next(slow, 0) if phase == "backward" else 0)

    with pytest.raises(PhasesUnclear, match=" step "):
        time_prefixes(prefixes_of(scripted_loop(clock, durations)), clock, 4, 2)


def test_the_first_sample_of_repeated_phases_is_discarded() -> None:
    clock = ScriptedClock()
    slow = iter([10**6])
    loop = scripted_loop(clock, lambda phase, step: 10 + next(slow, 0))
    assert time_prefixes(prefixes_of(loop), clock, 3, 2) == {phase: [10] * 3 for phase in PHASES}


def test_repeating_phases_trains_as_whole_steps_do() -> None:
    """Gradients that backward left behind would add up, and cost it their adding."""
    repeated, trained = build_loop(), build_loop()
    time_prefixes(prefixes_of(repeated), TickingClock(), 2, 5)
    for _ in range(3 * 5):
        trained.train_step()
    for ours, theirs in zip(repeated.model.parameters(), trained.model.parameters(), strict=True):
        assert torch.equal(ours, theirs)


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
