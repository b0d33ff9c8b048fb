"""A CUDA device: it works through a queue, and events in that queue are its clock."""

import itertools
import os
import shutil
from typing import Any

from bench.devices.base import Device
from bench.devices.energy import nvml_joules
from bench.matrix.support import DeviceFacts

EVENTS = 256
"""Made beforehand: making one inside a block would cost the host as much as a launch."""


class EventClock:
    """`torch.cuda.Event`, whose resolution is about half a microsecond."""

    def __init__(self) -> None:
        self._events: list[Any] = []
        self._used = 0
        self._make(EVENTS)

    def mark(self) -> None:
        if self._used == len(self._events):
            self._make(EVENTS)
        self._events[self._used].record()
        self._used += 1

    def read(self) -> list[int]:
        used, self._used = self._events[: self._used], 0
        if not used:
            return []
        used[-1].synchronize()
        # Pair by pair: the float of milliseconds since the first would lose nanoseconds.
        spans = (1e6 * before.elapsed_time(after) for before, after in itertools.pairwise(used))
        return [0, *(round(moment) for moment in itertools.accumulate(spans))]

    def _make(self, count: int) -> None:
        import torch

        make: Any = torch.cuda.Event  # untyped
        self._events += [make(enable_timing=True) for _ in range(count)]


class Cuda(Device):
    activities = ("CPU", "CUDA")
    memory_type = 1

    def __init__(self, index: int = 0) -> None:
        self.index = index
        self._held = 0

    def facts(self) -> DeviceFacts:
        import torch

        if not torch.cuda.is_available():
            return DeviceFacts(unavailable=f"torch {torch.__version__} sees no cuda device here")
        try:
            properties = torch.cuda.get_device_properties(self.index)
        except RuntimeError as error:  # its first use: broken, or another process has it alone
            return DeviceFacts(unavailable=f"CUDA does not start: {str(error).splitlines()[0]}")
        refused = {}
        if properties.major < 8 and torch.version.hip is None:
            refused = {
                "tf32": f"{properties.name} has no matrix units for tf32",
                "bfloat16": f"{properties.name} only emulates bfloat16",
                "amp-bfloat16": f"{properties.name} only emulates bfloat16",
            }
        return DeviceFacts(
            name=properties.name,
            count=torch.cuda.device_count(),
            memory_bytes=properties.total_memory,
            refused_dtypes=refused,
            compile_refusal=_compile_refusal(),
        )

    def clock(self) -> EventClock:
        return EventClock()

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize(self.index)

    def reset_peak(self) -> None:
        import torch

        torch.cuda.reset_peak_memory_stats(self.index)
        self._held = torch.cuda.memory_allocated(self.index)

    def peak_bytes(self) -> int:
        import torch

        return torch.cuda.max_memory_allocated(self.index) - self._held

    def joules(self) -> float | None:
        where = self.bus_id()
        return None if where is None else nvml_joules(where)

    def bus_id(self) -> str | None:
        import torch

        properties: Any = torch.cuda.get_device_properties(self.index)  # whose stub lacks these
        if torch.version.hip is not None:
            return None  # whose tools are others
        return (
            f"{properties.pci_domain_id:08x}:{properties.pci_bus_id:02x}:"
            f"{properties.pci_device_id:02x}.0"
        )

    def enter(self, threads: int) -> list[int]:
        """Bound to no cores: autograd has a thread of its own for the device."""
        import torch

        torch.cuda.set_device(self.index)
        return []


def _compile_refusal() -> str | None:
    from torch.utils._triton import has_triton

    if not has_triton():
        return "torch.compile needs Triton on CUDA, and it is not installed"
    if not any(shutil.which(name) for name in (os.environ.get("CC", "cc"), "gcc", "clang")):
        return "Triton needs a C compiler: neither $CC, gcc nor clang is on the PATH"
    return None
