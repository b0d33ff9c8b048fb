"""The named clock that gives pytest-benchmark what a device measured.

pytest-benchmark times a function by reading its `timer` before and after. Under this clock that
difference is the time the next block was measured at, whatever the wall clock says: so one pass can
yield three phases, on a device's own timeline, out of several processes.
"""

_now_s = 0.0


def device_clock() -> float:
    """Seconds measured by the device, so far replayed."""
    return _now_s


def replay_block(ns: float) -> None:
    """Advance the clock by a block's time."""
    global _now_s
    _now_s += ns / 1e9
