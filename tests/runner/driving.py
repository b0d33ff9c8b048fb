"""Driving a coordinator, and reading what it reported."""

from collections import Counter
from pathlib import Path
from typing import Any, TypeVar

from bench.matrix.case import Case
from bench.matrix.plan import Plan
from bench.protocol.messages import kinds_of
from bench.runner.coordinator import Coordinator, ResumeState
from bench.runner.events import (
    BlockMeasured,
    CaseEnded,
    Event,
    ReplicateDone,
    WorkerStarted,
)
from bench.runner.pool import Deadlines
from bench.runner.process import Side
from bench.runner.schedule import MIN_SWEEPS
from tests.cases import sumnet

T = TypeVar("T", bound=Event)

CASES = [sumnet(batch=batch) for batch in (2, 64, 1024)]
FIRST, WRONG, LAST = (case.id for case in CASES)
MINIMUM = MIN_SWEEPS * len(kinds_of(sumnet()))
"""Blocks that each of CASES has of each replicate when there is no time for more."""

GPUS = 'ACCELERATORS = {"cuda": 2 * (DeviceFacts(name="a GPU", memory_bytes=2**33),)}\n'
"""What makes a fake worker see two CUDA devices."""


def gpus_lost(when: str) -> str:
    """Fake workers see two CUDA devices and cannot use the first `when` that holds of their place
    among all that were started, `place`."""
    return f"""{GPUS}
place, well_facts = number(), facts

def facts():
    seen = well_facts()
    lost = DEVICE == "cuda" and ({when})
    return seen.without("cuda", "no context on " + str(Path.home())) if lost else seen
"""


UNCLEAR = """
from bench.protocol.messages import PHASES_KIND, PhasesRefused
clear_block, phases = block, 0

def block(request):
    global phases
    unclear = request.kind == PHASES_KIND and "{}" in request.case
    phases += unclear
    return PhasesRefused(request.case, "no") if unclear and phases > 2 else clear_block(request)
"""
"""What makes a fake worker refuse the phases of some cases, named in part, from the third block."""


def plan(cases: list[Case] = CASES, replicates: int = 1, budget_s: float = 0, **more: Any) -> Plan:
    return Plan(cases, replicates, budget_s, **more)


def measure(
    plan: Plan,
    side: Side,
    settled: ResumeState | None = None,
    deadlines: Deadlines | None = None,
    events: list[Event] | None = None,
    traces: Path | None = None,
) -> list[Event]:
    events = [] if events is None else events
    Coordinator(
        plan, events.append, side=side, settled=settled, deadlines=deadlines, traces=traces
    ).measure()
    return events


def only(kind: type[T], events: list[Event]) -> list[T]:
    return [event for event in events if isinstance(event, kind)]


def replicates_done(events: list[Event]) -> list[tuple[int, int]]:
    """Replicate and group of each that was reported as done."""
    return [(event.replicate, event.group) for event in only(ReplicateDone, events)]


def blocks(events: list[Event]) -> Counter[str]:
    """Case or ceiling to how many blocks it has."""
    return Counter(event.block.case for event in only(BlockMeasured, events))


def ended(events: list[Event]) -> dict[str, tuple[str, str]]:
    """Case to how it ended and why."""
    reported = only(CaseEnded, events)
    assert len({event.case for event in reported}) == len(reported), "each is reported once"
    return {event.case: (event.status, event.reason) for event in reported}


def workers(events: list[Event]) -> list[int]:
    return [event.worker for event in only(WorkerStarted, events)]


def sweeps(events: list[Event]) -> list[list[tuple[str, str]]]:
    """The order of cases and kinds in each sweep, where no case ended."""
    order = [(event.block.case, event.block.kind) for event in only(BlockMeasured, events)]
    size = len(set(order))
    return [order[start : start + size] for start in range(0, len(order), size)]
