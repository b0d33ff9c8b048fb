"""Fixed reference loops run before every block: they follow the machine's speed at the moment.

A shared machine has speed states that last from milliseconds to minutes and that no counter inside
a virtual machine shows. A reference loop does the same work each time, none of it the subject's, so
when it is slow the machine is. Both are small training steps, written out in plain torch and never
to be changed with the subject: of all loops tried, those that do the subject's kind of work follow
its speed best. One is bound by dispatch, as small cases are; the other by memory, and large cases
read both. Nothing is read after a block: a case may slow the core for what follows it, as matrix
units at work do, and that is not noise.
"""

from collections.abc import Callable
from typing import NamedTuple

from ..devices.base import Clock
from ..protocol.reference_loops import DISPATCH, MEMORY
from .timing import time_calls


class ReferenceLoop(NamedTuple):
    """A fixed amount of work: how often it runs before a reading, untimed, and how often in one."""

    loop: Callable[[], object]
    settling: int
    calls: int


def build_reference_loops() -> dict[str, ReferenceLoop]:
    """The reference loops by name, on the CPU in float32: steps over 64 and over 8192 rows."""
    return {
        DISPATCH: ReferenceLoop(_training_step(64), 12, 6),
        MEMORY: ReferenceLoop(_training_step(8192), 3, 4),
    }


def _training_step(rows: int) -> Callable[[], None]:
    import torch
    from torch.nn import functional

    pairs = torch.linspace(0.0, 1.0, 2 * rows).reshape(rows, 2)
    sums = pairs.sum(1, keepdim=True)
    parameters = [
        torch.linspace(-1.0, 1.0, 20).reshape(10, 2).requires_grad_(),
        torch.zeros(10, requires_grad=True),
        torch.linspace(-1.0, 1.0, 10).reshape(1, 10).requires_grad_(),
    ]
    weight, bias, output = parameters

    def step() -> None:
        hidden = torch.relu(functional.linear(pairs, weight, bias))
        loss = functional.mse_loss(functional.linear(hidden, output), sums)
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            for parameter in parameters:
                assert parameter.grad is not None
                parameter.add_(parameter.grad, alpha=0.0)  # the same numbers, step after step
                parameter.grad = None

    return step


def read_loop(reference_loop: ReferenceLoop, clock: Clock) -> int:
    """One reading: the lower quartile of its calls, nanoseconds a call.

    The calls before it fill the caches anew: without them it would depend on which case was last.
    """
    for _ in range(reference_loop.settling):
        reference_loop.loop()
    durations = time_calls(reference_loop.loop, clock, reference_loop.calls)
    return sorted(durations)[reference_loop.calls // 4]
