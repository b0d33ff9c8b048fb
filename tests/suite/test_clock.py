"""The clock that replays what a device measured."""

import random
import time

import pytest

from bench.suite.clock import device_clock, replay_block


def replay(times_ns: list[float]) -> list[float]:
    """What a timer around each call reads, as pytest-benchmark reads it."""
    seen = []
    for time_ns in times_ns:
        before = device_clock()
        replay_block(time_ns)
        seen.append(device_clock() - before)
    return seen


def test_each_call_takes_as_long_as_its_block_measured() -> None:
    times_ns = [128_400.0, 3_000_000_000.0, 1.0, 52_001.5]
    assert replay(times_ns) == pytest.approx([ns / 1e9 for ns in times_ns], abs=1e-12)


def test_clock_stands_still_between_calls() -> None:
    before = device_clock()
    time.sleep(0.01)
    assert device_clock() == before


def test_a_long_run_replays_as_finely_as_a_short_one() -> None:
    shuffle = random.Random(1)
    replay([60e9] * 60)  # an hour has passed on the device's clock
    times_ns = [float(shuffle.randrange(30_000, 200_000)) for _ in range(1000)]
    assert replay(times_ns) == pytest.approx([ns / 1e9 for ns in times_ns], abs=1e-12)
