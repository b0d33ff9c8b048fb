"""What the stopwatch reads on the queued device, where work of known length is in each phase.

Run as `python -m tests.queued_device.readings LIBRARY`; it prints JSON.
"""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from bench.devices.base import Clock
from bench.devices.cpu import WallClock
from bench.matrix.case import THROUGHPUT
from bench.matrix.step import PHASES
from bench.protocol.messages import PHASES_KIND, THROUGHPUT_KIND, WAITING_KIND
from bench.worker.loop import Loop
from bench.worker.timing import Stopwatch, time_block
from tests.loops import build_loop
from tests.queued_device import KIND, load
from tests.queued_device.device import Queued

MS = 1_000_000
WORK_NS = dict(zip(PHASES, (20 * MS, 40 * MS, 30 * MS), strict=True))
"""What the device works in each phase at least."""
FLIGHT_WORK_NS = dict.fromkeys(PHASES, MS)
SAMPLES = 8

queued = torch.ops.queued


def working(loop: Loop, work_ns: dict[str, int]) -> Loop:
    """The loop with so much more work for the device in each phase."""

    def more(call: Callable[..., Any], ns: int) -> Callable[..., Any]:
        def phase(value: object = None) -> Any:
            result = call(value)
            queued.sleep(ns)
            return result

        return phase

    phases = {name: more(loop.phases[name], ns) for name, ns in work_ns.items()}

    def train_step() -> None:
        value = None
        for phase in phases.values():
            value = phase(value)

    return replace(loop, phases=phases, train_step=train_step)


class HoldingClock:
    """A clock that lets the device begin only when it is read."""

    def __init__(self, clock: Clock) -> None:
        self.backlog = 0
        """What was in the queue then."""
        self.mark = clock.mark
        self._clock = clock
        torch.accelerator.synchronize()
        queued.hold(True)

    def read(self) -> list[int]:
        self.backlog = queued.waiting()
        queued.hold(False)
        return self._clock.read()


def phases(loop: Loop, clock: Clock) -> dict[str, Any]:
    holding = HoldingClock(clock)
    watch = Stopwatch(holding, WallClock(), torch.accelerator.synchronize)
    samples = time_block(loop, watch, PHASES_KIND, SAMPLES)
    return {**samples, "backlog": holding.backlog}


def flights(loop: Loop, clock: Clock) -> dict[str, Any]:
    """Of steps in flight, where the device begins only when the host waits."""
    backlogs = []

    def synchronize() -> None:
        backlogs.append(queued.waiting())
        queued.hold(False)
        torch.accelerator.synchronize()
        queued.hold(True)

    watch = Stopwatch(clock, WallClock(), synchronize)
    samples = time_block(loop, watch, THROUGHPUT_KIND, SAMPLES)[THROUGHPUT]
    loop.train_step()
    of_one = queued.waiting()
    queued.hold(False)
    return {THROUGHPUT: samples, "backlogs": backlogs, "of_one": of_one}


def main(library: str) -> None:
    load(library)
    device = Queued()
    bare = build_loop(device=KIND)
    bare.train_step()
    loop = working(bare, WORK_NS)
    watch = Stopwatch(device.clock(), WallClock(), device.synchronize)
    readings = {
        "events": phases(loop, device.clock()),
        "host": phases(loop, WallClock()),
        "waiting": time_block(loop, watch, WAITING_KIND, SAMPLES),
        "flights": flights(working(bare, FLIGHT_WORK_NS), device.clock()),
    }
    print(json.dumps(readings))


if __name__ == "__main__":
    main(sys.argv[1])
