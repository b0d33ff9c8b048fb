"""Times a loop's phases with a device's clock. Knows nothing of processes or files."""

import itertools
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from bench.devices.base import Clock
from bench.matrix.case import DISPATCH, LATENCY, THROUGHPUT, WHOLE
from bench.protocol.messages import PHASES_KIND, QUANTILES, THROUGHPUT_KIND, WAITING_KIND

if TYPE_CHECKING:
    from sumnet.train import TrainingLoop

Samples = dict[str, list[int]]

FEW_SAMPLES = 15
"""With fewer the slowest fifth is but two."""
IN_FLIGHT = 16
"""Steps given to the device at once, to see how many it gets through."""


class Stopwatch(NamedTuple):
    """The clocks of one device and of the host that feeds it."""

    device: Clock
    host: Clock
    synchronize: Callable[[], None]
    repeats: int = 1
    """Steps between two marks of the device's clock."""


class UnsplitPhases(Exception):
    """The clock is too coarse to tell the phases of this loop apart."""


def time_block(loop: "TrainingLoop", watch: Stopwatch, kind: str, samples: int) -> Samples:
    """A block of the given kind: `samples` durations of each of its series, nanoseconds a step."""
    if kind == PHASES_KIND:
        if watch.repeats > 1:
            return time_prefixes(loop, watch.device, samples, watch.repeats)
        return time_phases(loop, watch.device, samples)
    if kind == WAITING_KIND:
        return time_waiting(loop.train_step, watch, samples)
    if kind == THROUGHPUT_KIND:
        return {THROUGHPUT: time_in_flight(loop.train_step, watch, samples)}
    return {WHOLE: time_calls(loop.train_step, watch.device, samples, watch.repeats)}


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


def time_prefixes(loop: "TrainingLoop", clock: Clock, samples: int, repeats: int) -> Samples:
    """The phases by a clock whose marks cost too much to lie between them, nanoseconds a step.

    Of each sample, forward is repeated, then forward and backward, then the whole step; phases are
    the differences, so they add up to the whole. Raises UnsplitPhases where one is not positive.
    """

    parameters = list(loop.model.parameters())

    def forward_and_backward() -> None:
        loop.backward(loop.forward())
        for parameter in parameters:  # as the step does, or gradients would add up
            parameter.grad = None

    prefixes = (loop.forward, forward_and_backward, loop.train_step)
    marks: list[int] = []
    for _ in range(samples + 1):
        for prefix in prefixes:
            clock.mark()
            for _ in range(repeats):
                prefix()
            clock.mark()
        marks += clock.read()
    spans = _differences(marks)[0::2][3:]
    to_forward, to_backward, to_step = (
        [span // repeats for span in spans[place::3]] for place in range(3)
    )
    durations = {
        "forward": to_forward,
        "backward": [b - f for f, b in zip(to_forward, to_backward, strict=True)],
        "step": [s - b for b, s in zip(to_backward, to_step, strict=True)],
    }
    for phase, values in durations.items():
        if min(values) <= 0:
            raise UnsplitPhases(f"doing {phase} too took no longer than leaving it out")
    return durations


def time_calls(
    call: Callable[[], object], clock: Clock, samples: int, repeats: int = 1
) -> list[int]:
    """Durations of single calls with no mark inside, nanoseconds, after one that is discarded.

    Where a mark costs much, of `repeats` calls, a call.
    """
    mark = clock.mark
    mark()
    for _ in range(samples + 1):
        for _ in range(repeats):
            call()
        mark()
    return [duration // repeats for duration in _differences(clock.read())[1:]]


def time_waiting(step: Callable[[], object], watch: Stopwatch, samples: int) -> Samples:
    """Steps each waited for, on an idle device: until the host is free, and until all is done."""
    mark = watch.host.mark
    for _ in range(samples + 1):
        watch.synchronize()
        mark()
        step()
        mark()
        watch.synchronize()
        mark()
    marks = watch.host.read()[3:]
    begun, dispatched, done = marks[0::3], marks[1::3], marks[2::3]
    return {
        DISPATCH: [after - before for before, after in zip(begun, dispatched, strict=True)],
        LATENCY: [after - before for before, after in zip(begun, done, strict=True)],
    }


def time_in_flight(step: Callable[[], object], watch: Stopwatch, samples: int) -> list[int]:
    """The time a step takes among IN_FLIGHT that are waited for together."""

    def flight() -> None:
        for _ in range(IN_FLIGHT):
            step()
        watch.synchronize()

    watch.synchronize()
    return [duration // IN_FLIGHT for duration in time_calls(flight, watch.host, samples)]


def percentiles(durations: list[int]) -> list[int]:
    """The percentiles named in QUANTILES, linear between samples (method "inclusive")."""
    cuts = statistics.quantiles(durations, n=100, method="inclusive")
    return [round(cuts[percent - 1]) for percent in QUANTILES]


def upper_tail_mean(durations: list[int]) -> int:
    """The mean of the slowest fifth, without the very slowest where there are enough others.

    It hears what makes now and then a step slow, which low quantiles do not hear at all and a mean
    of all drowns in the rest. The very slowest may be an interrupt's doing; but of a few samples it
    may be the only one that such a step has made slow.
    """
    fifth = sorted(durations)[-max(len(durations) // 5, 2) :]
    return round(statistics.fmean(fifth if len(durations) < FEW_SAMPLES else fifth[:-1]))


def _differences(marks: list[int]) -> list[int]:
    return [after - before for before, after in itertools.pairwise(marks)]
