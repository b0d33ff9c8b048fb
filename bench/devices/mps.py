"""Apple's GPU. Its events have hung and run backwards (pytorch issues 162872 and 193578), so its
clock is the wall clock after a wait for the device, over so many steps that the wait is small."""

from .base import Device
from .cpu import WallClock
from .facts import DeviceFacts


class WaitingClock(WallClock):
    """The wall clock, once the device is idle."""

    def mark(self) -> None:
        import torch

        torch.mps.synchronize()
        super().mark()


class Mps(Device):
    """The profiler shows none of its kernels, torch keeps no peak of its memory, and its energy
    counter is root's alone."""

    kind = "mps"
    repeats = 100
    # For Adagrad torch accepts fused=True and has no kernel.
    fused = frozenset({"SGD", "Adam", "AdamW"})

    @classmethod
    def count(cls) -> int:
        import torch

        return int(torch.backends.mps.is_available())

    def facts(self) -> DeviceFacts:
        import torch

        return DeviceFacts(
            name="Apple GPU",
            memory_bytes=torch.mps.recommended_max_memory(),
            refused_dtypes={"float64": "torch has no float64 on mps"},
        )

    def clock(self) -> WaitingClock:
        return WaitingClock()

    def synchronize(self) -> None:
        import torch

        torch.mps.synchronize()
