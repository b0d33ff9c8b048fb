"""What a device must answer, all of it in one place."""

from typing import Protocol

from bench.matrix.support import DeviceFacts


class Clock(Protocol):
    """Marks moments on the device's own timeline."""

    def mark(self) -> None:
        """Note this moment. On an asynchronous device: enqueue the noting of it."""

    def read(self) -> list[int]:
        """Wait for the device, then give the marks made since the last read, in nanoseconds."""


class Device(Protocol):
    """One device, or the only one of its kind. Importing its module does not import torch."""

    repeats: int
    """Steps between two marks: more than one where marking disturbs what it marks."""
    activities: tuple[str, ...]
    """What torch.profiler can watch of it, as ProfilerActivity names it."""

    def facts(self) -> DeviceFacts:
        """Whether it can be measured, what it is, and what it supports."""

    def clock(self) -> Clock:
        """A clock whose differences are durations on this device."""

    def synchronize(self) -> None:
        """Wait until the device has done all it was given."""

    def reset_peak(self) -> None:
        """Begin a new reckoning of the peak of memory."""

    def peak_bytes(self) -> int | None:
        """The peak since, above what was held when it began; None where it cannot be told."""

    def joules(self) -> float | None:
        """What its counter of energy shows, which only grows; None where it has none to read."""

    def bus_id(self) -> str | None:
        """Where on the PCI bus it is; None where it is not on one."""

    def enter(self, threads: int) -> list[int]:
        """Make this process work on the device with so many threads.

        The cores it was bound to, as many as there are threads; [] where that is not done.
        """
