"""Apple's GPU. Its events have hung and run backwards (pytorch issues 162872 and 193578), so its
clock waits for the device and asks the wall, over so many steps that the waiting is small."""

from bench.devices.cpu import WallClock
from bench.matrix.support import DeviceFacts


class WaitingClock(WallClock):
    """The wall clock, once the device has done all it was given."""

    def mark(self) -> None:
        import torch

        torch.mps.synchronize()
        super().mark()


class Mps:
    repeats = 100
    activities: tuple[str, ...] = ("CPU",)  # torch.profiler sees no kernels of it

    def facts(self) -> DeviceFacts:
        import torch

        if not torch.backends.mps.is_available():
            return DeviceFacts(unavailable=f"torch {torch.__version__} sees no mps device here")
        return DeviceFacts(
            name="Apple GPU",
            memory_bytes=torch.mps.recommended_max_memory(),
            refused_dtypes={
                "float64": "torch has no float64 on mps",
                "tf32": "tf32 is how CUDA's matrix units multiply: mps has no such",
            },
        )

    def clock(self) -> WaitingClock:
        return WaitingClock()

    def synchronize(self) -> None:
        import torch

        torch.mps.synchronize()

    def reset_peak(self) -> None:
        pass

    def peak_bytes(self) -> None:
        return None  # torch keeps no peak for mps

    def joules(self) -> None:
        return None  # the counter is root's alone

    def bus_id(self) -> None:
        return None

    def enter(self, threads: int) -> list[int]:
        return []
