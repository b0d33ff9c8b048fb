"""What limits this process below its machine: control groups, affinity, resource limits.

Each control group on the way from this process's own to the root can set a limit; the least holds.
"""

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from .readings import count_in, figure, reading


class Throttling(NamedTuple):
    """What a control group with a CPU quota has counted since it was made."""

    periods: int
    """In which it had something to run."""
    throttled: int
    """Periods in which it used up its quota and was stopped."""
    throttled_s: float
    """Seconds that it was stopped for, summed over cores."""


class ControlGroups(NamedTuple):
    """The control groups that this process is in, of version 1, 2 or both."""

    root: Path = Path("/sys/fs/cgroup")
    membership: Path = Path("/proc/self/cgroup")

    def cpu_quota(self) -> float | None:
        """Cores' worth of time that this process may use; None where no quota is set."""
        quotas = [figure(float, _quota, group) for group in self._holding("cpu")]
        return min(filter(None, quotas), default=None)

    def cpus(self, cores: Collection[int]) -> set[int]:
        """Those of the cores that the cpusets leave."""
        left = set(cores)
        for group in self._holding("cpuset"):
            for name in ("cpuset.cpus.effective", "cpuset.effective_cpus"):  # of version 2, of 1
                left = reading(_within, left, group / name) or left
        return left

    def memory_bytes(self) -> int | None:
        """None where no limit is set."""
        return self._least("memory", "memory.max", "memory.limit_in_bytes")

    def threads(self) -> int | None:
        """Tasks that the groups may hold at once; None where no limit is set."""
        return self._least("pids", "pids.max")

    def throttling(self) -> dict[Path, Throttling]:
        """By the group that counts it; {} where none does, as where none ever had a quota."""
        counts = {group: reading(_throttling, group) for group in self._holding("cpu")}
        return {group: count for group, count in counts.items() if count and count.periods}

    def _least(self, controller: str, *names: str) -> int | None:
        limits = [count_in(group / name) for group in self._holding(controller) for name in names]
        return min((limit for limit in limits if limit is not None), default=None)

    def _holding(self, controller: str) -> list[Path]:
        """The folders of the groups that hold this process, its own first; some may be missing.

        A container may name its group as the host does, and show only its own folder, as the root.
        """
        return reading(lambda: list(self._folders(controller))) or []

    def _folders(self, controller: str) -> Iterator[Path]:
        alone = (self.root / "cgroup.controllers").exists()  # version 2, with no 1 beside it
        unified = self.root if alone else self.root / "unified"
        for line in os.fsdecode(self.membership.read_bytes()).split("\n"):
            _, _, entry = line.partition(":")
            controllers, colon, path = entry.partition(":")
            if colon and not controllers:
                mounts = [unified]
            elif controller in controllers.split(","):
                mounts = [self.root / name for name in dict.fromkeys((controllers, controller))]
            else:
                continue
            group = PurePosixPath(path.lstrip("/"))
            for mount in mounts:
                # Of a group outside what a cgroup namespace shows, nothing can be read.
                if ".." not in group.parts:
                    yield from (mount / part for part in (group, *group.parents) if part.name)
                yield mount


CGROUPS = ControlGroups()


def available_cores(mask: Collection[int] | None = None, groups: ControlGroups = CGROUPS) -> int:
    """Cores that this process may use at once, at least 1.

    Those of `mask`, by default of its affinity, that the cpusets leave, or as many whole cores as
    a CPU quota is worth where that is fewer.
    """
    import psutil

    if mask is None:
        mask = reading(lambda: psutil.Process().cpu_affinity())
    if not mask:
        mask = range(figure(int, lambda: psutil.cpu_count()) or 1)
    cores, quota = len(groups.cpus(mask)), groups.cpu_quota()
    return cores if quota is None else max(1, min(cores, int(quota)))


def available_memory(groups: ControlGroups = CGROUPS) -> int:
    """Bytes that this process may use; 0 where neither the total nor a limit is available."""
    import psutil

    known = [
        figure(int, lambda: psutil.virtual_memory().total),
        figure(int, lambda: psutil.Process().rlimit(psutil.RLIMIT_AS)[0]),
        figure(int, lambda: psutil.Process().rlimit(psutil.RLIMIT_DATA)[0]),
        groups.memory_bytes(),
    ]
    return min((limit for limit in known if limit is not None), default=0)


def thread_limit(groups: ControlGroups = CGROUPS) -> int | None:
    """Threads that this process may work with at once; None where nothing limits them."""
    limits = [groups.threads(), figure(int, lambda: int(os.environ["OMP_THREAD_LIMIT"]))]
    return min(filter(None, limits), default=None)


def _quota(group: Path) -> float:
    if (group / "cpu.max").exists():
        quota, period = (group / "cpu.max").read_text().split()
    else:  # version 1
        quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
    return int(quota) / int(period)


def _within(cores: Collection[int], path: Path) -> set[int]:
    """Those of the cores in a list such as `0-3,7`."""
    spans = [part.partition("-") for part in path.read_text().split(",")]
    ranges = [range(int(low), int(high or low) + 1) for low, _, high in spans]
    return {core for core in cores if any(core in span for span in ranges)}


def _throttling(group: Path) -> Throttling:
    counts = dict(re.findall(r"^(\w+) (\d+)$", (group / "cpu.stat").read_text(), re.MULTILINE))
    if "throttled_usec" in counts:
        seconds = int(counts["throttled_usec"]) / 1e6
    else:
        seconds = int(counts["throttled_time"]) / 1e9
    return Throttling(int(counts["nr_periods"]), int(counts["nr_throttled"]), seconds)
