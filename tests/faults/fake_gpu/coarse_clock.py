"""A clock that does not tell phases apart, and a CPU that has it."""

from bench.devices.cpu import Cpu, WallClock


class CoarseClock(WallClock):
    """However much is done between two marks, it says the same."""

    def read(self) -> list[int]:
        return [1000 * place for place, _ in enumerate(super().read())]


class CoarseCpu(Cpu):
    repeats = 3

    def clock(self) -> WallClock:
        return CoarseClock()
