"""Energy counters: what the CPU packages and a GPU have used."""

import itertools
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .base import Device
from .nvml import Unavailable, gpu_at
from .readings import count_in, figure, reading

POWERCAP = Path("/sys/class/powercap")
LEAD_S = 1.0
"""Of training before power is read, which is a mean of as long a past: see `nvml_watts`."""
CHECKED_S = 2.0
"""Twenty steps of the counter, which moves every tenth of a second or more often."""
MOST_APART = 1.5
"""How many times more one may show than the other. A counter has been seen to show half of what
the power readings did (zeus issue 181)."""
NO_POWER = "the GPU shows no power to hold its energy counter against"

Train = Callable[[float, Callable[[], object]], object]
"""Trains for so many seconds, and calls the function before, after and every now and then."""


class Zone(NamedTuple):
    """The counter of one CPU package, microjoules."""

    energy: int
    range: int
    """Past this it starts again from 0."""


class RaplCounter:
    """Joules that the CPU packages used since it was made.

    Read it more often than a package uses up its counter's range: in some 20 minutes at 200 W.
    """

    def __init__(self, root: Path = POWERCAP) -> None:
        self._root = root
        self._zones = _packages(root)
        self._used = 0

    def read(self) -> float | None:
        """None where there is no counter, or none that may be read: many kernels want root."""
        zones = _packages(self._root)
        if not zones or zones.keys() != self._zones.keys():
            return None
        for name, zone in zones.items():
            self._used += (zone.energy - self._zones[name].energy) % zone.range
        self._zones = zones
        return self._used / 1e6


def nvml_joules(bus_id: str) -> float | None:
    """Joules that the GPU at a PCI bus id used since its driver was loaded; None if not counted.

    Raises Unavailable where NVML tells nothing of it.
    """
    return _thousandth("nvmlDeviceGetTotalEnergyConsumption", bus_id)


def nvml_watts(bus_id: str) -> float | None:
    """Watts that the GPU at a PCI bus id takes; None where they are not measured.

    The mean of the last second on Ampere and newer, but GA100 (nvml.h, nvmlDeviceGetPowerUsage).
    Raises Unavailable where NVML tells nothing of it.
    """
    return _thousandth("nvmlDeviceGetPowerUsage", bus_id)


class CounterCheck:
    """Holds the energy counter of a device against the power it shows, once."""

    def __init__(
        self,
        device: Device,
        watts: Callable[[str], float | None] = nvml_watts,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._device = device
        self._watts = watts
        self._clock = clock
        self._done = False
        self._unchecked: str | None = None
        self._wrong: Unavailable | None = None

    def unchecked(self, train: Train) -> str | None:
        """Why the counter was not checked; None where it was, or there is none of a GPU.

        Raises Unavailable where the two contradict each other, and where NVML tells nothing. The
        first call trains for some seconds.
        """
        if not self._done:
            try:
                self._unchecked = self._check(train)
            except Unavailable as wrong:
                self._wrong = wrong
            self._done = True
        if self._wrong is not None:
            raise self._wrong
        return self._unchecked

    def _check(self, train: Train) -> str | None:
        bus_id = self._device.bus_id()
        if bus_id is None or self._device.joules() is None:
            return None
        readings: list[tuple[float, float | None]] = []
        train(LEAD_S, lambda: None)
        before = self._device.joules()
        train(CHECKED_S, lambda: readings.append((self._clock(), self._watts(bus_id))))
        after = self._device.joules()
        known = [(at, watts) for at, watts in readings if watts]
        if before is None or after is None or len(known) < len(readings):
            return NO_POWER
        counted = after - before
        shown = sum(
            (now - then) * (watts + earlier) / 2
            for (then, earlier), (now, watts) in itertools.pairwise(known)
        )
        if counted * MOST_APART < shown or shown * MOST_APART < counted:
            raise Unavailable(
                f"in {known[-1][0] - known[0][0]:.1f} s of training the GPU's energy counter rose "
                f"by {counted:.0f} J, and its power readings add up to {shown:.0f} J: one of them "
                "is wrong"
            )
        return None


def _thousandth(question: str, bus_id: str) -> float | None:
    """What one of NVML's functions answers in thousandths of a unit, in units."""
    import pynvml

    gpu = gpu_at(bus_id)
    answer = figure(float, lambda: getattr(pynvml, question)(gpu))
    return None if answer is None else answer / 1e3


def _packages(root: Path) -> dict[str, Zone]:
    """The packages by the names of their zones; {} unless all of them can be read."""
    return reading(_zones, root) or {}


def _zones(root: Path) -> dict[str, Zone]:
    zones = {}
    for zone in root.glob("intel-rapl:*"):
        part = zone.name.count(":") > 1  # of a package, and counted there
        # A zone of the whole platform stands beside the packages and counts them again.
        if not part and (zone / "name").read_text().startswith("package"):
            energy, most = count_in(zone / "energy_uj"), count_in(zone / "max_energy_range_uj")
            if energy is None or not most:
                return {}
            zones[zone.name] = Zone(energy, most)
    return zones
