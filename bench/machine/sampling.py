"""What else the machine is doing, and how it runs: sampled between blocks, from outside the worker.

None stands for what is unavailable from kernel or driver here.
"""

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pynvml as nvml

from ..devices.limits import CGROUPS, ControlGroups, Throttling
from ..devices.nvml import Unavailable, gpu_at
from ..devices.readings import figure, reading
from ..figures import Number, Whole

EVERY_S = 2.0
"""Over these seconds the kernel's count, in hundredths of one, has a step of half a percent."""
CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
TIMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""All that a core's time is made of; guests' time is part of user and nice."""
IDLE = 0x1
THROTTLES: dict[str, int] = {
    "power cap": 0x4,
    "thermal": 0x20 | 0x40,  # by software, by hardware
    "hardware slowdown": 0x8,
    "power brake": 0x80,
}
"""NVML's bits (nvml.h, nvmlClocksEventReason...) for a GPU that has nothing to do, and for a lower
clock that nobody asked for: to idle, or to run as set, is no throttling."""
NOT_SAMPLED = "only NVIDIA's GPUs are sampled"


class HostHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """The host. Shares and cores are means since the sample before."""

    steal: Number | None = None
    """Share of all cores' time that the hypervisor gave to others."""
    others: Number | None = None
    """Cores that were busy with anything but this process and its worker."""
    load: Number | None = None
    """The mean of a minute."""
    mhz: Number | None = None
    """The mean of all cores."""
    max_mhz: Number | None = None
    governor: str | None = None
    temperature_c: Number | None = None
    """Of the hottest sensor."""
    cpu_quota: Number | None = None
    """Cores' worth of time that this process may use; None where no quota is set."""
    throttled: Number | None = None
    """Share of the quota's periods in which it was used up and the group was stopped."""
    throttled_s: Number | None = None
    """For how long since the sample before, summed over cores."""


class GpuHealth(msgspec.Struct, frozen=True, omit_defaults=True):
    """The worker's GPU."""

    unavailable: str | None = None
    """Why nothing of it is known, or None where something may be."""
    sm_mhz: Whole | None = None
    max_sm_mhz: Whole | None = None
    memory_mhz: Whole | None = None
    temperature_c: Whole | None = None
    power_w: Number | None = None
    power_limit_w: Number | None = None
    throttle: tuple[str, ...] | None = None
    """Why its clock is being held back, as THROTTLES has it."""
    idle: bool | None = None
    """Whether it has nothing to do, and its clock may be low for that."""
    throttled_ns: Whole | None = None
    """For how long it was, for power or heat, since the driver was loaded."""
    ecc_errors: Whole | None = None
    """Memory errors that were not corrected, since the driver was loaded."""
    other_processes: Whole | None = None
    """Processes that compute on it beside the worker."""


class Health(msgspec.Struct, frozen=True, omit_defaults=True):
    """One sample."""

    host: HostHealth
    gpu: GpuHealth | None = None


class HealthSample(msgspec.Struct, frozen=True):
    """A sample of a run."""

    at_s: Number
    """Seconds since the run's first session began."""
    health: Health


class HostReading(NamedTuple):
    """What the kernel has counted since it started, core-seconds, and what it shows now.

    None where it is unavailable.
    """

    total_s: float | None
    busy_s: float | None
    steal_s: float | None
    ours_s: float | None
    """Of this process and its worker; None where the worker is gone."""
    now: HostHealth
    throttling: Mapping[Path, Throttling] = {}
    """By the control group that counts it."""

    def since(self, before: "HostReading", passed_s: float) -> HostHealth:
        """What it shows now, and what was counted since a reading so many seconds ago.

        Throttling is that of the control group that lost most.
        """
        total_s = _rise(before.total_s, self.total_s)
        steal_s = _rise(before.steal_s, self.steal_s)
        busy_s, ours_s = _rise(before.busy_s, self.busy_s), _rise(before.ours_s, self.ours_s)
        groups = self.throttling.keys() & before.throttling.keys()
        spans = [(before.throttling[group], self.throttling[group]) for group in groups]
        shares = [
            min(max(now.throttled - was.throttled, 0) / max(now.periods - was.periods, 1), 1.0)
            for was, now in spans
        ]
        stops = [max(now.throttled_s - was.throttled_s, 0.0) for was, now in spans]
        others = None
        if busy_s is not None and ours_s is not None and passed_s > 0:
            others = max(busy_s - ours_s, 0.0) / passed_s
        return msgspec.structs.replace(
            self.now,
            steal=steal_s / total_s if total_s and steal_s is not None else None,
            others=others,
            throttled=max(shares, default=None),
            throttled_s=max(stops, default=None),
        )


def read_host(
    worker_pid: int | None, cpufreq: Path = CPUFREQ, groups: ControlGroups = CGROUPS
) -> HostReading:
    """The host's counters, and of its health what one reading shows."""
    spent = reading(_core_seconds) or {}
    unused = ("idle", "iowait", "steal")
    clock = reading(lambda: psutil.cpu_freq())
    max_mhz = figure(float, getattr, clock, "max") or None
    return HostReading(
        total_s=sum(spent.values()) if spent else None,
        busy_s=sum(s for name, s in spent.items() if name not in unused) if spent else None,
        steal_s=spent.get("steal"),
        ours_s=figure(float, _ours_s, worker_pid),
        now=HostHealth(
            load=figure(float, lambda: psutil.getloadavg()[0]),
            # Where nothing scales the clock, it is only what was found at boot.
            mhz=figure(float, getattr, clock, "current") if max_mhz else None,
            max_mhz=max_mhz,
            governor=reading(_governor, cpufreq),
            temperature_c=reading(_hottest_c),
            cpu_quota=groups.cpu_quota(),
        ),
        throttling=groups.throttling(),
    )


