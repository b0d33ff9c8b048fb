"""Machine health: what was counted between samples, what is seen at one, what is unavailable."""

import math
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import psutil
import pynvml
import pytest

from bench.devices.limits import ControlGroups, Throttling
from bench.devices.nvml import MIG, REASONS
from bench.machine.sampling import (
    EVERY_S,
    IDLE,
    NOT_SAMPLED,
    THROTTLES,
    GpuHealth,
    Health,
    HealthMonitor,
    HealthSample,
    HostHealth,
    HostReading,
    read_gpu,
    read_host,
)

BUS_ID = "0000:3B:00.0"
WORKER = 4321


class Host:
    """A host of two cores whose counters move as they are told to; the clock is its own."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.gone = False
        self._reading = HostReading(1000.0, 200.0, 5.0, 50.0, HostHealth(load=0.5))

    def clock(self) -> float:
        return self.now_s

    def read(self, worker_pid: int | None) -> HostReading:
        return self._reading._replace(ours_s=None) if self.gone else self._reading

    def spend(self, seconds: float, busy: float, steal: float | None, ours: float) -> None:
        """Let time pass in which so many core-seconds went there."""
        before = self._reading
        self.now_s += seconds
        self._reading = before._replace(
            total_s=(before.total_s or 0.0) + 2 * seconds,
            busy_s=(before.busy_s or 0.0) + busy,
            steal_s=None if steal is None else (before.steal_s or 0.0) + steal,
            ours_s=(before.ours_s or 0.0) + ours,
        )

    def throttle(self, **counts: Throttling) -> None:
        """What each control group has counted."""
        throttling = {Path(name): count for name, count in counts.items()}
        self._reading = self._reading._replace(throttling=throttling)


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def monitor(host: Host) -> HealthMonitor:
    return HealthMonitor(host.clock, host.read, lambda bus_id, pid: GpuHealth(sm_mhz=1980))


# Between samples


def test_first_sample_has_no_differences(monitor: HealthMonitor) -> None:
    assert monitor.sample(WORKER, None) == Health(HostHealth(load=0.5), None)


def test_sample_shows_what_was_counted_since_the_one_before(
    host: Host, monitor: HealthMonitor
) -> None:
    monitor.sample(WORKER, None)
    host.spend(2.0, busy=2.4, steal=0.1, ours=1.9)
    first = monitor.sample(WORKER, None).host
    assert (first.steal, first.others) == pytest.approx((0.1 / 4.0, 0.5 / 2.0))
    host.spend(4.0, busy=3.8, steal=0.0, ours=3.8)
    second = monitor.sample(WORKER, None).host
    assert (second.steal, second.others) == pytest.approx((0.0, 0.0))


def test_others_are_never_less_than_none(host: Host, monitor: HealthMonitor) -> None:
    """The kernel counts a process more finely than a core."""
    monitor.sample(WORKER, None)
    host.spend(2.0, busy=1.95, steal=-0.01, ours=2.0)
    assert monitor.sample(WORKER, None).host == HostHealth(steal=0.0, others=0.0, load=0.5)


def test_where_steal_is_not_counted_it_is_unavailable(host: Host, monitor: HealthMonitor) -> None:
    host.spend(0.0, busy=0.0, steal=None, ours=0.0)
    monitor.sample(WORKER, None)
    host.spend(2.0, busy=1.0, steal=None, ours=1.0)
    assert monitor.sample(WORKER, None).host == HostHealth(others=0.0, load=0.5)


def test_two_samples_at_once_have_no_differences(monitor: HealthMonitor) -> None:
    monitor.sample(WORKER, None)
    assert monitor.sample(WORKER, None).host == HostHealth(load=0.5)


def test_others_are_not_known_over_a_change_of_workers(host: Host, monitor: HealthMonitor) -> None:
    monitor.sample(WORKER, None)
    for pid, known in ((WORKER + 1, False), (WORKER + 1, True), (None, False), (None, True)):
        host.spend(2.0, busy=1.0, steal=0.0, ours=1.0)
        sample = monitor.sample(pid, None).host
        assert sample.steal == 0.0
        assert sample.others == (0.0 if known else None)


def test_others_are_not_known_without_the_worker(host: Host, monitor: HealthMonitor) -> None:
    monitor.sample(WORKER, None)
    for gone, known in ((True, False), (False, False), (False, True)):
        host.gone = gone
        host.spend(2.0, busy=1.0, steal=0.0, ours=1.0)
        assert monitor.sample(WORKER, None).host.others == (0.0 if known else None)


@pytest.mark.parametrize(
    ("before", "after", "share", "seconds"),
    [
        ({}, {"own": Throttling(10, 9, 0.5)}, None, None),
        ({"own": Throttling(10, 9, 0.5)}, {"own": Throttling(30, 24, 1.75)}, 0.75, 1.25),
        ({"own": Throttling(10, 9, 0.5)}, {"own": Throttling(10, 9, 0.5)}, 0.0, 0.0),
        ({"own": Throttling(10, 9, 0.5)}, {"own": Throttling(5, 1, 0.25)}, 0.0, 0.0),
        ({"own": Throttling(10, 1, 0.5)}, {"own": Throttling(12, 9, 0.5)}, 1.0, 0.0),
        ({"own": Throttling(10, 9, 0.5)}, {"other": Throttling(20, 19, 1.5)}, None, None),
        (
            {"own": Throttling(10, 0, 0.0), "outer": Throttling(100, 50, 5.0)},
            {"own": Throttling(20, 1, 0.5), "outer": Throttling(110, 55, 5.25)},
            0.5,
            0.5,
        ),
    ],
)
def test_throttling_is_that_of_the_group_where_it_grew_most(
    before: dict[str, Throttling],
    after: dict[str, Throttling],
    share: float | None,
    seconds: float | None,
    host: Host,
    monitor: HealthMonitor,
) -> None:
    host.throttle(**before)
    monitor.sample(WORKER, None)
    host.throttle(**after)
    host.spend(2.0, busy=1.0, steal=0.0, ours=1.0)
    now = monitor.sample(WORKER, None).host
    assert (now.throttled, now.throttled_s) == (share, seconds)


def test_what_is_unavailable_at_one_sample_is_no_difference(
    host: Host, monitor: HealthMonitor
) -> None:
    nothing = HostReading(None, None, None, None, HostHealth())
    known, unknown = (
        HealthMonitor(host.clock, host.read),
        HealthMonitor(host.clock, lambda _: nothing),
    )
    for sampled in (known, unknown):
        sampled.sample(WORKER, None)
    host.now_s += 2.0
    assert unknown.sample(WORKER, None).host == HostHealth()
    assert host.read(WORKER).since(nothing, 2.0) == HostHealth(load=0.5)
    assert nothing.since(host.read(WORKER), 2.0) == HostHealth()


def test_sample_is_due_at_first_and_then_every_so_often(host: Host, monitor: HealthMonitor) -> None:
    assert monitor.due()
    monitor.sample(WORKER, None)
    assert not monitor.due()
    host.now_s += 0.9 * EVERY_S
    assert not monitor.due()
    host.now_s += 0.1 * EVERY_S
    assert monitor.due()


def test_gpu_is_asked_only_where_there_is_one(host: Host) -> None:
    asked: list[tuple[str | None, int | None]] = []

    def gpu(bus_id: str | None, worker_pid: int | None) -> GpuHealth:
        asked.append((bus_id, worker_pid))
        return GpuHealth(sm_mhz=1980)

    monitor = HealthMonitor(host.clock, host.read, gpu)
    assert monitor.sample(WORKER, None).gpu is None
    assert monitor.sample(WORKER, BUS_ID, on_gpu=True).gpu == GpuHealth(sm_mhz=1980)
    assert asked == [(BUS_ID, WORKER)]


def test_gpu_of_another_maker_says_that_it_is_not_sampled(host: Host) -> None:
    sampled = HealthMonitor(host.clock, host.read).sample(WORKER, None, on_gpu=True)
    assert sampled.gpu == GpuHealth(unavailable=NOT_SAMPLED)


# The host


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., HostReading]:
    """Reads a host whose kernel tells all; `changes` replace functions of psutil."""
    spent = SimpleNamespace(
        user=10.0, nice=1.0, system=2.0, idle=80.0, iowait=4.0, irq=0.5, softirq=0.5, steal=2.0
    )
    sensors = {"chip": [SimpleNamespace(current=41.0), SimpleNamespace(current=63.5)], "disk": []}
    told: dict[str, Any] = {
        "cpu_times": lambda: SimpleNamespace(**vars(spent), guest=7.0, guest_nice=0.5),
        "getloadavg": lambda: (1.25, 0.5, 0.25),
        "cpu_freq": lambda: SimpleNamespace(current=2900.0, min=800.0, max=3500.0),
        "sensors_temperatures": lambda: sensors,
    }
    (tmp_path / "scaling_governor").write_text("powersave\n")

    def read(worker_pid: int | None = None, **changes: Any) -> HostReading:
        for name, function in {**told, **changes}.items():
            monkeypatch.setattr(psutil, name, function)
        return read_host(worker_pid, tmp_path, ControlGroups(tmp_path, tmp_path / "cgroup"))

    return read


def refuse(*arguments: Any) -> Any:
    raise NotImplementedError


def test_host_counts_each_second_of_its_cores_once(kernel: Callable[..., HostReading]) -> None:
    reading = kernel()
    assert (reading.total_s, reading.busy_s, reading.steal_s) == (100.0, 14.0, 2.0)


def test_host_shows_clock_governor_load_and_heat(kernel: Callable[..., HostReading]) -> None:
    assert kernel().now == HostHealth(
        load=1.25, mhz=2900.0, max_mhz=3500.0, governor="powersave", temperature_c=63.5
    )


def test_host_without_steal_or_iowait_is_read(kernel: Callable[..., HostReading]) -> None:
    """As on macOS."""
    times = SimpleNamespace(user=10.0, nice=0.0, system=5.0, idle=85.0)
    reading = kernel(cpu_times=lambda: times)
    assert (reading.total_s, reading.busy_s, reading.steal_s) == (100.0, 15.0, None)


@pytest.mark.parametrize(
    "clock",
    [
        None,
        SimpleNamespace(current=0.0, min=0.0, max=0.0),
        SimpleNamespace(current=2600.0, min=0.0, max=0.0),
        SimpleNamespace(current=2600.0, min=None, max=None),
    ],
)
def test_clock_that_nothing_scales_is_unavailable(
    clock: object, kernel: Callable[..., HostReading]
) -> None:
    now = kernel(cpu_freq=lambda: clock).now
    assert (now.mhz, now.max_mhz) == (None, None)


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("getloadavg", {"load"}),
        ("cpu_freq", {"mhz", "max_mhz"}),
        ("sensors_temperatures", {"temperature_c"}),
    ],
)
def test_what_the_kernel_does_not_tell_is_none(
    function: str, fields: set[str], kernel: Callable[..., HostReading]
) -> None:
    changed = msgspec.structs.asdict(kernel(**{function: refuse}).now)
    between = {"steal", "others", "throttled", "throttled_s"}
    assert {name for name, value in changed.items() if value is None} == {
        "cpu_quota",
        *between,
        *fields,
    }


def test_what_psutil_has_no_function_for_is_none(
    kernel: Callable[..., HostReading], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kernel()
    monkeypatch.delattr(psutil, "cpu_freq")
    monkeypatch.delattr(psutil, "sensors_temperatures")
    groups = ControlGroups(tmp_path, tmp_path / "missing")
    now = read_host(None, tmp_path / "missing", groups).now
    assert now == HostHealth(load=1.25)


ODD: dict[str, Any] = {
    "none": None,
    "empty": "",
    "text": "<unknown>",
    "bytes": b"\xff",
    "negative": -1,
    "not a number": math.nan,
    "infinite": math.inf,
    "huge": 10**30,
    "a list": [1410],
}
ERRORS = (
    ValueError("could not convert string to float: '<unknown>'"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    PermissionError(13, "Permission denied"),
    FileNotFoundError(2, "No such file or directory"),
    IsADirectoryError(21, "Is a directory"),
    KeyError("cpu"),
    IndexError("list index out of range"),
    ZeroDivisionError("division by zero"),
    psutil.AccessDenied(WORKER),
)


def raising(error: BaseException) -> Callable[..., Any]:
    def ask(*arguments: Any) -> Any:
        raise error

    return ask


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_psutil_raises_is_unavailable(
    error: Exception, kernel: Callable[..., HostReading]
) -> None:
    names = ("cpu_times", "getloadavg", "cpu_freq", "sensors_temperatures", "Process")
    reading = kernel(**dict.fromkeys(names, raising(error)))
    assert reading == HostReading(None, None, None, None, HostHealth(governor="powersave"))


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_whatever_psutil_answers_is_a_figure_or_unavailable(
    odd: Any, kernel: Callable[..., HostReading]
) -> None:
    reading = kernel(
        cpu_times=lambda: SimpleNamespace(user=odd, idle=80.0),
        getloadavg=lambda: (odd, 0.5, 0.25),
        cpu_freq=lambda: SimpleNamespace(current=odd, max=3500.0),
        sensors_temperatures=lambda: {"chip": [SimpleNamespace(current=odd)]},
    )
    assert reading[:3] == (None, None, None)
    assert reading.now == HostHealth(max_mhz=3500.0, governor="powersave")
    now = kernel(
        cpu_freq=lambda: SimpleNamespace(current=2900.0, max=odd),
        sensors_temperatures=lambda: {"chip": [SimpleNamespace(current=c) for c in (odd, 41.0)]},
    ).now
    assert (now.mhz, now.max_mhz, now.temperature_c) == (None, None, 41.0)


def test_answer_of_another_shape_is_unavailable(kernel: Callable[..., HostReading]) -> None:
    names = ("cpu_times", "getloadavg", "cpu_freq", "sensors_temperatures")
    for shape in (None, (), "<unknown>", 7):
        reading = kernel(**dict.fromkeys(names, lambda shape=shape: shape))
        assert reading.now == HostHealth(governor="powersave")
        assert reading[:3] == (None, None, None)


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"<unknown>\n", b"\xff\xfe", b"two words", b"x" * 4096]
)
def test_governor_that_is_not_one_word_is_unavailable(raw: bytes, tmp_path: Path) -> None:
    (tmp_path / "scaling_governor").write_bytes(raw)
    assert read_host(None, tmp_path).now.governor is None


def test_governor_that_is_a_folder_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "scaling_governor").mkdir()
    assert read_host(None, tmp_path).now.governor is None


def test_child_that_vanishes_while_it_is_read_makes_ours_unavailable(
    kernel: Callable[..., HostReading],
) -> None:
    child = SimpleNamespace(cpu_times=raising(psutil.NoSuchProcess(WORKER)))
    process = psutil.Process()

    def parent(pid: int | None = None) -> Any:
        return SimpleNamespace(cpu_times=process.cpu_times, children=lambda recursive: [child])

    assert kernel(WORKER, Process=parent).ours_s is None


def test_interrupt_while_a_sensor_is_read_is_an_interrupt(
    kernel: Callable[..., HostReading],
) -> None:
    with pytest.raises(KeyboardInterrupt):
        kernel(cpu_freq=raising(KeyboardInterrupt()))


def test_host_shows_the_quota_and_what_its_group_has_counted(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu")
    (tmp_path / "cgroup").write_text("0::/\n")
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "cpu.stat").write_text(
        "usage_usec 9\nnr_periods 456\nnr_throttled 455\nthrottled_usec 22750000\n"
    )
    reading = read_host(None, tmp_path, ControlGroups(tmp_path, tmp_path / "cgroup"))
    assert reading.now.cpu_quota == 0.5
    assert reading.throttling == {tmp_path: Throttling(456, 455, 22.75)}


def test_machine_without_sensors_has_no_temperature(kernel: Callable[..., HostReading]) -> None:
    assert kernel(sensors_temperatures=dict).now.temperature_c is None


def test_time_of_a_worker_that_is_gone_is_not_known() -> None:
    worker = subprocess.Popen([sys.executable, "-c", ""])
    worker.wait()
    assert read_host(worker.pid).ours_s is None
    assert read_host(None).ours_s is not None


# The GPU


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Puts a GPU in reach that tells all; `changes` replace functions of the driver."""

    def violated(gpu: str, policy: int) -> SimpleNamespace:
        of = {pynvml.NVML_PERF_POLICY_POWER: 4_000, pynvml.NVML_PERF_POLICY_THERMAL: 500}
        return SimpleNamespace(referenceTime=1, violationTime=of[policy])

    def errors(gpu: str, kind: int, counter: int) -> int:
        wanted = (pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC)
        return 3 if (kind, counter) == wanted else 99

    clocks = {pynvml.NVML_CLOCK_SM: 1410, pynvml.NVML_CLOCK_MEM: 2619}
    pids = [SimpleNamespace(pid=pid) for pid in (WORKER, 17, 18)]
    told: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlDeviceGetHandleByPciBusId": {BUS_ID: "the GPU"}.__getitem__,
        "nvmlDeviceGetMigMode": silent,
        "nvmlDeviceGetClockInfo": lambda gpu, kind: clocks[kind],
        "nvmlDeviceGetMaxClockInfo": lambda gpu, kind: {pynvml.NVML_CLOCK_SM: 1980}[kind],
        "nvmlDeviceGetTemperatureV": lambda gpu, sensor: 54,
        "nvmlDeviceGetPowerUsage": lambda gpu: 312_400,
        "nvmlDeviceGetEnforcedPowerLimit": lambda gpu: 700_000,
        "nvmlDeviceGetCurrentClocksEventReasons": lambda gpu: 0,
        "nvmlDeviceGetViolationStatus": violated,
        "nvmlDeviceGetTotalEccErrors": errors,
        "nvmlDeviceGetComputeRunningProcesses_v3": lambda gpu: pids,
    }

    def install(**changes: Any) -> None:
        for name, function in {**told, **changes}.items():
            monkeypatch.setattr(pynvml, name, function)

    install()
    return install


