"""What else the machine is doing, and how it runs: sampled between blocks, from outside the worker.

None stands for what neither the kernel nor the driver tells here.
"""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import psutil
import pynvml

EVERY_S = 2.0
"""Over so many seconds the kernel's count, in hundredths of one, tells half a percent of a core."""
CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
TIMES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")
"""All that a core's time is made of; guests' time is part of user and nice."""
THROTTLES: dict[str, int] = {
    "power cap": pynvml.nvmlClocksEventReasonSwPowerCap,
    "thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown
    | pynvml.nvmlClocksEventReasonHwThermalSlowdown,
    "hardware slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
    "power brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
}
"""The reasons for a lower clock that nobody asked for: to idle, or to run as set, is none."""

Answer = TypeVar("Answer")


class HostHealth(msgspec.Struct, frozen=True):
    """The host. Shares and cores are means since the sample before."""

    steal: float | None = None
    """Share of all cores' time that the hypervisor gave to others."""
    others: float | None = None
    """Cores that were busy with anything but this process and its worker."""
    load: float | None = None
    """The mean of a minute."""
    mhz: float | None = None
    """The mean of all cores."""
    max_mhz: float | None = None
    governor: str | None = None
    temperature_c: float | None = None
    """Of the hottest sensor."""


class GpuHealth(msgspec.Struct, frozen=True):
    """The worker's GPU."""

    sm_mhz: int | None = None
    max_sm_mhz: int | None = None
    memory_mhz: int | None = None
    temperature_c: int | None = None
    power_w: float | None = None
    power_limit_w: float | None = None
    throttle: tuple[str, ...] | None = None
    """Why its clock is being held back, as THROTTLES has it."""
    throttled_ns: int | None = None
    """For how long it was, for power or heat, since the driver was loaded."""
    ecc_errors: int | None = None
    """Memory errors that were not corrected, since the driver was loaded."""
    other_processes: int | None = None
    """Processes that compute on it beside the worker."""


class Health(msgspec.Struct, frozen=True):
    """One sample."""

    host: HostHealth
    gpu: GpuHealth | None = None


class HealthSample(msgspec.Struct, frozen=True):
    """A sample of a run."""

    at_s: float
    """Seconds since the run's first sitting began."""
    health: Health


class HostReading(NamedTuple):
    """What the kernel has counted since it started, core-seconds, and what it shows now."""

    total_s: float
    busy_s: float
    steal_s: float | None
    ours_s: float | None
    """Of this process and its worker; None where the worker is gone."""
    now: HostHealth

    def steal_since(self, before: "HostReading") -> float | None:
        """Share of all cores' time; None where no time passed."""
        passed_s = self.total_s - before.total_s
        if self.steal_s is None or before.steal_s is None or passed_s <= 0:
            return None
        return max(self.steal_s - before.steal_s, 0.0) / passed_s

    def others_since(self, before: "HostReading", passed_s: float) -> float | None:
        """Cores, over the seconds that passed; None where none did."""
        if self.ours_s is None or before.ours_s is None or passed_s <= 0:
            return None
        ours_s = self.ours_s - before.ours_s
        return max(self.busy_s - before.busy_s - ours_s, 0.0) / passed_s


def read_host(worker_pid: int | None, cpufreq: Path = CPUFREQ) -> HostReading:
    """The host's counters, and of its health what one look tells."""
    times = psutil.cpu_times()
    spent = {name: getattr(times, name) for name in TIMES if hasattr(times, name)}
    unused = ("idle", "iowait", "steal")
    clock = _told(lambda: psutil.cpu_freq())
    if clock and not clock.max:  # nothing scales it: this is only what was found at boot
        clock = None
    return HostReading(
        total_s=sum(spent.values()),
        busy_s=sum(s for name, s in spent.items() if name not in unused),
        steal_s=spent.get("steal"),
        ours_s=_told(_ours_s, worker_pid),
        now=HostHealth(
            load=_told(lambda: psutil.getloadavg()[0]),
            mhz=clock.current if clock else None,
            max_mhz=clock.max if clock else None,
            governor=_told(lambda: (cpufreq / "scaling_governor").read_text().strip()),
            temperature_c=_told(_hottest_c),
        ),
    )


