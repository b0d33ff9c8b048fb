"""The CPU: its clock, and the binding of a process to its cores."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench.devices import DEVICES, available_cores
from bench.devices.cpu import Cpu, WallClock

ROOT = Path(__file__).parents[2]

needs_affinity = pytest.mark.skipif(
    not hasattr(psutil.Process, "cpu_affinity"), reason="this system cannot bind a process"
)


def affinity_after_pinning(*threads: int) -> list[list[int]]:
    """The cores of a fresh process, then what each call answered and where it left the process."""
    code = f"""
import json, psutil
from bench.devices import DEVICES, available_cores
seen = [psutil.Process().cpu_affinity()]
for threads in {threads}:
    seen += [DEVICES["cpu"].pin(threads), psutil.Process().cpu_affinity(), [available_cores()]]
print(json.dumps(seen))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    seen: list[list[int]] = json.loads(out)
    return seen


def test_the_cpu_is_a_device_that_is_always_there() -> None:
    cpu = DEVICES["cpu"]
    assert cpu.unavailable_reason() is None
    assert isinstance(cpu, Cpu)


def test_marks_come_in_the_order_they_were_made_and_never_go_back() -> None:
    clock = WallClock()
    for _ in range(100):
        clock.mark()
    marks = clock.read()
    assert len(marks) == 100
    assert marks == sorted(marks)


def test_a_mark_is_the_wall_clocks_time_in_nanoseconds() -> None:
    clock = WallClock()
    before = time.perf_counter_ns()
    clock.mark()
    between = time.perf_counter_ns()
    clock.mark()
    after = time.perf_counter_ns()
    first, second = clock.read()
    assert before <= first <= between <= second <= after


def test_reading_empties_the_clock() -> None:
    clock = WallClock()
    clock.mark()
    assert len(clock.read()) == 1
    assert clock.read() == []
    clock.mark()
    clock.mark()
    assert len(clock.read()) == 2


def test_clocks_do_not_share_their_marks() -> None:
    one, other = DEVICES["cpu"].clock(), DEVICES["cpu"].clock()
    one.mark()
    assert other.read() == []
    assert len(one.read()) == 1


@needs_affinity
def test_a_process_is_bound_to_as_many_cores_as_threads_the_last_ones() -> None:
    cores = sorted(psutil.Process().cpu_affinity())
    for threads in range(1, min(len(cores), 3) + 1):
        before, answered, bound, available = affinity_after_pinning(threads)
        assert sorted(before) == cores
        assert answered == cores[-threads:]
        assert sorted(bound) == answered
        assert available == [threads]


@needs_affinity
def test_more_threads_than_cores_take_all_cores() -> None:
    before, answered, bound, _ = affinity_after_pinning(1000)
    assert sorted(answered) == sorted(bound) == sorted(before)


@needs_affinity
def test_a_process_is_bound_within_the_cores_it_was_given() -> None:
    _, first, _, _, second, _, _ = affinity_after_pinning(1, 2)
    assert second == first


def test_where_a_process_cannot_be_bound_no_core_is_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.devices.cpu.psutil", SimpleNamespace(Process=object))
    assert Cpu().pin(1) == []


def test_where_a_process_cannot_be_bound_all_cores_are_available(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = SimpleNamespace(Process=object, cpu_count=lambda: 6)
    monkeypatch.setattr("bench.devices.psutil", without)
    assert available_cores() == 6


def test_waiting_for_the_cpu_returns() -> None:
    Cpu().synchronize()
