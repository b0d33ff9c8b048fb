"""The CPU: synchronous, so the wall clock between two phases is the device's clock."""

import time

import psutil


class WallClock:
    """`time.perf_counter_ns`, which on the CPU needs no waiting."""

    def __init__(self) -> None:
        self._marks: list[int] = []

    def mark(self) -> None:
        self._marks.append(time.perf_counter_ns())

    def read(self) -> list[int]:
        marks, self._marks = self._marks, []
        return marks


class Cpu:
    def unavailable_reason(self) -> None:
        return None

    def clock(self) -> WallClock:
        return WallClock()

    def synchronize(self) -> None:
        pass

    def pin(self, threads: int) -> list[int]:
        """The highest-numbered cores: the kernel serves most interrupts on the lowest.

        As many as there are threads: two threads on one core take turns, many times slower.
        """
        process = psutil.Process()
        if not hasattr(process, "cpu_affinity"):
            return []
        cores = sorted(process.cpu_affinity())[-threads:]
        process.cpu_affinity(cores)
        return cores
