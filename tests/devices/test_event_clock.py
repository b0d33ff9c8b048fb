"""The clock of events: marks in a device's queue, read after it."""

import itertools
from typing import ClassVar

import pytest
import torch

from bench.devices.event_clock import EVENTS, EventClock

STREAM = object()


class Event:
    """As torch's, on a device whose time moves by 1000.5 ns with every event.

    The driver makes it in its first `record`, as CUDA's does.
    """

    made: ClassVar[list["Event"]] = []
    created: ClassVar[list["Event"]] = []
    streams: ClassVar[set[object]] = set()
    now_ns: ClassVar[float] = 1e15
    waited_for: ClassVar[list["Event"]] = []

    def __init__(self) -> None:
        self.at_ns: float | None = None
        Event.made.append(self)

    def record(self, stream: object = None) -> None:
        if self.at_ns is None:
            Event.created.append(self)
        Event.streams.add(stream)
        Event.now_ns += 1000.5
        self.at_ns = Event.now_ns

    def synchronize(self) -> None:
        Event.waited_for.append(self)

    def elapsed_time(self, after: "Event") -> float:
        assert Event.waited_for, "the device may not have come so far"
        assert self.at_ns is not None and after.at_ns is not None
        # In milliseconds of single precision, as CUDA has it.
        return float(torch.tensor((after.at_ns - self.at_ns) / 1e6, dtype=torch.float32))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> EventClock:
    for name, empty in (("made", []), ("created", []), ("streams", set()), ("waited_for", [])):
        monkeypatch.setattr(Event, name, empty)
    clock = EventClock(Event, STREAM)
    Event.waited_for.clear()
    return clock


def test_marks_are_the_devices_times_since_the_first(clock: EventClock) -> None:
    for _ in range(10):
        clock.mark()
    recorded = [event.at_ns or 0.0 for event in Event.made[:10]]
    assert clock.read() == pytest.approx([at - recorded[0] for at in recorded], abs=1)


def test_reading_waits_for_the_last_mark(clock: EventClock) -> None:
    for _ in range(5):
        clock.mark()
    clock.read()
    assert Event.waited_for == [Event.made[4]]


def test_a_mark_waits_for_nothing(clock: EventClock) -> None:
    clock.mark()
    assert Event.waited_for == []


def test_nanoseconds_survive_over_hours(clock: EventClock) -> None:
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


def test_the_driver_makes_no_event_inside_a_block(clock: EventClock) -> None:
    """It does so in the first `record`, which therefore comes before the block."""
    assert Event.created == Event.made
    for _ in range(EVENTS):
        clock.mark()
    assert len(Event.created) == EVENTS


def test_every_mark_goes_to_the_stream_that_is_timed(clock: EventClock) -> None:
    clock.mark()
    assert Event.streams == {STREAM}


def test_a_clock_without_marks_reads_none(clock: EventClock) -> None:
    assert clock.read() == []