def read_gpu(bus_id: str | None, worker_pid: int | None) -> GpuHealth:
    """The GPU at a PCI bus id; None stands for one of another maker than NVIDIA."""
    if bus_id is None:
        return GpuHealth(unavailable=NOT_SAMPLED)
    try:
        gpu = gpu_at(bus_id)
    except Unavailable as reason:
        return GpuHealth(unavailable=str(reason))
    reasons = _clock_reasons(gpu)
    held = None if reasons is None else [name for name, bits in THROTTLES.items() if reasons & bits]
    return GpuHealth(
        sm_mhz=figure(int, lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM)),
        max_sm_mhz=figure(int, lambda: nvml.nvmlDeviceGetMaxClockInfo(gpu, nvml.NVML_CLOCK_SM)),
        memory_mhz=figure(int, lambda: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM)),
        temperature_c=_temperature_c(gpu),
        power_w=figure(float, lambda: nvml.nvmlDeviceGetPowerUsage(gpu) / 1e3),
        power_limit_w=figure(float, lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1e3),
        throttle=None if held is None else tuple(held),
        idle=None if reasons is None else bool(reasons & IDLE),
        throttled_ns=figure(int, _throttled_ns, gpu),
        ecc_errors=figure(int, _ecc_errors, gpu),
        other_processes=figure(int, _other_processes, gpu, worker_pid),
    )


class HealthMonitor:
    """Samples the machine for the process that starts the workers."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        host: Callable[[int | None], HostReading] = read_host,
        gpu: Callable[[str | None, int | None], GpuHealth] = read_gpu,
    ) -> None:
        self._clock = clock
        self._host = host
        self._gpu = gpu
        self._last: tuple[float, int | None, HostReading] | None = None

    def due(self) -> bool:
        """Whether the last sample is old enough for another."""
        return self._last is None or self._clock() - self._last[0] >= EVERY_S

    def sample(
        self, worker_pid: int | None, gpu_bus_id: str | None, *, on_gpu: bool = False
    ) -> Health:
        """The machine now, and what was counted since the sample before, if there was one.

        `on_gpu`: whether the worker measures on one, which need have no bus id.
        """
        at, seen = self._clock(), self._host(worker_pid)
        host = seen.now
        if self._last is not None:
            before_at, before_pid, before = self._last
            if worker_pid != before_pid:
                before = before._replace(ours_s=None)
            host = seen.since(before, at - before_at)
        self._last = (at, worker_pid, seen)
        return Health(host, self._gpu(gpu_bus_id, worker_pid) if on_gpu else None)


def _rise(before: float | None, now: float | None) -> float | None:
    """How far a counter rose, 0 where it fell; None where either is unavailable."""
    return None if before is None or now is None else max(now - before, 0.0)


def _core_seconds() -> dict[str, float] | None:
    """By what they were spent on; None unless all are figures."""
    times = psutil.cpu_times()
    names = [name for name in TIMES if hasattr(times, name)]
    spent = {name: figure(float, getattr, times, name) for name in names}
    known = {name: seconds for name, seconds in spent.items() if seconds is not None}
    return known if len(known) == len(names) else None


def _governor(cpufreq: Path) -> str | None:
    word = re.fullmatch(r"[\w-]{1,32}", (cpufreq / "scaling_governor").read_text().strip())
    return word[0] if word else None


def _ours_s(worker_pid: int | None) -> float:
    """With what the worker started, compilers above all, whether it still runs or not."""
    worker = psutil.Process(worker_pid)  # None is this process
    own = psutil.Process().cpu_times()
    spent = 0.0 if worker_pid is None else own.user + own.system
    for process in (worker, *worker.children(recursive=True)):
        times = process.cpu_times()
        spent += times.user + times.system + times.children_user + times.children_system
    return spent


def _hottest_c() -> float | None:
    sensors = [sensor for chip in psutil.sensors_temperatures().values() for sensor in chip]
    known = [figure(float, getattr, sensor, "current") for sensor in sensors]
    return max((celsius for celsius in known if celsius is not None), default=None)


def _temperature_c(gpu: Any) -> int | None:
    celsius = figure(int, lambda: nvml.nvmlDeviceGetTemperatureV(gpu, nvml.NVML_TEMPERATURE_GPU))
    if celsius is None:  # an older driver
        celsius = figure(int, lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU))
    return celsius


def _clock_reasons(gpu: Any) -> int | None:
    reasons = figure(int, lambda: nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu))
    if reasons is None:  # an older driver
        reasons = figure(int, lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu))
    return reasons


def _throttled_ns(gpu: Any) -> int:
    policies = (nvml.NVML_PERF_POLICY_POWER, nvml.NVML_PERF_POLICY_THERMAL)
    return sum(nvml.nvmlDeviceGetViolationStatus(gpu, of).violationTime for of in policies)


def _ecc_errors(gpu: Any) -> Any:
    uncorrected, since = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
    return nvml.nvmlDeviceGetTotalEccErrors(gpu, uncorrected, since)


def _other_processes(gpu: Any, worker_pid: int | None) -> int | None:
    """None where the driver does not see the worker: in a container it may number otherwise."""
    pids = {process.pid for process in nvml.nvmlDeviceGetComputeRunningProcesses_v3(gpu)}
    return len(pids - {worker_pid}) if worker_pid is None or worker_pid in pids else None
