"""What is run to find out a ceiling: with torch alone, on random data."""

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from ...devices import kind_of
from ...devices.accelerator import Accelerator
from ...devices.base import Device
from ...matrix import ceiling as ceilings
from ...matrix.ceiling import Ceiling
from ...matrix.precision import PRECISIONS

CHAIN = 65
"""Nodes of the chain that a backward pass goes through."""
APART_BYTES = 2048
"""Between arrays: at the same place in their pages, loads would wait for unrelated stores."""
IN_FLIGHT = 500
"""Launches that are waited for together: fewer than a device's queue holds, or the host would wait
for it, and so many that the one wait does not count."""
FRESH_BYTES = TRANSFER_BYTES = 2**26
"""More than any allocator keeps for itself."""

Run = Callable[[int], object]
"""Does something so many times."""


class Microbenchmark(NamedTuple):
    """What one call does, and what is known of it."""

    run: Run
    work: float
    """Of a call: bytes moved, FLOP, or how many of what costs are asked for."""
    how: str
    without: Run | None = None
    """The same call without the work: its time is taken off."""
    queued: bool = False
    """Timed on the device's clock, the host running ahead; else on the host's, each sample begun
    with the device idle."""


def _repeat(call: Callable[[], object]) -> Run:
    def run(times: int) -> None:
        for _ in range(times):
            call()

    return run


def _in_flight(call: Callable[[], object], device: Device) -> Run:
    def run(times: int) -> None:
        for _ in range(times):
            call()
        device.synchronize()

    return run


