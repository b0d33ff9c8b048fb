"""What limits a process: control groups of either version, nested, hidden or garbage."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from bench.devices.limits import (
    CGROUPS,
    ControlGroups,
    Throttling,
    available_cores,
    available_memory,
    thread_limit,
)

GIB = 2**30
Made = Callable[..., ControlGroups]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """Makes control groups: the lines of the process's own file, and files by their paths."""

    def make(membership: str | bytes, files: dict[str, str | bytes]) -> ControlGroups:
        def write(path: Path, content: str | bytes) -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.encode() if isinstance(content, str) else content)

        write(tmp_path / "cgroup", membership)
        for name, content in files.items():
            write(tmp_path / "fs" / name, content)
        return ControlGroups(tmp_path / "fs", tmp_path / "cgroup")

    return make


V2 = {"cgroup.controllers": "cpu cpuset memory pids\n"}
STAT_V2 = "usage_usec 5\nuser_usec 5\nnr_periods 456\nnr_throttled 455\nthrottled_usec 22500000\n"
STAT_V1 = "nr_periods 456\nnr_throttled 455\nthrottled_time 22500000000\n"


# CPU quotas


@pytest.mark.parametrize(
    ("membership", "files", "quota"),
    [
        # Version 2
        ("0::/\n", V2, None),  # the root has no such file
        ("0::/a\n", V2 | {"a/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/a\n", V2 | {"a/cpu.max": "max 100000\n"}, None),
        ("0::/a\n", V2 | {"a/cpu.max": "300000 200000\n"}, 1.5),
        ("0::/a b:c\n", V2 | {"a b:c/cpu.max": "50000 100000\n"}, 0.5),
        (b"0::/\xff\n", V2 | {"x/cpu.max": "50000 100000\n"}, None),
        # along the whole path
        (
            "0::/a/b/c\n",
            V2 | {"a/cpu.max": "50000 100000", "a/b/cpu.max": "200000 100000"},
            0.5,
        ),
        (
            "0::/a/b\n",
            V2 | {"a/cpu.max": "max 100000", "a/b/cpu.max": "200000 100000", "c/cpu.max": "1 100"},
            2.0,
        ),
        # in a namespace, whose root is a group with limits
        ("0::/\n", V2 | {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/docker/0123\n", V2 | {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/../other\n", V2 | {"cpu.max": "50000 100000\n", "other/cpu.max": "1 100"}, 0.5),
        # Version 1
        (
            "2:cpu,cpuacct:/a\n1:name=systemd:/\n",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        (
            "2:cpuacct,cpu:/a/b\n",
            {"cpu/a/cpu.cfs_quota_us": "150000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            1.5,
        ),
        ("1:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        (
            "1:cpu:/docker/0123\n",
            {"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        (
            "1:cpuset:/a\n",
            {"cpu/a/cpu.cfs_quota_us": "50000\n", "cpu/a/cpu.cfs_period_us": "100000\n"},
            None,
        ),
        # Both: version 2 beside the controllers of version 1, or with some of its own
        (
            "1:cpu:/a\n0::/s\n",
            {
                "unified/cgroup.controllers": "",
                "unified/s/cpu.stat": "usage_usec 1\n",
                "cpu/a/cpu.cfs_quota_us": "50000\n",
                "cpu/a/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        ("1:memory:/a\n0::/s\n", {"unified/s/cpu.max": "50000 100000\n"}, 0.5),
        ("0::/\n", V2 | {"unified/cpu.max": "50000 100000\n"}, None),  # a group of that name
    ],
)
def test_cpu_quota_is_the_least_along_the_path(
    membership: str, files: dict[str, str | bytes], quota: float | None, made: Made
) -> None:
    assert made(membership, files).cpu_quota() == quota


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        "\n",
        "max",
        "50000",
        "<unknown> 100000",
        "50000 0",
        "-50000 100000",
        "0 100000",
        "nan nan",
        "5e4 100000",
        "1 2 3",
        b"\xff\xfe",
        "9" * 400 + " 1",
        "9" * 5000 + " 1",
    ],
)
def test_quota_that_is_garbage_is_none_and_hides_no_other(garbage: str | bytes, made: Made) -> None:
    groups = made("0::/a/b\n", V2 | {"a/b/cpu.max": garbage, "a/cpu.max": "50000 100000"})
    assert groups.cpu_quota() == 0.5
    (groups.root / "a" / "cpu.max").unlink()
    assert groups.cpu_quota() is None


@pytest.mark.parametrize(
    "membership", ["", "\n", "hello", "0:/a", ":::", "0::", "1:cpu", b"\xff\xfe\x00", "0::/\x00"]
)
def test_membership_that_is_garbage_limits_nothing(membership: str | bytes, made: Made) -> None:
    groups = made(membership, V2)
    assert (groups.cpu_quota(), groups.memory_bytes(), groups.threads()) == (None, None, None)
    assert (groups.cpus({0, 1}), groups.throttling()) == ({0, 1}, {})


def test_line_that_is_garbage_hides_no_other(made: Made) -> None:
    groups = made("hello\n\n0::/a\n", V2 | {"a/cpu.max": "50000 100000"})
    assert groups.cpu_quota() == 0.5


def test_files_that_are_folders_or_missing_limit_nothing(tmp_path: Path, made: Made) -> None:
    assert ControlGroups(tmp_path / "missing", tmp_path / "missing").cpu_quota() is None
    assert ControlGroups(tmp_path, tmp_path).cpu_quota() is None
    groups = made("0::/a\n", V2)
    for name in ("cpu.max", "cpu.stat", "cpuset.cpus.effective", "memory.max", "pids.max"):
        (groups.root / "a" / name).mkdir(parents=True)
    assert (groups.cpu_quota(), groups.memory_bytes(), groups.threads()) == (None, None, None)
    assert (groups.cpus({0, 1}), groups.throttling()) == ({0, 1}, {})


# Throttling


@pytest.mark.parametrize(
    ("membership", "name", "stat"),
    [("0::/a/b\n", "a/cpu.stat", STAT_V2), ("1:cpu:/a/b\n", "cpu/a/cpu.stat", STAT_V1)],
)
def test_throttling_is_counted_by_the_group_with_the_quota(
    membership: str, name: str, stat: str, made: Made
) -> None:
    unlimited = {
        "a/b/cpu.stat": "usage_usec 5\nnr_periods 0\nnr_throttled 0\nthrottled_usec 0\n",
        "cpu/a/b/cpu.stat": "nr_periods 0\nnr_throttled 0\nthrottled_time 0\n",
    }
    files = {**(V2 if "::" in membership else {}), **unlimited, name: stat}
    groups = made(membership, files)
    assert groups.throttling() == {(groups.root / name).parent: Throttling(456, 455, 22.5)}


@pytest.mark.parametrize(
    "stat",
    [
        "",
        "usage_usec 5\n",
        "nr_periods 4\nnr_throttled 3\n",
        "nr_periods x\n",
        b"\xff",
        STAT_V2.replace("456", "-456"),
        STAT_V2.replace("22500000", "9" * 400),
    ],
)
def test_throttling_that_is_garbage_is_unavailable(stat: str | bytes, made: Made) -> None:
    assert made("0::/a\n", V2 | {"a/cpu.stat": stat}).throttling() == {}


def test_line_of_another_shape_hides_no_throttling(made: Made) -> None:
    groups = made("0::/a\n", V2 | {"a/cpu.stat": "some more words\n\n" + STAT_V2})
    assert list(groups.throttling().values()) == [Throttling(456, 455, 22.5)]


# Cores


@pytest.mark.parametrize(
    ("files", "mask", "cores"),
    [
        ({}, [0, 1, 2, 3], 4),
        ({"a/cpuset.cpus.effective": "0-1\n"}, [0, 1, 2, 3], 2),
        ({"a/cpuset.cpus.effective": "1,3,5-7\n"}, [0, 1, 2, 3, 6], 3),
        ({"cpuset.cpus.effective": "0-2\n", "a/cpuset.cpus.effective": "1\n"}, [0, 1, 2], 1),
        ({"a/cpuset.cpus.effective": "0-99999999999\n"}, [0, 1], 2),
        ({"a/cpuset.cpus.effective": "8-9\n"}, [0, 1], 2),  # none is left: it cannot be so
        ({"a/cpuset.cpus.effective": "\n"}, [0, 1], 2),
        ({"a/cpuset.cpus.effective": "<unknown>\n"}, [0, 1], 2),
        ({"a/cpu.max": "50000 100000\n"}, [0, 1, 2, 3], 1),
        ({"a/cpu.max": "250000 100000\n"}, [0, 1, 2, 3], 2),
        ({"a/cpu.max": "900000 100000\n"}, [0, 1, 2, 3], 4),
        ({"a/cpu.max": "250000 100000\n", "a/cpuset.cpus.effective": "2\n"}, [0, 1, 2], 1),
        ({"a/cpu.max": "max 100000\n"}, range(64), 64),
    ],
)
def test_cores_are_those_of_the_mask_and_the_cpusets_and_worth_the_quota(
    files: dict[str, str | bytes], mask: list[int], cores: int, made: Made
) -> None:
    assert available_cores(mask, made("0::/a\n", V2 | files)) == cores


def test_cpuset_of_version_1_is_read(made: Made) -> None:
    groups = made("3:cpuset:/a\n", {"cpuset/a/cpuset.effective_cpus": "0,2\n"})
    assert available_cores([0, 1, 2], groups) == 2


def test_without_a_mask_the_cores_are_those_of_this_process(
    monkeypatch: pytest.MonkeyPatch, made: Made
) -> None:
    nothing = made("0::/\n", V2)
    bound = SimpleNamespace(cpu_affinity=lambda: [4, 5, 6])
    fakes: list[tuple[dict[str, Any], int]] = [
        ({"Process": lambda: bound, "cpu_count": lambda: 8}, 3),
        ({"Process": SimpleNamespace, "cpu_count": lambda: 8}, 8),  # it cannot be bound here
        ({"Process": SimpleNamespace, "cpu_count": lambda: None}, 1),
        ({"Process": lambda: SimpleNamespace(cpu_affinity=lambda: [])}, 1),
    ]
    for fake, cores in fakes:
        monkeypatch.setitem(sys.modules, "psutil", SimpleNamespace(**fake))
        assert available_cores(groups=nothing) == cores


# Memory


@pytest.mark.parametrize(
    ("membership", "files", "limit"),
    [
        ("0::/a\n", {}, None),
        ("0::/a\n", {"a/memory.max": "max\n"}, None),
        ("0::/a/b\n", {"a/b/memory.max": "max\n", "a/memory.max": f"{2 * GIB}\n"}, 2 * GIB),
        ("0::/a/b\n", {"a/b/memory.max": f"{GIB}\n", "a/memory.max": f"{2 * GIB}\n"}, GIB),
        ("0::/\n", {"memory.max": f"{GIB}\n"}, GIB),
        ("0::/a\n", {"a/memory.max": "<unknown>\n", "memory.max": f"{GIB}\n"}, GIB),
        ("0::/a\n", {"a/memory.max": "-1\n"}, None),
    ],
)
def test_memory_is_the_least_along_the_path(
    membership: str, files: dict[str, str | bytes], limit: int | None, made: Made
) -> None:
    assert made(membership, V2 | files).memory_bytes() == limit


def test_memory_of_version_1_is_read(made: Made) -> None:
    groups = made("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": f"{GIB}\n"})
    assert groups.memory_bytes() == GIB


def memory(total: Any, **limits: int) -> SimpleNamespace:
    """A psutil for a machine with so much memory; `limits` are what getrlimit shows, if it does."""
    return SimpleNamespace(
        virtual_memory=lambda: SimpleNamespace(total=total),
        Process=lambda: SimpleNamespace(rlimit=lambda which: (limits[which], -1)),
        RLIMIT_AS="address",
        RLIMIT_DATA="data",
    )


@pytest.mark.parametrize(
    ("machine", "group", "available"),
    [
        (memory(8 * GIB, address=-1, data=-1), "max", 8 * GIB),
        (memory(8 * GIB, address=-1, data=-1), f"{2 * GIB}", 2 * GIB),
        (memory(8 * GIB, address=-1, data=-1), "9223372036854771712", 8 * GIB),
        (memory(8 * GIB, address=4 * GIB, data=-1), "max", 4 * GIB),
        (memory(8 * GIB, address=-1, data=GIB), f"{2 * GIB}", GIB),
        (memory(8 * GIB), "max", 8 * GIB),
        (memory(None), f"{2 * GIB}", 2 * GIB),
        (memory("<unknown>"), "max", 0),
        (SimpleNamespace(), "max", 0),
    ],
)
def test_available_memory_is_the_least_of_the_machines_and_all_limits(
    machine: SimpleNamespace,
    group: str,
    available: int,
    monkeypatch: pytest.MonkeyPatch,
    made: Made,
) -> None:
    monkeypatch.setitem(sys.modules, "psutil", machine)
    assert available_memory(made("0::/a\n", V2 | {"a/memory.max": group})) == available


# Threads


@pytest.mark.parametrize(
    ("variable", "pids", "limit"),
    [
        (None, "max\n", None),
        (None, "12\n", 12),
        ("3", "12\n", 3),
        ("3", "max\n", 3),
        ("99", "12\n", 12),
        ("", "max\n", None),
        ("0", "max\n", None),
        ("-1", "max\n", None),
        ("all", "<unknown>\n", None),
    ],
)
def test_threads_are_limited_by_the_group_and_by_openmp(
    variable: str | None,
    pids: str,
    limit: int | None,
    monkeypatch: pytest.MonkeyPatch,
    made: Made,
) -> None:
    monkeypatch.delenv("OMP_THREAD_LIMIT", raising=False)
    if variable is not None:
        monkeypatch.setenv("OMP_THREAD_LIMIT", variable)
    assert thread_limit(made("0::/a\n", V2 | {"a/pids.max": pids})) == limit


# In the end


def test_this_machine_is_read() -> None:
    quota = CGROUPS.cpu_quota()
    assert quota is None or quota > 0
    assert 1 <= available_cores() <= (psutil.cpu_count() or 1)
    assert 0 < available_memory() <= psutil.virtual_memory().total


@pytest.mark.skipif(sys.platform != "linux", reason="its own kernel says otherwise")
def test_mask_is_taken_as_it_is() -> None:
    own = sorted(psutil.Process().cpu_affinity())
    assert available_cores(own[:1]) == 1
