"""Devices that torch drives through a module of one shape, such as torch.cuda and torch.xpu."""

import hashlib
from typing import Any

from .base import Device, Event
from .event_clock import EventClock


class Accelerator(Device):
    """It works through a queue, events in that queue are its clock, and torch counts its memory."""

    indexed = True
    streams = True
    kernel_categories = ("kernel", "gpu_memcpy", "gpu_memset")  # kineto's own, whoever's kernels

    def __init__(self, index: int = 0) -> None:
        super().__init__(index)
        self._held = 0

    @classmethod
    def module(cls) -> Any:
        """torch's, by the name of the kind; untyped, as much of it is there."""
        import torch

        return getattr(torch, cls.kind)

    @classmethod
    def count(cls) -> int:
        return int(cls.module().device_count()) if cls.module().is_available() else 0

    def properties(self) -> Any:
        return self.module().get_device_properties(self.index)

    def identity(self) -> str:
        """A hash of its UUID, else of its place on the PCI bus; empty where torch tells neither."""
        properties = self.properties()
        place = [
            getattr(properties, f"pci_{part}_id", None) for part in ("domain", "bus", "device")
        ]
        known = getattr(properties, "uuid", None) or (None if None in place else place)
        if known is None:
            return ""
        return hashlib.sha256(f"sumnet-bench {self.kind} {known}".encode()).hexdigest()[:12]

    def clock(self) -> EventClock:
        return EventClock(self.event, self.stream())

    def stream(self) -> object:
        """The one that its work goes to."""
        return self.module().current_stream(self.index)

    def event(self) -> Event:
        """A new event that keeps time."""
        made: Event = self.module().Event(enable_timing=True)
        return made

    def synchronize(self) -> None:
        self.module().synchronize(self.index)

    def reset_peak(self) -> None:
        self.module().reset_peak_memory_stats(self.index)
        self._held = self.module().memory_allocated(self.index)

    def peak_bytes(self) -> int | None:
        return int(self.module().max_memory_allocated(self.index)) - self._held

    def enter(self, threads: int) -> list[int]:
        """Bound to no cores: autograd has a thread of its own for the device."""
        self.module().set_device(self.index)
        return []
