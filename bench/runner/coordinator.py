"""Runs a plan: starts workers, asks them for blocks in shuffled order, and tells what happens.

It writes nothing and prints nothing: every event goes to `emit`, and a journal, a progress display
or a test listens there.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UsageError
from bench.machine.redact import redacted
from bench.matrix.case import Case
from bench.matrix.ceiling import Ceiling
from bench.matrix.plan import ENVIRONMENTS, Plan
from bench.matrix.support import Facts, unsupported_reason
from bench.protocol.messages import (
    CEILING,
    Block,
    CeilingPrepared,
    Expected,
    Measure,
    Prepare,
    PrepareCeiling,
    Prepared,
    Refused,
    Reply,
    Request,
    Status,
    kinds_of,
)
from bench.runner.after_timing import look_closer
from bench.runner.batches import group_cases, group_ceilings
from bench.runner.compile_times import measure_compile
from bench.runner.events import (
    BlockMeasured,
    CaseEnded,
    CasePrepared,
    CeilingReady,
    Event,
    ReplicateDone,
    SessionEnded,
    SessionStarted,
)
from bench.runner.pool import Measurable, Workers
from bench.runner.process import Side, WorkerLost

BLOCK_NS = 3_000_000
MIN_SAMPLES, MAX_SAMPLES = 8, 40
MIN_CEILING_SAMPLES = 4
"""A product in a dtype without units for it may take a tenth of a second."""
MIN_SWEEPS = 5
"""Every case is swept so often in every replicate, whatever the budget says."""
CEILING_REPLICATES = 3


@dataclass(frozen=True)
class Deadlines:
    """Seconds a worker may take before it counts as hung."""

    hello_s: float = 120
    prepare_s: float = 120
    prepare_compiled_s: float = 600
    measure_s: float = 60

    def build_s(self, case: Case) -> float:
        """To build and verify this case."""
        return self.prepare_compiled_s if case.compilation.compiles else self.prepare_s


@dataclass
class ResumeState:
    """What is settled of a run, perhaps by earlier sessions."""

    ended: set[str] = field(default_factory=set)
    """Ids of cases and ceilings that are not measured any further."""
    done: set[tuple[int, int]] = field(default_factory=set)
    """Replicate and group, for each that is complete."""
    samples: dict[str, int] = field(default_factory=dict)
    """Id of a case or ceiling to the samples its blocks hold."""
    calls: dict[str, int] = field(default_factory=dict)
    """Id of a ceiling to the calls that make a sample."""
    expected: dict[str, Expected] = field(default_factory=dict)
    """Case id to what its training should do."""
    compile_timed: set[str] = field(default_factory=set)
    """Ids of cases whose compile times were asked for and are had, or cannot be."""
    workers: int = 0
    spent_s: float = 0.0


def samples_for(sample_ns: int, least: int = MIN_SAMPLES) -> int:
    """Samples of a block: as many as fill BLOCK_NS, from `least` to MAX_SAMPLES."""
    return min(max(round(BLOCK_NS / sample_ns), least), MAX_SAMPLES)


class Coordinator:
    """Measures a plan on one side."""

    def __init__(
        self,
        plan: Plan,
        emit: Callable[[Event], None],
        *,
        side: Side | None = None,
        settled: ResumeState | None = None,
        deadlines: Deadlines | None = None,
        traces: Path | None = None,
    ) -> None:
        """`traces` is a folder for the traces of cases that are profiled."""
        self.plan = plan
        self._emit = emit
        self._side = side or Side(environment=ENVIRONMENTS[plan.environment])
        self._settled = settled or ResumeState()
        self._deadlines = deadlines or Deadlines()
        self._traces = traces and traces.absolute()
        self._shuffle = random.Random(plan.seed + self._settled.workers)
        self._workers = Workers(
            self._side, emit, self._deadlines.hello_s, started=self._settled.workers
        )
        self._overhead_s: dict[int, float] = {}
        """Group to what its last replicate spent on its worker before the first block."""

    def measure(self) -> None:
        """Measure all there is left to measure.

        Raises UsageError where no case, or none of those asked for by name, can run here, and
        MachineError where workers do not start.
        """
        started = time.monotonic() - self._settled.spent_s
        self._emit(SessionStarted(time.time()))
        try:
            everything: list[Measurable] = [*self.plan.cases, *self.plan.ceilings]
            worker = self._workers.unused(everything[0])
            facts = worker.hello.facts
            cases, ceilings = self._supported(facts)
            groups = group_cases(cases, facts)
            units = self._units(self.plan.replicates, range(len(groups)))
            for position, (replicate, index) in enumerate(units):
                left = self.plan.budget_s - (time.monotonic() - started)
                left -= sum(self._overhead_s.get(i, worker.startup_s) for _, i in units[position:])
                cases_left = sum(len(groups[i]) for _, i in units[position:])
                share = len(groups[index]) / cases_left
                self._replicate(replicate, index, groups[index], left * share)
            above = group_ceilings(ceilings)
            indices = range(len(groups), len(groups) + len(above))
            replicates = min(CEILING_REPLICATES, self.plan.replicates)
            for replicate, index in self._units(replicates, indices):
                self._replicate(replicate, index, above[index - len(groups)], 0.0)
            self._workers.end()
            self._time_compiles()
            self._emit(SessionEnded(time.time()))
        finally:
            self._workers.end()

    def _units(self, replicates: int, indices: range) -> list[tuple[int, int]]:
        """What is left of so many replicates of the groups with these indices."""
        return [
            (replicate, index)
            for replicate in range(replicates)
            for index in indices
            if (replicate, index) not in self._settled.done
        ]

    def _supported(self, facts: Facts) -> tuple[list[Case], list[Ceiling]]:
        reasons: dict[Measurable, str | None] = {
            case: unsupported_reason(case, facts) for case in self.plan.cases
        }
        if not reasons or any(reason is None for reason in reasons.values()):
            for above in self.plan.ceilings:
                there = Case(device=above.device, threads=above.threads)
                reasons[above] = unsupported_reason(there, facts)
        refused = {what: reason for what, reason in reasons.items() if reason}
        named = [what for what in refused if self.plan.named and isinstance(what, Case)]
        if named or len(refused) == len(reasons):
            lines = [
                f"  {what.id if isinstance(what, Case) else what.device}: {refused[what]}"
                for what in named or refused
            ]
            told = "cannot run here" if self.plan.named else "nothing asked for can run here"
            raise UsageError("\n".join([f"{told}:", *dict.fromkeys(lines)]))
        for what, reason in refused.items():
            if what.id not in self._settled.ended:
                self._end(what.id, "unsupported", reason)
        able = [what for what, reason in reasons.items() if not reason]
        return (
            [what for what in able if isinstance(what, Case)],
            [what for what in able if isinstance(what, Ceiling)],
        )

    def _replicate(
        self, replicate: int, index: int, group: Sequence[Measurable], seconds: float
    ) -> None:
        """One worker's worth of evidence for each of a group, in so many seconds of sweeps.

        It takes more workers only where one is lost.
        """
        deadline: float | None = None
        while pending := self._unsettled(group):
            try:
                startup_s = self._workers.unused(pending[0]).startup_s
                started = time.monotonic()
                # In fresh order too: which case lies where in the heap is drawn anew.
                for what in self._shuffle.sample(pending, len(pending)):
                    self._prepare(what)
                prepared = time.monotonic()
                cold = self._workers.number == 0  # whose compilations find no cache
                self._overhead_s[index] = startup_s + (0.0 if cold else prepared - started)
                deadline = deadline or prepared + seconds
                self._sweep(pending, deadline)
                if replicate == self.plan.replicates - 1:
                    look_closer(
                        self.plan,
                        [what for what in self._unsettled(pending) if isinstance(what, Case)],
                        self._workers,
                        self._deadlines.measure_s,
                        self._emit,
                        self._traces,
                    )
                break
            except _WorkerReplaced:
                continue
        self._workers.end()
        self._emit(ReplicateDone(replicate, index))

    def _sweep(self, group: Sequence[Measurable], deadline: float) -> None:
        """Blocks of all in fresh random order, again and again until the deadline."""
        sweeps = 0
        while sweeps < MIN_SWEEPS or time.monotonic() < deadline:
            order = [(what, kind) for what in self._unsettled(group) for kind in _kinds(what)]
            if not order:
                return
            self._shuffle.shuffle(order)
            for what, kind in order:
                if sweeps >= MIN_SWEEPS and time.monotonic() >= deadline:
                    return
                if what.id not in self._settled.ended:
                    self._measure(what, kind)
            sweeps += 1

    def _unsettled(self, group: Sequence[Measurable]) -> list[Measurable]:
        return [what for what in group if what.id not in self._settled.ended]

    def _prepare(self, what: Measurable) -> None:
        if isinstance(what, Ceiling):
            above = PrepareCeiling(what, self._settled.calls.get(what.id))
            reply = self._ask(what.id, above, self._deadlines.prepare_s)
            if isinstance(reply, CeilingPrepared):
                self._settled.calls[what.id] = reply.calls
                samples = self._samples(what, reply.sample_ns, MIN_CEILING_SAMPLES)
                self._emit(CeilingReady(self._workers.number, reply, samples))
            return
        request = Prepare(what, self.plan.lr, self._settled.expected.get(what.id))
        reply = self._ask(what.id, request, self._deadlines.build_s(what))
        if isinstance(reply, Prepared):
            assert reply.verified is not None  # which was checked
            self._settled.expected[what.id] = reply.verified.expected
            samples = self._samples(what, reply.step_ns, MIN_SAMPLES)
            self._emit(CasePrepared(self._workers.number, reply, samples))

    def _samples(self, what: Measurable, sample_ns: int, least: int) -> int:
        """What its blocks hold, all through the run."""
        return self._settled.samples.setdefault(what.id, samples_for(sample_ns, least))

    def _measure(self, what: Measurable, kind: str) -> None:
        request = Measure(what.id, kind, self._settled.samples[what.id])
        if isinstance(reply := self._ask(what.id, request, self._deadlines.measure_s), Block):
            self._emit(BlockMeasured(self._workers.number, time.time(), reply))

    def _time_compiles(self) -> None:
        """The compile times the plan asks for, of cases that came to their end."""
        wanted = set(self.plan.compile_timed) - self._settled.compile_timed - self._settled.ended
        for case in self.plan.cases:
            if case.id in wanted:
                limits = self._deadlines
                event = measure_compile(
                    case, self.plan.lr, self._side, limits.hello_s, limits.build_s(case)
                )
                self._settled.compile_timed.add(case.id)
                self._emit(event)

    def _ask(self, about: str, request: Request, seconds: float) -> Reply:
        """What the worker answers. A refusal, or losing the worker, ends what it was about."""
        try:
            reply = self._workers.ask(about, request, seconds)
        except WorkerLost as lost:
            self._workers.end()
            self._end(about, lost.status, lost.reason)
            raise _WorkerReplaced from None
        if isinstance(reply, Refused):
            self._end(about, reply.status, reply.reason)
        return reply

    def _end(self, what: str, status: Status, reason: str) -> None:
        self._settled.ended.add(what)
        self._emit(CaseEnded(what, status, redacted(reason)))


def _kinds(what: Measurable) -> tuple[str, ...]:
    return kinds_of(what) if isinstance(what, Case) else (CEILING,)


class _WorkerReplaced(Exception):
    """The worker is gone and what it was asked about is settled; the rest go on in a new one."""
