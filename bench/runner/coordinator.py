"""Runs a plan on one side, and reports everything that happens to `on_event`.

It writes nothing and prints nothing: a journal, a progress display or a test is given the events.
"""

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..devices.facts import Facts
from ..errors import UsageError
from ..machine.redact import redacted
from ..matrix.case import Case
from ..matrix.ceiling import Ceiling
from ..matrix.plan import ENVIRONMENTS, Plan
from ..matrix.support import unsupported_reason
from ..protocol import messages
from . import events
from .after_timing import ask_after_timing
from .batches import group_cases, group_ceilings
from .compile_times import measure_compile
from .pool import Deadlines, Measurable, Pool, shareable
from .process import Side
from .schedule import Item, Known, Schedule, one_side

CEILING_REPLICATES = 3


@dataclass
class ResumeState(Known):
    """What is settled of a run, perhaps by earlier sessions."""

    done: set[tuple[int, int]] = field(default_factory=set)
    """Replicate and batch, for each that is complete."""
    compile_timed: set[str] = field(default_factory=set)
    """Ids of cases whose compile times were asked for and are had, or cannot be."""
    workers: int = 0
    spent_s: float = 0.0


class Coordinator:
    """Measures a plan on one side."""

    def __init__(
        self,
        plan: Plan,
        on_event: Callable[[events.Event], None],
        *,
        side: Side | None = None,
        settled: ResumeState | None = None,
        deadlines: Deadlines | None = None,
        traces: Path | None = None,
        beside_another: bool = False,
    ) -> None:
        """`traces` is a folder for the traces of cases that are profiled; `beside_another` says
        that another measurement is running on the machine."""
        self.plan = plan
        self._on_event = on_event
        self._side = side or Side(environment=ENVIRONMENTS[plan.environment])
        self._settled = settled or ResumeState()
        self._deadlines = deadlines or Deadlines.within(plan.budget_s)
        self._traces = traces and traces.absolute()
        self._beside_another = beside_another
        self._started = 0.0
        self._pool = Pool(
            lambda: [self._side],
            self._deadlines,
            on_start=self._on_start,
            on_lost=lambda reason: on_event(events.WorkerReplaced(reason)),
            started=self._settled.workers,
        )
        self._schedule = Schedule(
            self._pool,
            (self._side.name,),
            self._settled,
            random.Random(plan.seed + self._settled.workers),
            one_side,
            with_readings=True,
            on_blocks=self._on_blocks,
            on_impossible=lambda item: on_event(events.BlockImpossible(item.id)),
            on_ended=self._on_ended,
            on_prepared=self._on_prepared,
            on_phases_ended=self._on_phases_ended,
            lr=plan.lr,
            named=plan.named,
        )
        self._overhead_s: dict[int, float] = {}
        """Batch to what its last replicate spent on its worker before the first block."""

    def measure(self) -> None:
        """Measure all there is left to measure.

        Raises UsageError where no case, or none of those asked for by name, can run here, and
        MachineError where workers do not start.
        """
        self._started = started = time.monotonic() - self._settled.spent_s
        self._on_event(events.SessionStarted(time.time(), self._beside_another))
        with self._pool:
            self._pool.provide((self.plan.cases or self.plan.ceilings)[:1])
            startup_s, facts = self._pool.startup_s, self._pool.hellos[0].facts
            cases, ceilings = self._supported(facts)
            of_cases = group_cases(cases, facts)
            groups: list[Sequence[Measurable]] = [*of_cases, *group_ceilings(ceilings)]
            batches = [[_item(what) for what in group] for group in groups]
            units = self._units(self.plan.replicates, range(len(of_cases)))
            for position, (replicate, index) in enumerate(units):
                left = self.plan.budget_s - (time.monotonic() - started)
                left -= sum(self._overhead_s.get(i, startup_s) for _, i in units[position:])
                cases_left = sum(len(batches[i]) for _, i in units[position:])
                share = len(batches[index]) / cases_left
                self._replicate(replicate, index, batches[index], left * share)
            replicates = min(CEILING_REPLICATES, self.plan.replicates)
            for replicate, index in self._units(replicates, range(len(of_cases), len(batches))):
                self._replicate(replicate, index, batches[index], 0.0)
            self._pool.end()
            had = self._settled.compile_timed | self._settled.ended
            for case in self.plan.cases:
                if case.id in self.plan.compile_timed and case.id not in had:
                    self._on_event(measure_compile(case, self.plan.lr, self._side, self._deadlines))
            self._on_event(events.SessionEnded(time.time()))

    def _units(self, replicates: int, indices: range) -> list[tuple[int, int]]:
        """What is left of so many replicates of the batches with these indices."""
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
            for ceiling in self.plan.ceilings:
                there = Case(device=ceiling.device, threads=ceiling.threads)
                reasons[ceiling] = unsupported_reason(there, facts)
        refused = {what: reason for what, reason in reasons.items() if reason}
        named = [what for what in refused if self.plan.named and isinstance(what, Case)]
        if named or len(refused) == len(reasons):
            lines = [
                f"  {what.id if isinstance(what, Case) else what.device}: {refused[what]}"
                for what in named or refused
            ]
            heading = "cannot run here" if self.plan.named else "nothing asked for can run here"
            raise UsageError("\n".join([f"{heading}:", *dict.fromkeys(lines)]))
        for what, reason in refused.items():
            if what.id not in self._settled.ended:
                self._settled.ended.add(what.id)
                self._on_event(events.CaseEnded(what.id, "unsupported", redacted(reason)))
        able = [what for what, reason in reasons.items() if not reason]
        return (
            [what for what in able if isinstance(what, Case)],
            [what for what in able if isinstance(what, Ceiling)],
        )

    def _replicate(self, replicate: int, index: int, batch: Sequence[Item], seconds: float) -> None:
        """One worker's worth of evidence for each of a batch, in so many seconds of sweeps.

        It takes more workers only where one is lost; they share those seconds.
        """
        deadline = 0.0

        def until(items: Sequence[Item], preparing_s: float) -> float:
            nonlocal deadline
            cold = self._pool.number == 0  # its compilations find no cache
            self._overhead_s[index] = self._pool.startup_s + (0.0 if cold else preparing_s)
            deadline = deadline or time.monotonic() + seconds
            return deadline

        self._schedule.run(batch, until)
        if replicate == self.plan.replicates - 1:
            left = [what for item in self._schedule.pending(batch) for what in item.sides]
            cases = [what for what in left if isinstance(what, Case)]
            ask_after_timing(self.plan, cases, self._pool, self._on_event, self._traces)
        self._pool.end()
        spent_s = time.monotonic() - self._started
        self._on_event(events.ReplicateDone(replicate, index, spent_s))

    def _on_start(self) -> None:
        (worker,) = self._pool.workers
        device, _ = worker.setting
        self._on_event(
            events.WorkerStarted(
                self._pool.number,
                self._side.name,
                time.time(),
                worker.startup_s,
                shareable(worker.hello),
                device,
                worker.pid,
            )
        )

    def _on_prepared(
        self, reply: messages.Prepared | messages.CeilingPrepared, samples: int
    ) -> None:
        number = self._pool.number
        if isinstance(reply, messages.Prepared):
            self._on_event(events.CasePrepared(number, reply, samples))
        else:
            self._on_event(events.CeilingReady(number, reply, samples))

    def _on_blocks(
        self, item: Item, kind: str, blocks: Sequence[tuple[int, messages.Block]]
    ) -> None:
        for _, block in blocks:
            self._on_event(events.BlockMeasured(self._pool.number, time.time(), block))

    def _on_ended(self, item: Item, side: int, refused: messages.Refused) -> None:
        self._on_event(events.CaseEnded(refused.case, refused.status, refused.reason))

    def _on_phases_ended(self, item: Item, side: int, reason: str) -> None:
        self._on_event(events.PhasesEnded(item.id, reason))


def _item(what: Measurable) -> Item:
    kinds = messages.kinds_of(what) if isinstance(what, Case) else (messages.CEILING,)
    return Item(what.id, (what,), kinds)
