"""What a device must answer, all of it in one place."""

from typing import Protocol


class Clock(Protocol):
    """Marks moments on the device's own timeline without waiting for it."""

    def mark(self) -> None:
        """Note this moment. On an asynchronous device: enqueue the noting of it."""

    def read(self) -> list[int]:
        """Wait for the device, then give the marks made since the last read, in nanoseconds."""


class Device(Protocol):
    """One kind of device. Importing its module does not import torch."""

    def unavailable_reason(self) -> str | None:
        """Why this kind cannot be measured here, or None where it can."""

    def clock(self) -> Clock:
        """A clock whose differences are durations on this device."""

    def synchronize(self) -> None:
        """Wait until the device has done all it was given."""

    def pin(self, threads: int) -> list[int]:
        """Bind this process to as many cores as `threads`; which, or [] where it is not done."""
