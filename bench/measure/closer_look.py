"""What is asked of a case once, when its blocks are measured: its energy, and its profile."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.devices import device_named
from bench.matrix.case import Case
from bench.measure.anonymous import anonymous
from bench.measure.events import CaseProfiled, EnergySpent, Event, Plan
from bench.measure.protocol import Profile, Profiled, Refused, Reply, Request, Spend, Spent
from bench.measure.worker_process import WorkerLost
from bench.measure.workers import Workers

ENERGY_S = 3.0
"""Counters of energy move in steps of up to a tenth of a second."""


def look_closer(
    plan: Plan,
    cases: Sequence[Case],
    workers: Workers,
    seconds: float,
    emit: Callable[[Event], None],
    traces: Path | None = None,
) -> None:
    """Ask the present worker, which holds these cases, what the plan wants to know of them.

    It times nothing after it. What goes wrong here costs a case this one answer, and nothing that
    was measured. Each answer may take so many seconds.
    """
    lost: str | None = None

    def answer(case: Case, request: Request) -> Reply | str:
        """What the worker answers, or why it does not."""
        nonlocal lost
        if lost is not None:
            return lost
        try:
            reply = workers.ask(case.id, request, seconds)
        except WorkerLost as error:
            lost = anonymous(f"the worker was lost over {case.id}: {error.reason}")
            return lost
        return anonymous(reply.reason) if isinstance(reply, Refused) else reply

    for case in cases if plan.energy else ():
        match answer(case, Spend(case.id, ENERGY_S)):
            case Spent() as spent:
                emit(EnergySpent(case.id, spent))
            case str() as reason:
                emit(EnergySpent(case.id, reason=reason))
    for case in cases:
        # Where a device has kernels, only a profiler tells how long it is at work.
        if plan.profiled or "CUDA" in device_named(case.device).activities:
            match answer(case, Profile(case.id, None if traces is None else str(traces))):
                case Profiled(profile=profile):
                    emit(CaseProfiled(case.id, profile))
                case str() as reason:
                    emit(CaseProfiled(case.id, reason=reason))
