"""Energy counters: packages summed, wraps undone, and None where nothing is told."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pynvml
import pytest

from bench.devices.base import Device
from bench.devices.cpu import Cpu
from bench.devices.energy import (
    CHECKED_S,
    LEAD_S,
    NO_POWER,
    CounterCheck,
    RaplCounter,
    nvml_joules,
    nvml_watts,
)
from bench.devices.nvml import Unavailable

RANGE_UJ = 262_143_328_850


def zone(root: Path, name: str, energy_uj: int, called: str = "package-0") -> None:
    """A zone as the kernel shows it, made or changed."""
    (root / name).mkdir(exist_ok=True)
    (root / name / "name").write_text(f"{called}\n")
    (root / name / "energy_uj").write_text(f"{energy_uj}\n")
    (root / name / "max_energy_range_uj").write_text(f"{RANGE_UJ}\n")


def test_packages_are_summed_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 3_000_000)
    zone(tmp_path, "intel-rapl:0:0", 1_000_000, "core")
    zone(tmp_path, "intel-rapl:1", 4_500_000, "package-1")
    zone(tmp_path, "intel-rapl:2", 9_000_000, "psys")
    zone(tmp_path, "intel-rapl-mmio:0", 3_000_000)
    (tmp_path / "intel-rapl").mkdir()
    counter = RaplCounter(tmp_path)
    for name, energy_uj, called in (
        ("intel-rapl:0", 4_000_000, "package-0"),
        ("intel-rapl:0:0", 2_000_000, "core"),
        ("intel-rapl:1", 5_000_000, "package-1"),
        ("intel-rapl:2", 11_000_000, "psys"),
    ):
        zone(tmp_path, name, energy_uj, called)
    assert counter.read() == 1.5


def test_counter_tells_what_was_used_since_it_was_made(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 3_000_000)
    zone(tmp_path, "intel-rapl:1", 8_000_000, "package-1")
    counter = RaplCounter(tmp_path)
    assert counter.read() == 0
    zone(tmp_path, "intel-rapl:0", 5_000_000)
    assert counter.read() == 2.0
    zone(tmp_path, "intel-rapl:1", 8_250_000, "package-1")
    assert counter.read() == 2.25


def test_counter_that_starts_again_goes_on(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", RANGE_UJ - 1_000_000)
    counter = RaplCounter(tmp_path)
    zone(tmp_path, "intel-rapl:0", 500_000)
    assert counter.read() == 1.5
    zone(tmp_path, "intel-rapl:0", 400_000)
    assert counter.read() == pytest.approx(1.4 + RANGE_UJ / 1e6)


def test_where_there_is_no_counter_nothing_is_told(tmp_path: Path) -> None:
    for root in (tmp_path, tmp_path / "missing"):
        assert RaplCounter(root).read() is None


def test_counters_that_only_root_may_read_are_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = Path.read_text

    def as_a_user(path: Path, *arguments: Any) -> str:
        if path.name == "energy_uj":
            raise PermissionError(path)
        return read(path, *arguments)

    zone(tmp_path, "intel-rapl:0", 3_000_000)
    counter = RaplCounter(tmp_path)
    monkeypatch.setattr(Path, "read_text", as_a_user)
    assert counter.read() is None
    assert RaplCounter(tmp_path).read() is None


def test_counter_that_could_not_be_read_once_loses_nothing(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 3_000_000)
    counter = RaplCounter(tmp_path)
    (tmp_path / "intel-rapl:0" / "energy_uj").unlink()
    assert counter.read() is None
    zone(tmp_path, "intel-rapl:0", 4_000_000)
    assert counter.read() == 1.0


@pytest.mark.parametrize(
    "raw", [b"", b"<unknown>", b"\xff\xfe", b"-5", b"nan", b"12.5", b"9" * 400], ids=repr
)
@pytest.mark.parametrize("name", ["energy_uj", "max_energy_range_uj"])
def test_counter_that_shows_no_count_is_unavailable(name: str, raw: bytes, tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 3_000_000)
    counter = RaplCounter(tmp_path)
    (tmp_path / "intel-rapl:0" / name).write_bytes(raw)
    assert counter.read() is None
    assert RaplCounter(tmp_path).read() is None
    zone(tmp_path, "intel-rapl:0", 4_000_000)
    assert counter.read() == 1.0


def test_counter_without_a_range_is_unavailable(tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 0)
    (tmp_path / "intel-rapl:0" / "max_energy_range_uj").write_text("0\n")
    assert RaplCounter(tmp_path).read() is None


@pytest.mark.parametrize("name", ["name", "energy_uj", "max_energy_range_uj"])
def test_counter_that_is_a_folder_is_unavailable(name: str, tmp_path: Path) -> None:
    zone(tmp_path, "intel-rapl:0", 3_000_000)
    (tmp_path / "intel-rapl:0" / name).unlink()
    (tmp_path / "intel-rapl:0" / name).mkdir()
    assert RaplCounter(tmp_path).read() is None


@pytest.mark.parametrize("odd", [None, "", "1500", b"1500", -1, float("nan"), 10**30], ids=repr)
def test_energy_of_a_gpu_that_is_no_number_is_unavailable(
    odd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByPciBusId", lambda bus_id: bus_id)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda gpu: odd)
    assert nvml_joules("0000:5E:00.0") is None


def test_energy_of_a_gpu_is_found_by_its_bus_id(monkeypatch: pytest.MonkeyPatch) -> None:
    energy_mj = {"0000:3B:00.0": 1500, "0000:5E:00.0": 2500}
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByPciBusId", lambda bus_id: bus_id)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", energy_mj.__getitem__)
    assert nvml_joules("0000:5E:00.0") == 2.5


def test_energy_of_a_gpu_is_none_where_the_driver_does_not_count_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pynvml, "nvmlInit", lambda: None)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetHandleByPciBusId", lambda bus_id: bus_id)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", not_supported)
    monkeypatch.setattr(pynvml, "nvmlDeviceGetPowerUsage", lambda gpu: 312_400)
    assert nvml_joules("0000:5E:00.0") is None
    assert nvml_watts("0000:5E:00.0") == 312.4
    monkeypatch.setattr(pynvml, "nvmlInit", not_supported)
    for question in (nvml_joules, nvml_watts):
        with pytest.raises(Unavailable, match="Not Supported"):
            question("0000:5E:00.0")


def not_supported(*arguments: Any) -> None:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


# The counter against power


class Meters:
    """A GPU that takes so much power, and whose counter and power readings may both be wrong."""

    def __init__(self, counted: float | None = 1.0, shown: float | None = 1.0) -> None:
        """What counter and power readings show, as a share of the truth; None for nothing."""
        self.now_s = 50.0
        self.used_j = 7_000.0
        self.load_w = 100.0
        self.trained_s: list[float] = []
        self._counted = counted
        self._shown = shown

    def bus_id(self) -> str | None:
        return "0000:3B:00.0"

    def joules(self) -> float | None:
        return None if self._counted is None else self.used_j * self._counted

    def watts(self, bus_id: str) -> float | None:
        assert bus_id == self.bus_id()
        return None if self._shown is None else self.load_w * self._shown

    def train(self, seconds: float, between: Callable[[], object]) -> None:
        """In stretches of a tenth of a second, of which some take more power than others."""
        self.trained_s.append(seconds)
        between()
        for stretch in range(round(10 * seconds)):
            self.load_w = 300.0 + 20 * (stretch % 3)
            self.now_s += 0.1
            self.used_j += 0.1 * self.load_w
            between()

    def check(self) -> CounterCheck:
        return CounterCheck(cast(Device, self), self.watts, lambda: self.now_s)


@pytest.mark.parametrize("share", [1.0, 0.7, 1.4])
def test_counter_that_agrees_with_power_is_checked_once(share: float) -> None:
    gpu = Meters(counted=share)
    check = gpu.check()
    assert check.unchecked(gpu.train) is None
    assert check.unchecked(gpu.train) is None
    assert gpu.trained_s == [LEAD_S, CHECKED_S]


@pytest.mark.parametrize(
    ("counted", "shown", "figures"),
    [(0.5, 1.0, "319 J, .* 637 J"), (2.0, 1.0, "1276 J, .* 637 J"), (1.0, 0.5, "638 J, .* 319 J")],
)
def test_counter_that_power_contradicts_is_refused_with_both_figures(
    counted: float, shown: float, figures: str
) -> None:
    gpu = Meters(counted, shown)
    check = gpu.check()
    for _ in range(2):
        with pytest.raises(Unavailable, match=figures):
            check.unchecked(gpu.train)
    assert gpu.trained_s == [LEAD_S, CHECKED_S]


@pytest.mark.parametrize("shown", [None, 0.0])
def test_counter_of_a_gpu_without_power_is_unchecked_and_says_so(shown: float | None) -> None:
    gpu = Meters(shown=shown)
    assert gpu.check().unchecked(gpu.train) == NO_POWER


def test_power_before_the_lead_is_not_held_against_the_counter() -> None:
    """A mean of the last second still has the idle GPU in it for a second."""
    gpu = Meters()

    def lagging(bus_id: str) -> float:
        return 0.1 * gpu.load_w if gpu.now_s - 50.0 < LEAD_S else gpu.load_w

    check = CounterCheck(cast(Device, gpu), lagging, lambda: gpu.now_s)
    assert check.unchecked(gpu.train) is None


def test_nothing_is_trained_where_there_is_no_counter_to_check() -> None:
    gpu = Meters(counted=None)
    assert gpu.check().unchecked(gpu.train) is None
    assert CounterCheck(Cpu()).unchecked(gpu.train) is None
    assert gpu.trained_s == []


def test_this_machine_answers_or_says_that_it_does_not() -> None:
    used = RaplCounter().read()
    assert used is None or used >= 0
