"""The CPU: its facts, its clock, its peak of memory, and the binding of a process to its cores."""

import json
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from bench.devices import available_cores, probe
from bench.devices.base import Device
from bench.devices.cpu import Cpu, WallClock
from bench.devices.energy import RaplCounter
from bench.devices.limits import ControlGroups

ROOT = Path(__file__).parents[2]

needs_affinity = pytest.mark.skipif(
    not hasattr(psutil.Process, "cpu_affinity"), reason="this system cannot bind a process"
)


def affinity_after_entering(*threads: int) -> list[list[int]]:
    """The cores of a fresh process, then what each call answered and where it left the process."""
    code = f"""
import json, psutil
from bench.devices import DEVICES, available_cores
seen = [psutil.Process().cpu_affinity()]
for threads in {threads}:
    seen += [DEVICES["cpu"]().enter(threads), psutil.Process().cpu_affinity(), [available_cores()]]
print(json.dumps(seen))
"""
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    seen: list[list[int]] = json.loads(out)
    return seen


# Its facts


def test_the_cpu_is_a_device_that_is_always_there_alone() -> None:
    facts = Cpu().facts()
    assert facts.unavailable is None
    assert Cpu.count() == 1
    assert facts.name
    assert 0 < facts.memory_bytes <= psutil.virtual_memory().total


def test_the_cpu_has_every_dtype_but_tf32() -> None:
    assert probe().of("cpu").refused_dtypes.keys() == {"tf32"}


def test_what_its_compiler_lacks_is_why_it_does_not_compile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("bench.devices.cpu.cpp_refusal", lambda: "no compiler")
    assert Cpu().facts().compile_refusal == "no compiler"


# Its clock


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
    one, other = Cpu().clock(), Cpu().clock()
    one.mark()
    assert other.read() == []
    assert len(one.read()) == 1


def test_its_memory_is_counted_by_a_profiler_and_not_by_itself() -> None:
    cpu = Cpu()
    cpu.reset_peak()
    assert cpu.peak_bytes() is None
    assert cpu.memory_type is not None


# Its cores


@needs_affinity
def test_a_process_is_bound_to_as_many_cores_as_threads_the_last_ones() -> None:
    cores = sorted(psutil.Process().cpu_affinity())
    for threads in range(1, min(len(cores), 3) + 1):
        before, answered, bound, available = affinity_after_entering(threads)
        assert sorted(before) == cores
        assert answered == cores[-threads:]
        assert sorted(bound) == answered
        assert available == [threads]


@needs_affinity
def test_more_threads_than_cores_take_all_cores() -> None:
    before, answered, bound, _ = affinity_after_entering(1000)
    assert sorted(answered) == sorted(bound) == sorted(before)


@needs_affinity
def test_a_process_is_bound_within_the_cores_it_was_given() -> None:
    _, first, _, _, second, _, _ = affinity_after_entering(1, 2)
    assert second == first


def test_where_a_process_cannot_be_bound_no_core_is_claimed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(Process=object))
    assert Cpu().enter(1) == []


@needs_affinity
@pytest.mark.parametrize("error", [PermissionError(1, "no"), ValueError("no"), psutil.Error()])
def test_process_that_may_not_be_bound_is_left_as_it_is(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: psutil.Process, cores: list[int] | None = None) -> list[int]:
        raise error

    monkeypatch.setattr(psutil.Process, "cpu_affinity", refuse)
    assert Cpu().enter(1) == []


def test_where_a_process_cannot_be_bound_all_cores_are_available(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = SimpleNamespace(Process=object, cpu_count=lambda: 6)
    monkeypatch.setitem(sys.modules, "psutil", without)
    groups = ControlGroups(tmp_path, tmp_path / "cgroup")
    assert available_cores(groups=groups) == 6


def test_the_cpus_own_time_is_the_hosts_and_not_told_apart() -> None:
    cpu: Device = Cpu()
    cpu.synchronize()
    assert cpu.activities == ("CPU",)


def test_a_cpu_is_on_no_bus() -> None:
    cpu: Device = Cpu()
    assert cpu.bus_id() is None


def test_the_energy_of_a_cpu_is_what_its_packages_used_since_it_was_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("bench.devices.cpu.RaplCounter", lambda: RaplCounter(tmp_path))
    assert Cpu().joules() is None, "there is no counter"
    package = tmp_path / "intel-rapl:0"
    package.mkdir()
    for name, text in (("name", "package-0"), ("max_energy_range_uj", "99000000")):
        (package / name).write_text(text)
    (package / "energy_uj").write_text("3000000")
    cpu = Cpu()
    (package / "energy_uj").write_text("5500000")
    assert cpu.joules() == 2.5
