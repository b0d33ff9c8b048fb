"""A ceiling resident in a worker: its microbenchmark, ready to be timed block by block."""

import math
import statistics
from collections.abc import Sequence

from ...devices import device_named
from ...devices.cpu import WallClock
from ...matrix.ceiling import COPY, TRIAD, Ceiling
from ...matrix.precision import PRECISIONS
from ...protocol.messages import CEILING, CeilingPrepared
from ...protocol.reference_loops import reference_loops_for
from ..loop import float32_products
from ..refusals import InvalidCase
from ..timing import Samples, time_calls
from .microbenchmarks import MICROBENCHMARKS, Run

SAMPLE_NS = 50_000
"""A sample lasts so long at least: reading the clock costs a thousandth of that."""
MAX_CALLS = 500
"""In a sample: fewer than an accelerator's queue holds, or the host would wait for it."""
TRIES = 5
"""To time a difference: a machine that changes its speed in the middle can leave less than none."""


class PreparedCeiling:
    """One ceiling, ready to be timed. Raises what torch raises for what the device cannot do."""

    def __init__(self, ceiling: Ceiling, calls: int | None = None) -> None:
        self.ceiling = ceiling
        moves_memory = ceiling.what in (COPY, TRIAD)
        self.reference_loops = reference_loops_for(
            activation_bytes=ceiling.size or 0 if moves_memory else 0
        )
        self._device = device_named(ceiling.device)
        self._clock, self._host = self._device.clock(), WallClock()
        self._precision = PRECISIONS[ceiling.dtype or "float32"]
        with float32_products(self._precision):
            self._benchmark = MICROBENCHMARKS[ceiling.what](ceiling, self._device)
            self._calls = calls or self._calls_of_a_sample()
            self._sample_ns = min(self._time(self._benchmark.run, 3))

    def prepared(self) -> CeilingPrepared:
        return CeilingPrepared(
            ceiling=self.ceiling.id,
            sample_ns=self._sample_ns,
            calls=self._calls,
            work=self._calls * self._benchmark.work,
            how=self._benchmark.how,
        )

    def restore(self) -> None:
        self._device.synchronize()

    def time(self, kind: str, samples: int) -> Samples:
        """One block: nanoseconds a sample, of the work that `prepared` reports for one."""
        with float32_products(self._precision):
            if self._benchmark.without is None:
                return {CEILING: self._time(self._benchmark.run, samples)}
            for _ in range(TRIES):
                left = self._time_difference(self._benchmark.without, samples)
                if min(left) > 0:
                    return {CEILING: left}
        raise InvalidCase("the work takes no longer than the call without it")

    def _calls_of_a_sample(self) -> int:
        self._calls = 1
        run = self._benchmark.run
        while (took := min(self._time(run, 3))) < SAMPLE_NS and self._calls < MAX_CALLS:
            # What lies around a few calls takes a share, so many last less than computed here.
            self._calls = min(math.ceil(self._calls * SAMPLE_NS / max(took, 1)), MAX_CALLS)
        return self._calls

    def _time(self, run: Run, samples: int) -> list[int]:
        if self._benchmark.queued:
            return time_calls(lambda: run(self._calls), self._clock, samples)
        return self._time_in_turn([run], samples)[0]

    def _time_difference(self, without: Run, samples: int) -> list[int]:
        """What the work takes more than the call without it, timed in turn.

        The low decile of that is taken off, because one disturbed sample of it would spoil one of
        the work's.
        """
        durations, idle = self._time_in_turn([self._benchmark.run, without], samples)
        taken_off = round(statistics.quantiles(idle, n=10, method="inclusive")[0])
        return [duration - taken_off for duration in durations]

    def _time_in_turn(self, runs: Sequence[Run], samples: int) -> list[list[int]]:
        """On the host's clock, each begun with the device idle; the first of each is discarded."""
        mark = self._host.mark
        for _ in range(samples + 1):
            for run in runs:
                self._device.synchronize()
                mark()
                run(self._calls)
                mark()
        marks = self._host.read()
        spans = [after - before for before, after in zip(marks[0::2], marks[1::2], strict=True)]
        return [spans[len(runs) + place :: len(runs)] for place in range(len(runs))]
