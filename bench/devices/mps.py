"""Apple's GPU. Its events have hung and run backwards (pytorch issues 162872 and 193578), so its
clock is the wall clock after a wait for the device, over so many steps that the wait is small."""

from bench.devices.base import Device
from bench.devices.cpu import WallClock
from bench.matrix.support import DeviceFacts


class WaitingClock(WallClock):
    """The wall clock, once the device is idle."""

    def mark(self) -> None:
        import torch

        torch.mps.synchronize()
        super().mark()


class Mps(Device):
    """The profiler shows none of its kernels, torch keeps no peak of its memory, and its energy
    counter is root's alone."""

    repeats = 100

    def facts(self) -> DeviceFacts:
        import torch

        if not torch.backends.mps.is_available():
            return DeviceFacts(unavailable=f"torch {torch.__version__} sees no mps device here")
        return DeviceFacts(
            name="Apple GPU",
            memory_bytes=torch.mps.recommended_max_memory(),
            refused_dtypes={
                "float64": "torch has no float64 on mps",
                "tf32": "tf32 is a mode of CUDA's matrix units: mps has none",
            },
        )

    def clock(self) -> WaitingClock:
        return WaitingClock()

    def synchronize(self) -> None:
        import torch

        torch.mps.synchronize()