def read_gpu(bus_id: str, worker_pid: int | None) -> GpuHealth | None:
    """The GPU at a PCI bus id; None where the driver has none there."""
    try:
        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByPciBusId(bus_id)
    except pynvml.NVMLError:
        return None
    return GpuHealth(
        sm_mhz=_told(pynvml.nvmlDeviceGetClockInfo, gpu, pynvml.NVML_CLOCK_SM),
        max_sm_mhz=_told(pynvml.nvmlDeviceGetMaxClockInfo, gpu, pynvml.NVML_CLOCK_SM),
        memory_mhz=_told(pynvml.nvmlDeviceGetClockInfo, gpu, pynvml.NVML_CLOCK_MEM),
        temperature_c=_told(_temperature_c, gpu),
        power_w=_told(lambda: pynvml.nvmlDeviceGetPowerUsage(gpu) / 1e3),
        power_limit_w=_told(lambda: pynvml.nvmlDeviceGetEnforcedPowerLimit(gpu) / 1e3),
        throttle=_told(_throttle, gpu),
        throttled_ns=_told(_throttled_ns, gpu),
        ecc_errors=_told(
            pynvml.nvmlDeviceGetTotalEccErrors,
            gpu,
            pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            pynvml.NVML_VOLATILE_ECC,
        ),
        other_processes=_told(_other_processes, gpu, worker_pid),
    )


class HealthMonitor:
    """Samples the machine for the process that starts the workers."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        host: Callable[[int | None], HostReading] = read_host,
        gpu: Callable[[str, int | None], GpuHealth | None] = read_gpu,
    ) -> None:
        self._clock = clock
        self._host = host
        self._gpu = gpu
        self._last: tuple[float, int | None, HostReading] | None = None

    def due(self) -> bool:
        """Whether the last sample is old enough for another."""
        return self._last is None or self._clock() - self._last[0] >= EVERY_S

    def sample(self, worker_pid: int | None, gpu_bus_id: str | None) -> Health:
        """The machine now, and what was counted since the sample before, if there was one."""
        at, reading = self._clock(), self._host(worker_pid)
        host = reading.now
        if self._last is not None:
            before_at, before_pid, before = self._last
            same = worker_pid == before_pid
            host = msgspec.structs.replace(
                host,
                steal=reading.steal_since(before),
                others=reading.others_since(before, at - before_at) if same else None,
            )
        self._last = (at, worker_pid, reading)
        return Health(host, self._gpu(gpu_bus_id, worker_pid) if gpu_bus_id else None)


def _told(ask: Callable[..., Answer], *about: Any) -> Answer | None:
    """The answer, or None where it is not told: psutil has many ways to say so."""
    silence = (AttributeError, OSError, RuntimeError, psutil.Error, pynvml.NVMLError)
    with contextlib.suppress(*silence):
        return ask(*about)
    return None


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
    chips = psutil.sensors_temperatures().values()
    return max((sensor.current for chip in chips for sensor in chip), default=None)


def _temperature_c(gpu: Any) -> int:
    try:
        return int(pynvml.nvmlDeviceGetTemperatureV(gpu, pynvml.NVML_TEMPERATURE_GPU))
    except pynvml.NVMLError:  # of an older driver
        return int(pynvml.nvmlDeviceGetTemperature(gpu, pynvml.NVML_TEMPERATURE_GPU))


def _throttle(gpu: Any) -> tuple[str, ...]:
    try:
        reasons = pynvml.nvmlDeviceGetCurrentClocksEventReasons(gpu)
    except pynvml.NVMLError:  # of an older driver
        reasons = pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu)
    return tuple(name for name, bits in THROTTLES.items() if reasons & bits)


def _throttled_ns(gpu: Any) -> int:
    policies = (pynvml.NVML_PERF_POLICY_POWER, pynvml.NVML_PERF_POLICY_THERMAL)
    return sum(pynvml.nvmlDeviceGetViolationStatus(gpu, of).violationTime for of in policies)


def _other_processes(gpu: Any, worker_pid: int | None) -> int | None:
    """None where the driver does not see the worker: in a container it may number otherwise."""
    pids = {process.pid for process in pynvml.nvmlDeviceGetComputeRunningProcesses_v3(gpu)}
    return len(pids - {worker_pid}) if worker_pid is None or worker_pid in pids else None
