"""What a kind of device defines, and what holds where it does not."""

from abc import ABC, abstractmethod
from typing import ClassVar, Protocol

from .facts import DeviceFacts


class Clock(Protocol):
    """Marks moments on the device's own timeline."""

    def mark(self) -> None:
        """Note this moment. On an asynchronous device: enqueue the noting of it."""

    def read(self) -> list[int]:
        """Wait for the device, then give the marks made since the last read, in nanoseconds."""


class Event(Protocol):
    """A time stamp in a device's queue, as torch's events are."""

    def record(self, stream: object) -> None:
        """Enqueue the stamp."""

    def synchronize(self) -> None:
        """Wait until the device has come to it."""

    def elapsed_time(self, end_event: "Event", /) -> float:
        """Milliseconds from this stamp to another."""


class Device(ABC):
    """One device. Importing its module imports neither torch nor what costs `--help` its speed."""

    kind: ClassVar[str]
    """What torch calls it."""
    indexed: ClassVar[bool] = False
    """Whether a machine may have several, told apart by an index: `cuda:1`."""
    asynchronous: ClassVar[bool] = True
    """Whether the host runs ahead of it, so that dispatch, latency and throughput differ."""
    streams: ClassVar[bool] = False
    """Whether its queues take events that keep time, and copies to and from pinned memory."""
    pinned: ClassVar[bool] = False
    """Whether its workers are bound to cores of their own."""
    repeats: ClassVar[int] = 1
    """Steps between two marks: more than one where marking disturbs what it marks."""

    tf32: ClassVar[bool] = False
    """Whether torch's switch for products in tf32 is about it."""
    fused: ClassVar[frozenset[str]] = frozenset()
    """The classes of torch.optim that have a fused kernel for it."""
    capturable: ClassVar[bool] = False
    """Whether an optimizer can keep its count of steps on it."""
    graphs: ClassVar[bool] = False
    """Whether torch can capture steps as graphs and replay them."""

    activities: ClassVar[tuple[str, ...]] = ("CPU",)
    """What torch.profiler can watch of it, as ProfilerActivity names it."""
    launch_categories: ClassVar[tuple[str, ...]] = ()
    """The profiler's categories of calls that launch work on it."""
    kernel_categories: ClassVar[tuple[str, ...]] = ()
    """Those of the work: kernels, copies and fills."""
    memory_type: ClassVar[int | None] = None
    """Its number in the profiler's records of memory (c10/core/DeviceType.h); None where it has no
    records there."""

    def __init__(self, index: int = 0) -> None:
        self.index = index

    @property
    def shows_kernels(self) -> bool:
        """Whether torch.profiler watches more of it than the host."""
        return self.activities != ("CPU",)

    def hides_graphs(self) -> str | None:
        """Why torch.profiler misses kernels that a graph launches; None where it shows them."""
        return None

    @classmethod
    @abstractmethod
    def count(cls) -> int:
        """How many torch sees here. May raise what its driver raises."""

    @abstractmethod
    def facts(self) -> DeviceFacts:
        """What it is and what it supports. May raise what its driver raises."""

    @abstractmethod
    def clock(self) -> Clock:
        """A clock whose differences are durations on this device."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device is idle."""

    def warm_up(self) -> None:
        """Have its libraries start, and take what they keep for the current stream.

        For each thread and stream, cuBLAS keeps a workspace from its first use on (8 to 128 MiB, by
        GPU; pytorch issue 95668): the forward pass has this thread's, the backward pass that of
        autograd's own. Where there is a bias, cuBLASLt may have one more.
        """
        import torch

        where = f"{self.kind}:{self.index}" if self.indexed else self.kind
        square = torch.ones(8, 8, device=where, requires_grad=True)
        loss = torch.nn.functional.linear(square, square @ square, square[0]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        self.synchronize()

    def drop_workspaces(self) -> None:
        """Give back what `warm_up` had libraries keep."""
        return

    def reset_peak(self) -> None:
        """Measure the peak of memory from now on."""
        return

    def peak_bytes(self) -> int | None:
        """The peak since, above what was held when it began; None where it is unavailable."""
        return None

    def joules(self) -> float | None:
        """What its energy counter shows, which only grows; None where it has none.

        Raises nvml.Unavailable, with the reason, where the driver tells nothing of it.
        """
        return None

    def bus_id(self) -> str | None:
        """Where on the PCI bus it is, as NVIDIA's tools know it; None where they do not."""
        return None

    def enter(self, threads: int) -> list[int]:
        """Make this process work on the device with so many threads.

        The cores it was bound to, as many as there are threads; [] where that is not done.
        """
        return []
