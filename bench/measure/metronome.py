"""Fixed reference loops run between blocks. They hear the speed the machine has at the moment.

A shared machine has speed states that last from milliseconds to minutes and that no counter inside
a virtual machine shows. A metronome does the same work each time, none of it the subject's, so when
it is slow the machine is. One is bound by dispatch, as small cases are; one by memory and
arithmetic, as large cases are.
"""

from collections.abc import Callable

from bench.devices.base import Clock
from bench.measure.stopwatch import time_calls

VERSION = 1
"""Readings compare only within a version: raise it when any loop below changes."""

DISPATCH = "dispatch"
MEMORY = "memory"

SAMPLES = 8
"""Calls a reading."""
LARGE_BYTES = 2**18
"""A case whose activations are larger than this hears the memory metronome."""


def metronome_for(activation_bytes: int) -> str:
    """The metronome that hears what a case with such activations suffers from."""
    return MEMORY if activation_bytes > LARGE_BYTES else DISPATCH


def build_metronomes() -> dict[str, Callable[[], None]]:
    """The reference loops by name, each a fixed amount of work on the CPU in float32."""
    import torch

    small = torch.linspace(0.0, 1.0, 16)
    large = torch.linspace(0.0, 1.0, 2**17)

    def dispatch() -> None:
        value = small
        for _ in range(8):
            value = value * 0.5
            value = value + small

    def memory() -> None:
        value = large * 0.5
        value = value + large
        value.relu_()

    return {DISPATCH: dispatch, MEMORY: memory}


def listen(loop: Callable[[], None], clock: Clock) -> int:
    """One reading: the lower quartile of SAMPLES calls, nanoseconds a call."""
    return sorted(time_calls(loop, clock, SAMPLES))[SAMPLES // 4]
