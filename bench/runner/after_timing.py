"""What is asked of a case once, when its blocks are measured: its energy, and its profile."""

from collections.abc import Callable, Sequence
from pathlib import Path

from bench.devices import device_named
from bench.machine.redact import redacted
from bench.matrix.case import Case
from bench.matrix.plan import Plan
from bench.protocol.messages import (
    EnergyMeasured,
    MeasureEnergy,
    Profile,
    Profiled,
    Refused,
    Reply,
    Request,
)
from bench.runner.events import CaseEnergy, CaseProfiled, Event
from bench.runner.pool import Workers
from bench.runner.process import WorkerLost

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
            lost = redacted(f"the worker was lost over {case.id}: {error.reason}")
            return lost
        return redacted(reply.reason) if isinstance(reply, Refused) else reply

    for case in cases if plan.energy else ():
        match answer(case, MeasureEnergy(case.id, ENERGY_S)):
            case EnergyMeasured() as spent:
                emit(CaseEnergy(case.id, spent))
            case str() as reason:
                emit(CaseEnergy(case.id, reason=reason))
    for case in cases:
        # Where a device has kernels, only a profiler tells how long it is at work.
        if plan.profiled or "CUDA" in device_named(case.device).activities:
            match answer(case, Profile(case.id, None if traces is None else str(traces))):
                case Profiled(profile=profile):
                    emit(CaseProfiled(case.id, profile))
                case str() as reason:
                    emit(CaseProfiled(case.id, reason=reason))