@functools.cache
def _memory(device: str) -> torch.Tensor:
    """Random numbers that the largest copy or triad needs; all others work on their beginning."""
    sizes = ceilings.QUEUED if kind_of(device).asynchronous else ceilings.CACHED
    largest = sizes[-1]
    return torch.rand((largest + 4 * APART_BYTES) // 4, device=device)


def arrays(ceiling: Ceiling, number: int) -> Iterator[torch.Tensor]:
    """Float32 arrays that together take the ceiling's bytes."""
    assert ceiling.size is not None
    count = ceiling.size // (4 * number)
    for place in range(number):
        yield _memory(ceiling.device).narrow(0, place * (count + APART_BYTES // 4), count)


def _copy(ceiling: Ceiling, device: Device) -> Microbenchmark:
    source, target = arrays(ceiling, 2)
    one, one_target = source[:1], target[:1]
    return Microbenchmark(
        _repeat(lambda: target.copy_(source)),
        work=8.0 * len(source),
        how="target.copy_(source), float32: bytes read and written",
        without=_unless_queued(ceiling, lambda: one_target.copy_(one)),
        queued=True,
    )


def _triad(ceiling: Ceiling, device: Device) -> Microbenchmark:
    left, right, target = arrays(ceiling, 3)
    one_left, one_right, one_target = left[:1], right[:1], target[:1]
    return Microbenchmark(
        _repeat(lambda: torch.add(left, right, alpha=3.0, out=target)),
        work=12.0 * len(left),
        how="torch.add(b, c, alpha=3, out=a), float32: bytes read and written",
        without=_unless_queued(
            ceiling, lambda: torch.add(one_left, one_right, alpha=3.0, out=one_target)
        ),
        queued=True,
    )


def _unless_queued(ceiling: Ceiling, call: Callable[[], object]) -> Run | None:
    """On a CPU, what the same call costs for one number; elsewhere the host pays that meanwhile."""
    return None if kind_of(ceiling.device).asynchronous else _repeat(call)


def _matmul(ceiling: Ceiling, device: Device) -> Microbenchmark:
    assert ceiling.size is not None and ceiling.dtype is not None
    stored: torch.dtype = getattr(torch, PRECISIONS[ceiling.dtype].parameters)
    shape = ceiling.size, ceiling.size
    left, right, target = (torch.randn(shape).to(ceiling.device, stored) for _ in range(3))
    return Microbenchmark(
        _repeat(lambda: torch.mm(left, right, out=target)),
        work=2.0 * ceiling.size**3,
        how="torch.mm(a, b, out=c) of square matrices",
        queued=True,
    )


def _op(ceiling: Ceiling, device: Device) -> Microbenchmark:
    return Microbenchmark(
        _repeat(torch.rand(1, device=ceiling.device).neg_),
        work=1,
        how="x.neg_() of one number, called from Python: what a launch costs the host",
    )


def _node(ceiling: Ceiling, device: Device) -> Microbenchmark:
    leaf = torch.rand(1, 1, device=ceiling.device, requires_grad=True)
    gradient = torch.ones(1, 1, device=ceiling.device)

    def backward_through(nodes: int) -> Run:
        end = leaf
        for _ in range(nodes):
            end = end.t()
        return _repeat(lambda: torch.autograd.grad(end, leaf, gradient, retain_graph=True))

    return Microbenchmark(
        backward_through(CHAIN),
        work=CHAIN - 1,
        how=f"a backward pass through {CHAIN} transpositions of one number, less one through one",
        without=backward_through(1),
    )


def _python_call(ceiling: Ceiling, device: Device) -> Microbenchmark:
    def nothing() -> None:
        pass

    def idle(times: int) -> None:
        for _ in range(times):
            pass

    return Microbenchmark(
        _repeat(nothing), work=1, how="an empty function, less the loop around it", without=idle
    )


def _allocation(ceiling: Ceiling, device: Device) -> Microbenchmark:
    return Microbenchmark(
        _repeat(lambda: torch.empty(1, device=ceiling.device)),
        work=1,
        how="torch.empty(1), and freeing it",
    )


def _fresh_memory(ceiling: Ceiling, device: Device) -> Microbenchmark:
    count = FRESH_BYTES // 4
    return Microbenchmark(
        _repeat(lambda: torch.ones(count)),
        work=FRESH_BYTES,
        how="torch.ones of 64 MiB: bytes written, in the stock environment to memory just got",
    )


def _launch(ceiling: Ceiling, device: Device) -> Microbenchmark:
    number = torch.rand(1, device=ceiling.device)
    launches = _in_flight(number.neg_, device)
    return Microbenchmark(
        _repeat(lambda: launches(IN_FLIGHT)),
        work=IN_FLIGHT,
        how=f"x.neg_() of one number, {IN_FLIGHT} launched and waited for together",
    )


def _sync(ceiling: Ceiling, device: Device) -> Microbenchmark:
    return Microbenchmark(_repeat(device.synchronize), work=1, how="waiting for the idle device")


def _event_pair(ceiling: Ceiling, device: Device) -> Microbenchmark:
    assert isinstance(device, Accelerator)  # of whose ceilings this is one
    first, second, stream = device.event(), device.event(), device.stream()

    def record() -> None:
        first.record(stream)
        second.record(stream)

    return Microbenchmark(_repeat(record), work=1, how="recording two events: the host's cost")


def _transfer(ceiling: Ceiling, device: Device) -> Microbenchmark:
    pinned = ceiling.what.endswith("-pinned")
    count = TRANSFER_BYTES // 4
    on_host = torch.rand(count, pin_memory=pinned)
    on_device = torch.rand(count, device=ceiling.device)
    to_device = ceiling.what.startswith("to")
    source, target = (on_host, on_device) if to_device else (on_device, on_host)
    return Microbenchmark(
        _in_flight(lambda: target.copy_(source, non_blocking=pinned), device),
        work=TRANSFER_BYTES,
        how=f"target.copy_(source) of 64 MiB, host memory {'pinned' if pinned else 'pageable'}",
    )


MICROBENCHMARKS: dict[str, Callable[[Ceiling, Device], Microbenchmark]] = {
    ceilings.COPY: _copy,
    ceilings.TRIAD: _triad,
    ceilings.MATMUL: _matmul,
    ceilings.OP: _op,
    ceilings.NODE: _node,
    ceilings.PYTHON_CALL: _python_call,
    ceilings.ALLOCATION: _allocation,
    ceilings.FRESH_MEMORY: _fresh_memory,
    ceilings.LAUNCH: _launch,
    ceilings.SYNC: _sync,
    ceilings.EVENT_PAIR: _event_pair,
    **dict.fromkeys(ceilings.TRANSFERS, _transfer),
}
