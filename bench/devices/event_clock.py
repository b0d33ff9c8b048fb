"""A device's clock out of events in its queue."""

import itertools
from collections.abc import Callable

from .base import Event

EVENTS = 256
"""Made beforehand: making one inside a block would cost the host as much as a launch."""


class EventClock:
    """Events of one stream. CUDA's have a resolution of about half a microsecond."""

    def __init__(self, make: Callable[[], Event], stream: object) -> None:
        """`stream` is the one that is timed: an event that is not given one asks for it."""
        self._new = make
        self._stream = stream
        self._events: list[Event] = []
        self._used = 0
        self._make(EVENTS)

    def mark(self) -> None:
        if self._used == len(self._events):
            self._make(EVENTS)
        self._events[self._used].record(self._stream)
        self._used += 1

    def read(self) -> list[int]:
        used, self._used = self._events[: self._used], 0
        if not used:
            return []
        used[-1].synchronize()
        # Pair by pair: the float of milliseconds since the first would lose nanoseconds.
        spans = (1e6 * before.elapsed_time(after) for before, after in itertools.pairwise(used))
        return [0, *(round(moment) for moment in itertools.accumulate(spans))]

    def _make(self, count: int) -> None:
        made = [self._new() for _ in range(count)]
        for event in made:
            event.record(self._stream)  # by which the driver makes it (ATen/cuda/CUDAEvent.h)
        made[-1].synchronize()
        self._events += made
