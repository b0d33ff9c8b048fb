"""Times a loop's phases with a device's clock. Knows nothing of processes or files."""

import itertools
import statistics
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ..devices.base import Clock
from ..matrix.case import DISPATCH, LATENCY, THROUGHPUT, WHOLE
from ..protocol.messages import PHASES_KIND, QUANTILES, THROUGHPUT_KIND, WAITING_KIND
from .refusals import PhasesUnclear

if TYPE_CHECKING:
    from .loop import Loop

Samples = dict[str, list[int]]
Calls = Mapping[str, Callable[..., Any]]
"""Phase to its call, in their order."""

FEW_SAMPLES = 15
"""With fewer the slowest fifth is but two."""
IN_FLIGHT = 16
"""Steps queued at once for a sample of throughput."""


class Stopwatch(NamedTuple):
    """The clocks of one device and of the host that feeds it."""

    device: Clock
    host: Clock
    synchronize: Callable[[], None]
    repeats: int = 1
    """Steps between two marks of the device's clock."""


def time_block(loop: "Loop", watch: Stopwatch, kind: str, samples: int) -> Samples:
    """A block of the given kind: `samples` durations of each of its series, nanoseconds a step."""
    if kind == PHASES_KIND:
        if watch.repeats > 1:
            return time_prefixes(prefixes_of(loop), watch.device, samples, watch.repeats)
        return time_phases(loop.phases, watch.device, samples)
    if kind == WAITING_KIND:
        return time_waiting(loop.train_step, watch, samples)
    if kind == THROUGHPUT_KIND:
        return {THROUGHPUT: time_in_flight(loop.train_step, watch, samples)}
    return {WHOLE: time_calls(loop.train_step, watch.device, samples, watch.repeats)}


def prefixes_of(loop: "Loop") -> Calls:
    """The step as far as each phase: forward, forward and backward, all of it.

    Raises PhasesUnclear for a step that has phases of its own: what each of these leaves behind for
    the next is not known.
    """
    if loop.optimizer is None:
        raise PhasesUnclear("this device's clock cannot tell apart the phases of a step's own loop")
    parameters = list(loop.model.parameters())

    def forward_and_backward() -> None:
        loop.backward()
        for parameter in parameters:  # as the step does, or gradients would add up
            parameter.grad = None

    calls = (loop.phases["forward"], forward_and_backward, loop.train_step)
    return dict(zip(loop.phases, calls, strict=True))


def time_phases(phases: Calls, clock: Clock, samples: int) -> Samples:
    """Durations of each phase out of one pass, nanoseconds; `samples` of each.

    A mark ends one phase and begins the next. The first step is discarded: it pays for caches the
    work before it has filled.
    """
    calls = tuple(phases.values())
    mark = clock.mark
    mark()
    for _ in range(samples + 1):
        value = None
        for call in calls:
            value = call(value)
            mark()
    return _by_phase(phases, _differences(clock.read()))


def time_prefixes(prefixes: Calls, clock: Clock, samples: int, repeats: int) -> Samples:
    """The phases by a clock whose marks cost too much to lie between them, nanoseconds a step.

    Of each sample, every prefix of the step is repeated; phases are the differences, so they add
    up to the whole. Raises PhasesUnclear where one is not positive.
    """
    marks: list[int] = []
    for _ in range(samples + 1):
        for prefix in prefixes.values():
            clock.mark()
            for _ in range(repeats):
                prefix()
            clock.mark()
        marks += clock.read()
    durations: Samples = {}
    before = [0] * samples
    for phase, spans in _by_phase(prefixes, _differences(marks)[0::2]).items():
        reached = [span // repeats for span in spans]
        durations[phase] = [after - start for start, after in zip(before, reached, strict=True)]
        before = reached
    for phase, values in durations.items():
        if min(values) <= 0:
            raise PhasesUnclear(
                f"the step takes no longer with {phase} than without it: try a larger --batch"
            )
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

    It shows steps that are slow now and then, which low quantiles do not show and a mean of all
    dilutes. The very slowest may be an interrupt's doing; but of a few samples it may be the only
    slow step.
    """
    fifth = sorted(durations)[-max(len(durations) // 5, 2) :]
    return round(statistics.fmean(fifth if len(durations) < FEW_SAMPLES else fifth[:-1]))


def _by_phase(phases: Calls, durations: list[int]) -> Samples:
    """Durations of one phase after the other, apart; the first of each is discarded."""
    count = len(phases)
    return {phase: durations[count + place :: count] for place, phase in enumerate(phases)}


def _differences(marks: list[int]) -> list[int]:
    return [after - before for before, after in itertools.pairwise(marks)]
