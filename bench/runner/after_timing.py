"""What is asked of a case once, when its blocks are measured: energy, memory, its profile."""

from collections.abc import Callable, Sequence
from pathlib import Path

from ..devices import device_named
from ..matrix.case import Case
from ..matrix.plan import Plan
from ..protocol import messages
from . import events
from .pool import Pool

ENERGY_S = 3.0
"""Counters of energy move in steps of up to a tenth of a second."""


def ask_after_timing(
    plan: Plan,
    cases: Sequence[Case],
    pool: Pool,
    on_event: Callable[[events.Event], None],
    traces: Path | None = None,
) -> None:
    """Ask the present worker, which holds these cases, for what the plan wants of them.

    Nothing may be timed after it. A failure costs a case this one answer, and nothing that was
    measured.
    """
    lost: str | None = None

    def answer(
        request: messages.MeasureEnergy | messages.MeasureMemory | messages.Profile,
    ) -> messages.Reply | str:
        """The worker's reply, or why there is none."""
        nonlocal lost
        if lost is None:
            reply = pool.ask(request)
            if not isinstance(reply, messages.Refused):
                return reply
            if pool.workers:
                return reply.reason
            lost = f"the worker was lost over {request.case}: {reply.reason}"
        return lost

    for case in cases if plan.energy else ():
        match answer(messages.MeasureEnergy(case.id, ENERGY_S)):
            case messages.EnergyMeasured() as spent:
                on_event(events.CaseEnergy(case.id, spent))
            case str() as reason:
                on_event(events.CaseEnergy(case.id, reason=reason))
    for case in cases:
        match answer(messages.MeasureMemory(case.id)):
            case messages.MemoryMeasured(peak_bytes=peak):
                on_event(events.CaseMemory(case.id, peak))
            case str() as reason:
                on_event(events.CaseMemory(case.id, reason=reason))
    for case in cases:
        # Where a device has kernels, only a profiler shows how long it is at work.
        if plan.profiled or device_named(case.device).shows_kernels:
            match answer(messages.Profile(case.id, None if traces is None else str(traces))):
                case messages.Profiled(profile=profile):
                    on_event(events.CaseProfiled(case.id, profile))
                case str() as reason:
                    on_event(events.CaseProfiled(case.id, reason=reason))
