"""Runs a plan: starts workers, asks them for blocks in shuffled order, and tells what happens.

It writes nothing and prints nothing: every event goes to `emit`, and a journal, a progress display
or a test listens there.
"""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from bench.errors import UsageError
from bench.matrix.case import Case
from bench.matrix.support import Facts, unsupported_reason
from bench.measure.anonymous import anonymous
from bench.measure.compile_times import measure_compile
from bench.measure.environment import ENVIRONMENTS
from bench.measure.events import (
    BlockMeasured,
    CaseEnded,
    CasePrepared,
    CaseProfiled,
    Event,
    Plan,
    ReplicateDone,
    SittingEnded,
    SittingStarted,
    WorkerStarted,
)
from bench.measure.groups import group_cases
from bench.measure.protocol import (
    Block,
    Expected,
    Measure,
    Prepare,
    Prepared,
    Profile,
    Profiled,
    Refused,
    Reply,
    Request,
    Status,
    kinds_of,
)
from bench.measure.replies import ask
from bench.measure.worker_process import Side, WorkerLost, WorkerProcess

BLOCK_NS = 3_000_000
MIN_SAMPLES, MAX_SAMPLES = 8, 40
MIN_SWEEPS = 5
"""Every case is swept so often in every replicate, whatever the budget says."""


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
class Settled:
    """What is settled of a run, perhaps by earlier sittings."""

    ended: set[str] = field(default_factory=set)
    """Ids of cases that are not measured any further."""
    done: set[tuple[int, int]] = field(default_factory=set)
    """Replicate and group, for each that is complete."""
    samples: dict[str, int] = field(default_factory=dict)
    """Case id to the samples its blocks hold."""
    expected: dict[str, Expected] = field(default_factory=dict)
    """Case id to what its training should do."""
    compile_timed: set[str] = field(default_factory=set)
    """Ids of cases whose compile times were asked for and are had, or cannot be."""
    workers: int = 0
    spent_s: float = 0.0


def samples_for(step_ns: int) -> int:
    """Samples of a block: as many steps as fill BLOCK_NS, within MIN_SAMPLES and MAX_SAMPLES."""
    return min(max(round(BLOCK_NS / step_ns), MIN_SAMPLES), MAX_SAMPLES)


