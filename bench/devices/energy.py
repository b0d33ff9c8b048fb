"""Energy counters: what the CPU packages and a GPU have used."""

from pathlib import Path
from typing import Any, NamedTuple

from bench.devices.readings import count_in, figure, reading

POWERCAP = Path("/sys/class/powercap")


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
    """Joules that the GPU at a PCI bus id used since its driver was loaded; None if unavailable."""

    def used_mj() -> Any:
        import pynvml

        pynvml.nvmlInit()
        gpu = pynvml.nvmlDeviceGetHandleByPciBusId(bus_id)
        return pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu)

    used = figure(float, used_mj)
    return None if used is None else used / 1e3


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
