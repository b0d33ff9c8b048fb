"""Times a loop's phases with a device's clock. Knows nothing of processes or files."""

import itertools
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING

from bench.devices.base import Clock
from bench.matrix.case import WHOLE
from bench.measure.protocol import PHASES_KIND, QUANTILES

if TYPE_CHECKING:
    from sumnet.train import TrainingLoop

Samples = dict[str, list[int]]


def time_phases(loop: "TrainingLoop", clock: Clock, samples: int) -> Samples:
    """Durations of forward, backward and step out of one pass, nanoseconds; `samples` of each.

    A mark ends one phase and begins the next, so nothing lies between them. The first step is
    discarded: it pays for caches the work before it has filled.
    """
    forward, backward, step, mark = loop.forward, loop.backward, loop.step, clock.mark
    mark()
    for _ in range(samples + 1):
        loss = forward()
        mark()
        backward(loss)
        mark()
        step()
        mark()
    durations = _differences(clock.read())[3:]
    return {
        "forward": durations[0::3],
        "backward": durations[1::3],
        "step": durations[2::3],
    }


def time_steps(loop: "TrainingLoop", clock: Clock, samples: int) -> Samples:
    """Durations of the whole step with no mark inside it, nanoseconds; the first is discarded."""
    return {WHOLE: time_calls(loop.train_step, clock, samples)}


def time_calls(call: Callable[[], object], clock: Clock, samples: int) -> list[int]:
    """Durations of single calls, nanoseconds, after one that is discarded."""
    mark = clock.mark
    mark()
    for _ in range(samples + 1):
        call()
        mark()
    return _differences(clock.read())[1:]


def time_block(loop: "TrainingLoop", clock: Clock, kind: str, samples: int) -> Samples:
    """A block of the given kind."""
    timed = time_phases if kind == PHASES_KIND else time_steps
    return timed(loop, clock, samples)


def percentiles(durations: list[int]) -> list[int]:
    """The percentiles named in QUANTILES, linear between samples (method "inclusive")."""
    cuts = statistics.quantiles(durations, n=100, method="inclusive")
    return [round(cuts[percent - 1]) for percent in QUANTILES]


def _differences(marks: list[int]) -> list[int]:
    return [after - before for before, after in itertools.pairwise(marks)]
