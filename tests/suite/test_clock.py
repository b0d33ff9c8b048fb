"""The clock that replays what a device measured."""

import itertools
import random
import time

import pytest

from bench.suite.clock import ReplayedSeries, device_clock


def replay(series: ReplayedSeries) -> list[float]:
    """What a timer around each call reads, as pytest-benchmark reads it."""
    seen = []
    for _ in range(series.rounds):
        before = device_clock()
        series.next_block()
        seen.append(device_clock() - before)
    return seen


def test_each_call_takes_as_long_as_its_block_measured() -> None:
    times_ns = [128_400.0, 3_000_000_000.0, 1.0, 52_001.5]
    assert replay(ReplayedSeries(times_ns)) == pytest.approx(
        [ns / 1e9 for ns in times_ns], abs=1e-12
    )


def test_clock_stands_still_between_calls() -> None:
    before = device_clock()
    time.sleep(0.01)
    assert device_clock() == before


def test_clock_never_goes_back_from_one_series_to_the_next() -> None:
    readings = [device_clock()]
    for series in (ReplayedSeries([5e9, 1.0]), ReplayedSeries([3.0])):
        for _ in range(series.rounds):
            series.next_block()
            readings.append(device_clock())
    assert all(after > before for before, after in itertools.pairwise(readings))


def test_a_long_run_replays_as_finely_as_a_short_one() -> None:
    shuffle = random.Random(1)
    replay(ReplayedSeries([60e9] * 60))  # an hour has passed on the device's clock
    times_ns = [float(shuffle.randrange(30_000, 200_000)) for _ in range(1000)]
    assert replay(ReplayedSeries(times_ns)) == pytest.approx(
        [ns / 1e9 for ns in times_ns], abs=1e-12
    )


def test_series_has_as_many_rounds_as_blocks_and_no_more() -> None:
    series = ReplayedSeries([10.0, 20.0, 30.0])
    assert series.rounds == len(replay(series)) == 3
    with pytest.raises(StopIteration):
        series.next_block()
