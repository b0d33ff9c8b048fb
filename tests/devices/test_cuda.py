"""CUDA devices: what is said where there is none, and the clock of events."""

import itertools
import time
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch

from bench.devices.cuda import EVENTS, Cuda, EventClock
from sumnet.train import build_loop

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no cuda device")


class Event:
    """As `torch.cuda.Event`, on a device whose time moves by 1000.5 ns with every event."""

    made: ClassVar[list["Event"]] = []
    now_ns: ClassVar[float] = 1e15
    waited_for: ClassVar[list["Event"]] = []

    def __init__(self, enable_timing: bool = False) -> None:
        assert enable_timing, "without, an event cannot be timed"
        self.at_ns = 0.0
        Event.made.append(self)

    def record(self) -> None:
        Event.now_ns += 1000.5
        self.at_ns = Event.now_ns

    def synchronize(self) -> None:
        Event.waited_for.append(self)

    def elapsed_time(self, after: "Event") -> float:
        assert Event.waited_for, "the device may not have come so far"
        # In milliseconds of single precision, as CUDA has it.
        return float(torch.tensor((after.at_ns - self.at_ns) / 1e6, dtype=torch.float32))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> EventClock:
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(Event, "made", [])
    monkeypatch.setattr(Event, "waited_for", [])
    return EventClock()


# Where there is none


def test_where_torch_sees_no_device_it_is_unavailable_for_that_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for device in (Cuda(), Cuda(3)):
        reason = device.facts().unavailable
        assert reason == f"torch {torch.__version__} sees no cuda device here"


@pytest.mark.parametrize(
    ("major", "hip", "refused"),
    [
        (7, None, {"tf32", "bfloat16", "amp-bfloat16"}),
        (8, None, set()),
        (9, None, set()),
        (6, "6.4", set()),
    ],
)
def test_a_device_without_matrix_units_for_a_dtype_refuses_it(
    major: int, hip: str | None, refused: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    properties = SimpleNamespace(name="A GPU", major=major, total_memory=2**34)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.version, "hip", hip)
    facts = Cuda().facts()
    assert (facts.unavailable, facts.name, facts.count) == (None, "A GPU", 2)
    assert facts.memory_bytes == 2**34
    assert facts.refused_dtypes.keys() == refused
    assert all("A GPU" in reason for reason in facts.refused_dtypes.values())


def on_the_bus(monkeypatch: pytest.MonkeyPatch, hip: str | None) -> None:
    """Torch sees a GPU for each index, whose bus has that number."""
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(pci_domain_id=1, pci_bus_id=0xC0 + index, pci_device_id=3),
    )
    monkeypatch.setattr(torch.version, "hip", hip)


def test_a_device_is_known_to_the_drivers_tools_by_where_it_is_on_the_bus(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_the_bus(monkeypatch, hip=None)
    monkeypatch.setattr("bench.devices.cuda.nvml_joules", {"00000001:c1:03.0": 12.5}.__getitem__)
    assert Cuda(1).bus_id() == "00000001:c1:03.0"
    assert Cuda(1).joules() == 12.5


def test_nvidias_tools_are_not_asked_about_a_gpu_of_another_maker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    on_the_bus(monkeypatch, hip="6.4")
    monkeypatch.setattr("bench.devices.cuda.nvml_joules", lambda bus_id: pytest.fail(bus_id))
    assert Cuda().bus_id() is None
    assert Cuda().joules() is None


def test_the_profiler_watches_host_and_device() -> None:
    assert Cuda().activities == ("CPU", "CUDA")


# The clock of events


def test_marks_are_the_devices_times_since_the_first(clock: EventClock) -> None:
    for _ in range(10):
        clock.mark()
    recorded = [event.at_ns for event in Event.made[:10]]
    assert clock.read() == pytest.approx([at - recorded[0] for at in recorded], abs=1)


def test_reading_waits_for_the_last_mark(clock: EventClock) -> None:
    for _ in range(5):
        clock.mark()
    clock.read()
    assert Event.waited_for == [Event.made[4]]


def test_a_mark_waits_for_nothing(clock: EventClock) -> None:
    clock.mark()
    assert Event.waited_for == []


def test_nanoseconds_survive_over_hours(clock: EventClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single precision holds 2^24 steps: milliseconds since the first mark would lose them."""
    clock.mark()
    for _ in range(20):
        Event.now_ns += 3.6e12
        clock.mark()
        clock.mark()
    marks = clock.read()
    durations = [after - before for before, after in itertools.pairwise(marks)]
    assert durations[1::2] == pytest.approx([1000.5] * 20, abs=1)


def test_a_clock_is_read_again_and_again_with_the_same_events(clock: EventClock) -> None:
    for count in (3, 1, 200, 7):
        for _ in range(count):
            clock.mark()
        marks = clock.read()
        assert len(marks) == count
        assert marks[0] == 0
        assert marks == sorted(marks)
    assert len(Event.made) == EVENTS


def test_events_are_made_beforehand_and_more_only_where_they_run_out(clock: EventClock) -> None:
    assert len(Event.made) == EVENTS
    for _ in range(EVENTS):
        clock.mark()
    assert len(Event.made) == EVENTS
    clock.mark()
    assert len(Event.made) == 2 * EVENTS
    marks = clock.read()
    assert len(marks) == EVENTS + 1
    assert marks == sorted({*marks})


def test_a_clock_without_marks_reads_none(clock: EventClock) -> None:
    assert clock.read() == []


# A real one


@needs_cuda
def test_a_device_that_is_there_says_what_it_is() -> None:
    facts = Cuda().facts()
    assert facts.unavailable is None
    assert facts.name == torch.cuda.get_device_name(0)
    assert facts.count == torch.cuda.device_count() >= 1
    assert facts.memory_bytes > 2**30


@needs_cuda
def test_working_on_a_device_makes_it_the_current_one_and_binds_no_cores() -> None:
    last = torch.cuda.device_count() - 1
    before = torch.cuda.current_device()
    try:
        assert Cuda(last).enter(4) == []
        assert torch.cuda.current_device() == last
    finally:
        torch.cuda.set_device(before)


@needs_cuda
def test_marks_of_a_real_device_come_in_order() -> None:
    clock, matrix = Cuda().clock(), torch.rand(512, 512, device="cuda")
    for _ in range(EVENTS + 5):
        matrix = matrix @ matrix / 256
        clock.mark()
    marks = clock.read()
    assert len(marks) == EVENTS + 5
    assert marks[0] == 0
    assert marks == sorted({*marks}), "work stands between any two"


@needs_cuda
def test_the_peak_is_above_what_was_held() -> None:
    device = Cuda()
    held = torch.ones(2**24, device="cuda")
    device.reset_peak()
    assert device.peak_bytes() == 0
    _ = held + 1
    assert 2**26 <= device.peak_bytes() < 2**26 + 2**20
    device.reset_peak()
    assert device.peak_bytes() == 0


@needs_cuda
def test_training_uses_energy_where_the_driver_counts_it() -> None:
    device = Cuda()
    before = device.joules()
    if before is None:
        pytest.skip("the driver counts no energy of this GPU, or it is not NVIDIA's")
    loop = build_loop(2**20, device="cuda", optimizer="adam")
    ends = time.monotonic() + 1.0  # the counter moves in steps of a tenth of a second
    while time.monotonic() < ends:
        loop.train_step()
        device.synchronize()
    assert (device.joules() or 0.0) > before
