"""The CPU: synchronous, so the wall clock between two phases is the device's clock."""

import platform
import re
import time
from pathlib import Path

from .base import Device
from .compilers import cpp_refusal
from .energy import RaplCounter
from .facts import DeviceFacts
from .limits import available_memory
from .readings import figure, reading

STATUS, CLEAR_REFS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class WallClock:
    """`time.perf_counter_ns`, which on the CPU needs no waiting."""

    def __init__(self) -> None:
        self._marks: list[int] = []

    def mark(self) -> None:
        self._marks.append(time.perf_counter_ns())

    def read(self) -> list[int]:
        marks, self._marks = self._marks, []
        return marks


class Cpu(Device):
    kind = "cpu"
    asynchronous = False
    pinned = True
    fused = frozenset({"SGD", "Adam", "AdamW", "Adagrad"})
    memory_type = 0

    def __init__(self, index: int = 0) -> None:
        super().__init__(index)
        self._held: int | None = None
        self._rapl = RaplCounter()

    @classmethod
    def count(cls) -> int:
        return 1

    def facts(self) -> DeviceFacts:
        return DeviceFacts(
            name=platform.machine(),
            memory_bytes=available_memory(),
            compile_refusal=cpp_refusal(),
        )

    def clock(self) -> WallClock:
        return WallClock()

    def synchronize(self) -> None:
        pass

    def warm_up(self) -> None:
        """Nothing: its libraries keep nothing for streams, and every worker has used them."""

    def reset_peak(self) -> None:
        self._held = figure(int, _new_peak)

    def peak_bytes(self) -> int | None:
        peak = None if self._held is None else figure(int, _peak_resident)
        return None if peak is None or self._held is None else max(peak - self._held, 0)

    def joules(self) -> float | None:
        return self._rapl.read()

    def enter(self, threads: int) -> list[int]:
        """Bound to the highest-numbered cores: the kernel serves most interrupts on the lowest.

        As many as there are threads: two threads on one core take turns, many times slower.
        """
        return reading(_bind, threads) or []


def _bind(threads: int) -> list[int]:
    import psutil

    process = psutil.Process()
    cores = sorted(process.cpu_affinity())[-threads:]
    process.cpu_affinity(cores)
    return cores


def _new_peak() -> int | None:
    """The peak, which the present becomes; None where the kernel keeps none."""
    if not CLEAR_REFS.exists():
        return None
    CLEAR_REFS.write_text("5")  # proc(5)
    return _peak_resident()


def _peak_resident() -> int | None:
    """Bytes, from a line such as `VmHWM:  1234 kB`; None where the kernel keeps no such line."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None
