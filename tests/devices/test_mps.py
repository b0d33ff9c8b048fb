"""Apple's GPU: what is said where there is none, and the clock that waits."""

import time

import pytest
import torch

from bench.devices import probe
from bench.devices.base import Device
from bench.devices.mps import Mps, WaitingClock

needs_mps = pytest.mark.skipif(not torch.backends.mps.is_available(), reason="no mps device")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """When the device was waited for, up to the end of each wait."""
    ends: list[int] = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: ends.append(time.perf_counter_ns()))
    return ends


def test_where_torch_sees_no_device_it_is_unavailable_for_that_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert Mps.count() == 0
    assert probe().of("mps").unavailable == f"torch {torch.__version__} sees no mps device here"


def test_a_device_refuses_the_dtypes_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 2**34)
    assert Mps.count() == 1
    facts = Mps().facts()
    assert facts.unavailable is None
    assert facts.memory_bytes == 2**34
    assert facts.refused_dtypes.keys() == {"float64"}
    assert probe().of("mps").refused_dtypes.keys() == {"float64", "tf32"}


def test_a_mark_is_the_wall_clocks_time_once_the_device_has_done_all(waits: list[int]) -> None:
    clock = WaitingClock()
    for _ in range(3):
        clock.mark()
    after = time.perf_counter_ns()
    marks = clock.read()
    assert len(waits) == len(marks) == 3
    for waited, mark, following in zip(waits, marks, [*waits[1:], after], strict=True):
        assert waited <= mark <= following


def test_reading_waits_no_more_and_empties_the_clock(waits: list[int]) -> None:
    clock = WaitingClock()
    clock.mark()
    assert len(clock.read()) == 1
    assert clock.read() == []
    assert len(waits) == 1
    clock.mark()
    clock.mark()
    assert len(clock.read()) == 2


def test_steps_are_many_between_two_marks_because_a_mark_waits() -> None:
    assert Mps().repeats > 1


def test_a_peak_kernels_and_energy_cannot_be_told_and_no_core_is_bound() -> None:
    device: Device = Mps()
    device.reset_peak()
    assert device.peak_bytes() is None
    assert device.activities == ("CPU",)
    assert device.joules() is None
    assert device.bus_id() is None
    assert device.enter(4) == []


@needs_mps
def test_a_device_that_is_there_says_what_it_is() -> None:
    facts = Mps().facts()
    assert facts.unavailable is None
    assert facts.name
    assert facts.memory_bytes > 2**30


@needs_mps
def test_marks_of_a_real_device_come_in_order() -> None:
    device, matrix = Mps(), torch.rand(512, 512, device="mps")
    clock = device.clock()
    for _ in range(5):
        matrix = matrix @ matrix / 256
        clock.mark()
    device.synchronize()
    marks = clock.read()
    assert marks == sorted(marks)
    assert len(marks) == 5
