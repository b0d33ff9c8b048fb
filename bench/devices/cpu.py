"""The CPU: synchronous, so the wall clock between two phases is the device's clock."""

import platform
import time

from .base import Device
from .compilers import cpp_refusal
from .energy import RaplCounter
from .facts import DeviceFacts
from .limits import available_memory
from .readings import reading


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