def silent(*arguments: Any) -> Any:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


TOLD = GpuHealth(
    sm_mhz=1410,
    max_sm_mhz=1980,
    memory_mhz=2619,
    temperature_c=54,
    power_w=312.4,
    power_limit_w=700.0,
    throttle=(),
    idle=False,
    throttled_ns=4_500,
    ecc_errors=3,
    other_processes=2,
)


def test_gpu_is_found_by_its_bus_id_and_shows_all(driver: Callable[..., None]) -> None:
    assert read_gpu(BUS_ID, WORKER) == TOLD


@pytest.mark.parametrize(
    ("function", "fields"),
    [
        ("nvmlDeviceGetClockInfo", ["sm_mhz", "memory_mhz"]),
        ("nvmlDeviceGetMaxClockInfo", ["max_sm_mhz"]),
        ("nvmlDeviceGetPowerUsage", ["power_w"]),
        ("nvmlDeviceGetEnforcedPowerLimit", ["power_limit_w"]),
        ("nvmlDeviceGetViolationStatus", ["throttled_ns"]),
        ("nvmlDeviceGetTotalEccErrors", ["ecc_errors"]),
        ("nvmlDeviceGetComputeRunningProcesses_v3", ["other_processes"]),
    ],
)
def test_what_the_driver_does_not_tell_is_none(
    function: str, fields: list[str], driver: Callable[..., None]
) -> None:
    driver(**{function: silent})
    nothing: dict[str, Any] = dict.fromkeys(fields)
    assert read_gpu(BUS_ID, WORKER) == msgspec.structs.replace(TOLD, **nothing)


