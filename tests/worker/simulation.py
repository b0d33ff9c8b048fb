"""A simulated asynchronous device: the host queues work and runs ahead; the device does it later.

Both timelines are plain integers, so what a phase costs the host and the device is known exactly,
and a stopwatch that mistakes one for the other is caught.
"""

from types import SimpleNamespace
from typing import Any, NamedTuple


class Costs(NamedTuple):
    """What launching one phase's work costs the host, and doing it costs the device; ns."""

    host: int
    device: int


class SimulatedDevice:
    """A device clock (`mark`, `read`) and a host clock (`host_clock`) over the same work."""

    def __init__(self, latency: int = 0, enqueue: int = 0) -> None:
        """`latency` lies between a launch and its start on an idle device; `enqueue` is what
        putting a mark into the queue costs the host."""
        self.latency = latency
        self.enqueue = enqueue
        self.host = 1_000
        """The host's present."""
        self.free = 0
        """When the device will have done all it was given."""
        self.waits = 0
        self.lead = 0
        """By how much the host was ahead of the device at most."""
        self._marks: list[int] = []

    def launch(self, costs: Costs) -> None:
        self.host += costs.host
        self.free = max(self.free, self.host + self.latency) + costs.device
        self.lead = max(self.lead, self.free - self.host)

    def mark(self) -> None:
        """An event in the queue: it notes when the device reaches it."""
        self.host += self.enqueue
        self._marks.append(max(self.free, self.host + self.latency))

    def synchronize(self) -> None:
        self.host = max(self.host, self.free)
        self.waits += 1

    def read(self) -> list[int]:
        self.synchronize()
        marks, self._marks = self._marks, []
        return marks

    def host_clock(self) -> "HostClock":
        return HostClock(self)

    def waiting_clock(self) -> "WaitingClock":
        return WaitingClock(self)


class HostClock:
    """A clock that asks the host, which knows only when it launched what."""

    def __init__(self, device: SimulatedDevice) -> None:
        self._device = device
        self._marks: list[int] = []

    def mark(self) -> None:
        self._marks.append(self._device.host)

    def read(self) -> list[int]:
        marks, self._marks = self._marks, []
        return marks


class WaitingClock(HostClock):
    """A clock that asks the host, once the device has done all it was given."""

    def mark(self) -> None:
        self._device.synchronize()
        super().mark()


def simulated_loop(device: SimulatedDevice, breaks_off: bool = False, /, **phases: Costs) -> Any:
    """A loop whose phases launch their work; it fails where they come in another order.

    A step may be left unfinished, and the next one begun, where it `breaks_off`.
    """
    order: list[str] = []

    def forward(_: object = None) -> str:
        assert breaks_off or order in ([], ["forward", "backward", "step"])
        order[:] = ["forward"]
        device.launch(phases["forward"])
        return "a loss"

    def backward(loss: str) -> None:
        assert order == ["forward"]
        assert loss == "a loss"
        order.append("backward")
        device.launch(phases["backward"])

    def step(_: object = None) -> None:
        assert order == ["forward", "backward"]
        order.append("step")
        device.launch(phases["step"])

    def train_step() -> None:
        backward(forward())
        step()

    return SimpleNamespace(
        model=SimpleNamespace(parameters=list),  # it has none
        optimizer=SimpleNamespace(),
        phases={"forward": forward, "backward": backward, "step": step},
        backward=lambda: backward(forward()),
        train_step=train_step,
    )