class Coordinator:
    """Measures a plan on one side."""

    def __init__(
        self,
        plan: Plan,
        emit: Callable[[Event], None],
        *,
        side: Side | None = None,
        settled: Settled | None = None,
        deadlines: Deadlines | None = None,
    ) -> None:
        self.plan = plan
        self._emit = emit
        self._side = side or Side(environment=ENVIRONMENTS[plan.environment])
        self._settled = settled or Settled()
        self._deadlines = deadlines or Deadlines()
        self._shuffle = random.Random(plan.seed + self._settled.workers)
        self._worker: WorkerProcess | None = None
        self._overhead_s: dict[int, float] = {}
        """Group to what its last replicate spent on its worker before the first block."""

    def measure(self) -> None:
        """Measure all there is left to measure.

        Raises UsageError where no case, or none of those asked for by name, can run here, and
        MachineError where workers do not start.
        """
        started = time.monotonic() - self._settled.spent_s
        self._emit(SittingStarted(time.time()))
        try:
            first = self.plan.cases[0]
            worker = self._start_worker(first)
            facts = worker.hello.facts
            groups = group_cases(self._supported(facts), facts)
            units = [
                (replicate, index)
                for replicate in range(self.plan.replicates)
                for index in range(len(groups))
                if (replicate, index) not in self._settled.done
            ]
            for position, (replicate, index) in enumerate(units):
                left = self.plan.budget_s - (time.monotonic() - started)
                left -= sum(self._overhead_s.get(i, worker.startup_s) for _, i in units[position:])
                cases_left = sum(len(groups[i]) for _, i in units[position:])
                self._replicate(index, groups[index], left * len(groups[index]) / cases_left)
                self._emit(ReplicateDone(replicate, index))
            self._end_worker()
            self._time_compiles()
            self._emit(SittingEnded(time.time()))
        finally:
            self._end_worker()

    def _supported(self, facts: Facts) -> list[Case]:
        reasons = {case: unsupported_reason(case, facts) for case in self.plan.cases}
        refused = {case: reason for case, reason in reasons.items() if reason}
        if refused and (self.plan.named or len(refused) == len(reasons)):
            lines = "\n".join(f"  {case.id}: {reason}" for case, reason in refused.items())
            what = "cannot run here" if self.plan.named else "nothing asked for can run here"
            raise UsageError(f"{what}:\n{lines}")
        for case, reason in refused.items():
            if case.id not in self._settled.ended:
                self._end_case(case.id, "unsupported", reason)
        return [case for case in reasons if case not in refused]

    def _replicate(self, index: int, group: list[Case], seconds: float) -> None:
        """One worker's worth of evidence for each case, in so many seconds of sweeps.

        It takes more workers only where one is lost.
        """
        deadline: float | None = None
        while pending := self._unsettled(group):
            try:
                startup_s = self._have_fresh_worker(pending[0]).startup_s
                started = time.monotonic()
                # In fresh order too: which case lies where in the heap is drawn anew.
                for case in self._shuffle.sample(pending, len(pending)):
                    self._prepare(case)
                prepared = time.monotonic()
                cold = self._number == 0  # whose compilations find no cache
                self._overhead_s[index] = startup_s + (0.0 if cold else prepared - started)
                deadline = deadline or prepared + seconds
                self._sweep(pending, deadline)
                self._profile(pending)
                break
            except _WorkerReplaced:
                continue
        self._end_worker()

    def _sweep(self, cases: list[Case], deadline: float) -> None:
        """Blocks of all cases in fresh random order, again and again until the deadline."""
        sweeps = 0
        while sweeps < MIN_SWEEPS or time.monotonic() < deadline:
            order = [(case, kind) for case in self._unsettled(cases) for kind in kinds_of(case)]
            if not order:
                return
            self._shuffle.shuffle(order)
            for case, kind in order:
                if sweeps >= MIN_SWEEPS and time.monotonic() >= deadline:
                    return
                if case.id not in self._settled.ended:
                    self._measure(case, kind)
            sweeps += 1

    def _unsettled(self, cases: list[Case]) -> list[Case]:
        return [case for case in cases if case.id not in self._settled.ended]

    def _prepare(self, case: Case) -> None:
        request = Prepare(case, self.plan.lr, self._settled.expected.get(case.id))
        if isinstance(
            reply := self._ask(case.id, request, self._deadlines.build_s(case)), Prepared
        ):
            assert reply.verified is not None  # which was checked
            self._settled.expected[case.id] = reply.verified.expected
            samples = self._settled.samples.setdefault(case.id, samples_for(reply.step_ns))
            self._emit(CasePrepared(self._number, reply, samples))

    def _measure(self, case: Case, kind: str) -> None:
        request = Measure(case.id, kind, self._settled.samples[case.id])
        if isinstance(reply := self._ask(case.id, request, self._deadlines.measure_s), Block):
            self._emit(BlockMeasured(self._number, time.time(), reply))

    def _profile(self, cases: list[Case]) -> None:
        """How long each step keeps its device busy. The worker times nothing after this.

        What goes wrong here costs a case this one number, and nothing that was measured.
        """
        assert self._worker is not None
        for case in self._unsettled(cases):
            if case.kind == "cpu":
                continue
            try:
                reply = ask(self._worker, case.id, Profile(case.id), self._deadlines.measure_s)
            except WorkerLost:
                return
            if isinstance(reply, Profiled):
                self._emit(CaseProfiled(self._number, reply))

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

    def _ask(self, case: str, request: Request, seconds: float) -> Reply:
        """What the worker answers. A refusal, or losing the worker, ends the case."""
        assert self._worker is not None
        try:
            reply = ask(self._worker, case, request, seconds)
        except WorkerLost as lost:
            self._end_worker()
            self._end_case(case, lost.status, lost.reason)
            raise _WorkerReplaced from None
        if isinstance(reply, Refused):
            self._end_case(case, reply.status, reply.reason)
        return reply

    def _end_case(self, case: str, status: Status, reason: str) -> None:
        self._settled.ended.add(case)
        self._emit(CaseEnded(case, status, anonymous(reason)))

    @property
    def _number(self) -> int:
        """The present worker's, among all of the run."""
        return self._settled.workers - 1

    def _have_fresh_worker(self, case: Case) -> WorkerProcess:
        """An unused worker on this case's device and threads."""
        if self._worker is not None and self._worker.setting == _setting(case):
            return self._worker
        self._end_worker()
        return self._start_worker(case)

    def _start_worker(self, case: Case) -> WorkerProcess:
        worker = WorkerProcess(self._side, *_setting(case), self._deadlines.hello_s)
        self._worker = worker
        self._settled.workers += 1
        self._emit(
            WorkerStarted(
                self._number,
                self._side.name,
                time.time(),
                worker.startup_s,
                worker.hello,
                case.device,
            )
        )
        return worker

    def _end_worker(self) -> None:
        if self._worker is not None:
            self._worker.close()
            self._worker = None


def _setting(case: Case) -> tuple[str, int]:
    """The device and threads a worker for this case has."""
    return case.device, case.threads


class _WorkerReplaced(Exception):
    """The worker is gone and its current case is settled; the rest go on in a new one."""
