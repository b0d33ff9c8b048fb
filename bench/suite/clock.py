"""The named clock that gives pytest-benchmark what a device measured.

pytest-benchmark times a function by reading its `timer` before and after. Under this clock that
difference is the time the next block was measured at, whatever the wall clock says: so one pass can
yield three phases, on a device's own timeline, out of several processes.
"""

from collections.abc import Iterator, Sequence

_now = 0.0


def device_clock() -> float:
    """Seconds measured by the device, so far replayed."""
    return _now


class ReplayedSeries:
    """One series' blocks, each replayed by one call that takes as long as it measured."""

    def __init__(self, times_ns: Sequence[float]) -> None:
        self.rounds = len(times_ns)
        self._times: Iterator[float] = iter(times_ns)

    def next_block(self) -> None:
        """Advance the clock by the next block's time."""
        global _now
        _now += next(self._times) / 1e9
