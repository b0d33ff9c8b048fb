"""What profiles show, as tables: phases, and the operators that take most of them."""

import math

from ..protocol.profile import PhaseProfile, StepProfile
from ..report.view import Row, Table, Worth
from ..units import duration, memory, rate, share

OPERATORS = 5
"""Shown of each phase."""
ABOUT = (
    "Shares are of time under the profiler, which slows a step: they are no timings. Counts are "
    "exact. ops: operators called from Python that compute. nodes: autograd nodes that compute. in "
    "operators: the rest is Python and bookkeeping. FLOP of matrix products and bytes of operands "
    "are counted in eager operators."
)
WORTH: Worth = (
    ("allocations", "allocated", "peak allocated"),
    ("FLOP", "bytes"),
    ("launches", "kernels"),
    ("kernel time", "busy"),
    ("ops", "nodes"),
    ("in operators",),
)


def profile_tables(case: str, profile: StepProfile, step_ns: float) -> list[Table]:
    """The phases of a case, below its id and what follows from them; then the operators.

    `step_ns` is a step's time without the profiler.
    """
    phases = [_phase_row(name, phase, profile, step_ns) for name, phase in profile.phases.items()]
    operators: list[Row] = [
        {
            "phase": name,
            "operator": operator.name,
            "calls": operator.calls,
            "self share": share(operator.share),
        }
        for name, phase in profile.phases.items()
        for operator in phase.operators[:OPERATORS]
    ]
    tables = [Table(phases, WORTH, above=[case, *profile_advice(profile)])]
    return [*tables, Table(operators, [("calls",)])] if operators else tables


def profile_advice(profile: StepProfile) -> list[str]:
    """At most three sentences on a case's profile, each backed by its numbers."""
    name, phase = max(profile.phases.items(), key=lambda item: item[1].share)
    outside = 1 - phase.in_operators
    sentences = []
    if len(profile.phases) > 1:
        sentences.append(f"{name} is the largest phase, {phase.share:.0%} of the step.")
    if outside >= phase.in_operators:
        sentences.append(
            f"{outside:.0%} of {name} is outside its operators, in Python and bookkeeping."
        )
    elif phase.operators:
        top = phase.operators[0]
        sentences.append(f"{top.name} alone is {top.share:.0%} of {name}, in {top.calls} calls.")
    calls = {phase_name: of.ops + of.nodes for phase_name, of in profile.phases.items()}
    most, total = max(calls, key=calls.__getitem__), sum(calls.values())
    if calls[most] > math.ceil(total / 2) and len(calls) > 1:
        sentences.append(
            f"{most} launches {calls[most]} of the step's {total} operators and nodes."
        )
    return sentences


def _phase_row(name: str, phase: PhaseProfile, profile: StepProfile, step_ns: float) -> Row:
    work = profile.work[name]
    row: Row = {
        "phase": name,
        "share": share(phase.share),
        "in operators": share(phase.in_operators),
        "ops": phase.ops,
        "nodes": phase.nodes,
    }
    if phase.kernels_ns is not None:
        row |= {
            "launches": phase.launches,
            "kernels": phase.kernels,
            "kernel time": duration(phase.kernels_ns),
            "busy": share((phase.busy_ns or 0) / step_ns),
        }
    if phase.allocations is not None:
        row |= {
            "allocations": phase.allocations,
            "allocated": memory(phase.allocated_bytes or 0),
            "peak allocated": memory(phase.peak_bytes or 0),
        }
    return row | {"FLOP": rate(work.flops), "bytes": memory(work.bytes)}