NUMBERS = {
    "nvmlDeviceGetClockInfo": ("sm_mhz", "memory_mhz"),
    "nvmlDeviceGetMaxClockInfo": ("max_sm_mhz",),
    "nvmlDeviceGetTemperatureV": ("temperature_c",),
    "nvmlDeviceGetPowerUsage": ("power_w",),
    "nvmlDeviceGetEnforcedPowerLimit": ("power_limit_w",),
    "nvmlDeviceGetCurrentClocksEventReasons": ("throttle", "idle"),
    "nvmlDeviceGetTotalEccErrors": ("ecc_errors",),
}
OLDER = {
    "nvmlDeviceGetTemperature": silent,
    "nvmlDeviceGetCurrentClocksThrottleReasons": silent,
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_whatever_the_driver_answers_is_a_figure_or_unavailable(
    odd: Any, driver: Callable[..., None]
) -> None:
    driver(
        **OLDER,
        **dict.fromkeys(NUMBERS, lambda *arguments: odd),
        nvmlDeviceGetViolationStatus=lambda *arguments: SimpleNamespace(violationTime=odd),
        nvmlDeviceGetComputeRunningProcesses_v3=lambda gpu: odd,
    )
    assert read_gpu(BUS_ID, WORKER) == GpuHealth()


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_whatever_the_driver_raises_is_unavailable(
    error: Exception, driver: Callable[..., None]
) -> None:
    others = ("nvmlDeviceGetViolationStatus", "nvmlDeviceGetComputeRunningProcesses_v3")
    driver(**dict.fromkeys([*OLDER, *NUMBERS, *others], raising(error)))
    assert read_gpu(BUS_ID, WORKER) == GpuHealth()
    driver(nvmlDeviceGetHandleByPciBusId=raising(error))
    assert read_gpu(BUS_ID, WORKER) == GpuHealth(unavailable=f"NVML: {error}")


def test_without_a_driver_or_of_a_mig_instance_only_the_reason_is_known(
    driver: Callable[..., None],
) -> None:
    missing = pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
    driver(nvmlInit=raising(missing))
    assert read_gpu(BUS_ID, WORKER) == GpuHealth(unavailable=REASONS["NVMLError_LibraryNotFound"])
    driver(nvmlInit=lambda: None, nvmlDeviceGetMigMode=lambda gpu: [1, 1])
    assert read_gpu(BUS_ID, WORKER) == GpuHealth(unavailable=MIG)


LACKS = {
    "WSL": ["nvmlDeviceGetPowerUsage", "nvmlDeviceGetEnforcedPowerLimit"],
    "a vGPU": ["nvmlDeviceGetPowerUsage", "nvmlDeviceGetClockInfo", "nvmlDeviceGetTotalEccErrors"],
    "a new Jetson": [*NUMBERS, *OLDER, "nvmlDeviceGetViolationStatus"],
}


@pytest.mark.parametrize("lacking", LACKS.values(), ids=LACKS)
@pytest.mark.parametrize(
    "code",
    [
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_GPU_IS_LOST,
    ],
)
def test_driver_that_tells_some_figures_leaves_out_the_others(
    code: int, lacking: list[str], driver: Callable[..., None]
) -> None:
    driver(**dict.fromkeys(lacking, raising(pynvml.NVMLError(code))))
    unknown = {field for name in lacking for field in NUMBERS.get(name, ("throttled_ns",))}
    expected = msgspec.structs.replace(TOLD, **dict.fromkeys(unknown))
    if "nvmlDeviceGetEnforcedPowerLimit" in lacking:
        expected = msgspec.structs.replace(expected, power_limit_w=None)
    assert read_gpu(BUS_ID, WORKER) == expected


@pytest.mark.parametrize("function", [*NUMBERS, *OLDER, "nvmlDeviceGetViolationStatus"])
def test_bindings_that_lack_a_function_do_not_end_the_run(
    function: str, driver: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(pynvml, function)
    assert read_gpu(BUS_ID, WORKER).unavailable is None


@pytest.mark.parametrize(
    ("function", "older", "answer", "field"),
    [
        ("nvmlDeviceGetTemperatureV", "nvmlDeviceGetTemperature", 48, {"temperature_c": 48}),
        (
            "nvmlDeviceGetCurrentClocksEventReasons",
            "nvmlDeviceGetCurrentClocksThrottleReasons",
            pynvml.nvmlClocksThrottleReasonSwPowerCap,
            {"throttle": ("power cap",), "idle": False},
        ),
    ],
)
def test_older_driver_is_asked_in_its_own_words(
    function: str, older: str, answer: int, field: dict[str, Any], driver: Callable[..., None]
) -> None:
    driver(**{function: silent, older: lambda *arguments: answer})
    assert read_gpu(BUS_ID, WORKER) == msgspec.structs.replace(TOLD, **field)
    driver(**{function: silent, older: silent})
    nothing: dict[str, Any] = dict.fromkeys(field)
    assert read_gpu(BUS_ID, WORKER) == msgspec.structs.replace(TOLD, **nothing)


@pytest.mark.parametrize(
    ("reasons", "names"),
    [
        (pynvml.nvmlClocksEventReasonGpuIdle, ()),
        (pynvml.nvmlClocksEventReasonApplicationsClocksSetting, ()),
        (pynvml.nvmlClocksEventReasonSwPowerCap, ("power cap",)),
        (pynvml.nvmlClocksEventReasonSwThermalSlowdown, ("thermal",)),
        (
            pynvml.nvmlClocksEventReasonHwThermalSlowdown | pynvml.nvmlClocksEventReasonHwSlowdown,
            ("thermal", "hardware slowdown"),
        ),
        (pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown, ("power brake",)),
        (0x7FFF, tuple(THROTTLES)),
    ],
)
def test_throttling_is_what_nobody_asked_for(
    reasons: int, names: tuple[str, ...], driver: Callable[..., None]
) -> None:
    driver(nvmlDeviceGetCurrentClocksEventReasons=lambda gpu: reasons)
    idle = bool(reasons & pynvml.nvmlClocksEventReasonGpuIdle)
    expected = msgspec.structs.replace(TOLD, throttle=names, idle=idle)
    assert read_gpu(BUS_ID, WORKER) == expected


def test_bits_are_those_of_the_bindings() -> None:
    of = {"idle": IDLE, **THROTTLES}
    assert of == {
        "idle": pynvml.nvmlClocksEventReasonGpuIdle,
        "power cap": pynvml.nvmlClocksEventReasonSwPowerCap,
        "thermal": pynvml.nvmlClocksEventReasonSwThermalSlowdown
        | pynvml.nvmlClocksEventReasonHwThermalSlowdown,
        "hardware slowdown": pynvml.nvmlClocksEventReasonHwSlowdown,
        "power brake": pynvml.nvmlClocksEventReasonHwPowerBrakeSlowdown,
    }


@pytest.mark.parametrize(
    ("pids", "worker", "others"),
    [
        ([WORKER], WORKER, 0),
        ([WORKER, 17], WORKER, 1),
        ([17], None, 1),
        ([], None, 0),
        ([17], WORKER, None),  # which of them is the worker?
        ([], WORKER, None),
    ],
)
def test_other_processes_are_those_beside_the_worker(
    pids: list[int], worker: int | None, others: int | None, driver: Callable[..., None]
) -> None:
    running = [SimpleNamespace(pid=pid) for pid in pids]
    driver(nvmlDeviceGetComputeRunningProcesses_v3=lambda gpu: running)
    assert read_gpu(BUS_ID, worker).other_processes == others


# In the end


def test_samples_are_kept_whole() -> None:
    told = HostHealth(0.01, 0.2, 1.5, 2900.0, 3500.0, "powersave", 61.5, 0.5, 0.99, 1.25)
    sample = HealthSample(12.5, Health(told, msgspec.structs.replace(TOLD, throttle=("thermal",))))
    line = msgspec.json.encode(sample)
    assert msgspec.json.decode(line, type=HealthSample) == sample


def test_sample_of_a_run_before_quotas_were_read_is_read() -> None:
    line = b'{"at_s": 2.0, "health": {"host": {"steal": 0.0, "load": 1.5}}}'
    host = msgspec.json.decode(line, type=HealthSample).health.host
    assert host == HostHealth(steal=0.0, load=1.5)


@pytest.fixture
def spinning() -> Iterator[subprocess.Popen[bytes]]:
    """A process that keeps a core busy."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    yield process
    process.kill()
    process.wait()


def test_this_machine_is_sampled(spinning: subprocess.Popen[bytes]) -> None:
    monitor = HealthMonitor()
    first = monitor.sample(spinning.pid, None)
    assert (first.host.steal, first.host.others, first.gpu) == (None, None, None)
    time.sleep(0.5)
    sample = monitor.sample(spinning.pid, None).host
    cores = psutil.cpu_count() or 1
    assert sample.others is not None and 0 <= sample.others < cores
    assert sample.steal is None or 0 <= sample.steal < 1
    assert sample.load is None or sample.load >= 0


def test_what_runs_beside_a_worker_is_seen_and_what_it_started_is_not(
    spinning: subprocess.Popen[bytes],
) -> None:
    """What spins is not of the idle worker; where the worker is this process, it started it."""
    beside, within = HealthMonitor(), HealthMonitor()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as idle:
        beside.sample(idle.pid, None)
        within.sample(None, None)
        time.sleep(1.0)
        others = beside.sample(idle.pid, None).host.others
        fewer = within.sample(None, None).host.others
        idle.kill()
    assert others is not None and fewer is not None
    assert others > fewer + 0.1
