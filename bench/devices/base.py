"""What a kind of device defines, and what holds where it does not."""

from abc import ABC, abstractmethod
from typing import Protocol

from bench.matrix.support import DeviceFacts


class Clock(Protocol):
    """Marks moments on the device's own timeline."""

    def mark(self) -> None:
        """Note this moment. On an asynchronous device: enqueue the noting of it."""

    def read(self) -> list[int]:
        """Wait for the device, then give the marks made since the last read, in nanoseconds."""


class Device(ABC):
    """One device, or the only one of its kind. Importing its module does not import torch."""

    repeats = 1
    """Steps between two marks: more than one where marking disturbs what it marks."""
    activities: tuple[str, ...] = ("CPU",)
    """What torch.profiler can watch of it, as ProfilerActivity names it."""
    memory_type: int | None = None
    """Its number in the profiler's records of memory; None where it has no records there."""

    @property
    def shows_kernels(self) -> bool:
        """Whether torch.profiler watches more of it than the host."""
        return self.activities != ("CPU",)

    @abstractmethod
    def facts(self) -> DeviceFacts:
        """Whether it can be measured, what it is, and what it supports."""

    @abstractmethod
    def clock(self) -> Clock:
        """A clock whose differences are durations on this device."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device is idle."""

    def reset_peak(self) -> None:
        """Measure the peak of memory from now on."""
        return

    def peak_bytes(self) -> int | None:
        """The peak since, above what was held when it began; None where it is unavailable."""
        return None

    def joules(self) -> float | None:
        """What its energy counter shows, which only grows; None where it is unavailable."""
        return None

    def bus_id(self) -> str | None:
        """Where on the PCI bus it is; None where it is not on one."""
        return None

    def enter(self, threads: int) -> list[int]:
        """Make this process work on the device with so many threads.

        The cores it was bound to, as many as there are threads; [] where that is not done.
        """
        return []
