"""Limits: the least time a step can take on its machine, and what bounds it."""

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ..devices import kind_of
from ..matrix.case import WHOLE, Case, is_phase
from ..matrix.ceiling import products_dtype
from ..matrix.default_step import is_known
from ..protocol.profile import StepProfile
from ..records.run_file import CaseRecord, RunRecord
from ..stats.frame import RUN, axes_in
from .ceilings import Rates, Setting
from .costs import Op, as_run, fused, total

TERMS = ("overhead", "bandwidth", "compute")
"""What can bound a case. The least times of launching its operators, running autograd's nodes and
launching kernels; of moving each operator's operands at the bandwidth of a working set of that
size; and of all FLOP at the peak of matrix products in its dtype. They can overlap, so that the
limit is the largest of them."""
LIMITS = (
    *(f"{term}_ns" for term in TERMS),
    *("limit_ns", "bound", "fused_ns", "flops", "bytes", "basis"),
)
MODELLED, COUNTED, COMPILED = "modelled", "counted", "compiled"
"""Where the FLOP and bytes of a limit are from: a cost model, the operators that were counted, or
those of what is not compiled."""
NO_CEILINGS = (
    "no ceilings of this machine with so many threads, or not all that limits need (copies, op and "
    "node): measure them with `run --ceilings`, or with `ceilings` and name that file too"
)
NO_PROFILE = "no profile, which counts its operators: measure with `run --profile`"


def limit_frame(
    runs: Sequence[RunRecord],
    labels: Sequence[str],
    frame: pd.DataFrame,
    known: dict[Setting, Rates],
) -> pd.DataFrame:
    """A row for each run, case, and phase or whole step of it; `frame` is the tidy one.

    Columns: run, case, the axes, series, status, samples, flags, marks, measured_ns and
    measured_half (quiet), overhead_ns, bandwidth_ns, compute_ns, limit_ns (the largest of them),
    bound (its name), fused_ns (the limit if each phase were one operator with the least traffic; of
    a step with a cost model), flops, bytes, basis (MODELLED, COUNTED or COMPILED), reason (why
    there is no limit), headroom and fused_headroom (measured over each limit). NaN where unknown.
    """
    of_runs = zip(runs, labels, strict=True)
    records = {(label, case.id): case for run, label in of_runs for case in run.cases}
    chosen = [series == WHOLE or is_phase(series) for series in frame["series"]]
    timed = frame[chosen].reset_index(drop=True)
    limits = [
        _limits(
            records[row["run"], row["case"]],
            row["series"],
            known.get((row["run"], row["device"], row["threads"])),
        )
        for _, row in timed.iterrows()
    ]
    table = (
        timed[[RUN, "case", *axes_in(frame), "series", "status", "samples", "flags", "marks"]]
        .assign(measured_ns=timed["quiet_ns"], measured_half=timed["quiet_half"])
        .join(pd.DataFrame(limits, columns=[*LIMITS, "reason"]))
    )
    return table.assign(
        headroom=table["measured_ns"] / table["limit_ns"],
        fused_headroom=table["measured_ns"] / table["fused_ns"],
    )


def _limits(record: CaseRecord, series: str, rates: Rates | None) -> dict[str, Any]:
    """LIMITS, or the reason why there are none."""
    case, profile = record.case, record.profile
    dtype = products_dtype(case.dtype)
    if record.status != "ok":
        return {"reason": f"{record.status}: {record.reason}"}
    if rates is None:
        return {"reason": NO_CEILINGS}
    if profile is None:
        return {"reason": record.profile_reason or NO_PROFILE}
    if (peak := rates.peak(dtype)) is None:
        return {"reason": f"the ceilings lack matrix products in {dtype}"}
    overhead_ns = _overhead_ns(case, series, profile, rates)
    found = _modelled if is_known(case) else _counted
    ops, fewest, basis = found(record, series, profile)
    terms = _terms(ops, overhead_ns, rates, peak)
    bound = max(terms, key=terms.__getitem__)
    # A captured step is one launch.
    one_each_ns = min(len(fewest) * rates.op_ns, overhead_ns)
    least = max(_terms(fewest, one_each_ns, rates, peak).values()) if fewest else math.nan
    return {
        **{f"{term}_ns": time for term, time in terms.items()},
        "limit_ns": terms[bound],
        "bound": bound,
        "fused_ns": least,
        "flops": total(ops).flops,
        "bytes": math.nan if basis == COMPILED else total(ops).bytes,
        "basis": basis,
    }


Operators = tuple[list[Op], list[Op], str]
"""Of a series: its operators, those it would have were each phase one, and where they are from."""


def _modelled(record: CaseRecord, series: str, profile: StepProfile) -> Operators:
    verified = record.prepared and record.prepared.verified
    own = as_run(record.case, verified.path if verified else "", profile.state_elements)
    least = fused(record.case, profile.state_elements)
    phases = own if series == WHOLE else (series,)
    return (
        [op for phase in phases for op in own[phase]],
        [op for phase in phases for op in least[phase]],
        MODELLED,
    )


def _counted(record: CaseRecord, series: str, profile: StepProfile) -> Operators:
    """Of what torch compiled, the FLOP alone: which operators it made one of is not known."""
    ops: list[Op] = []
    phases = profile.phases if series == WHOLE else (series,)
    for phase in phases:
        work = profile.work[phase]
        ops.append(Op(work.flops, 0.0, work.flops))
        if not profile.phases[phase].compiled:
            for moved in work.moved:
                ops.append(Op(0.0, moved.bytes, times=moved.count))
    compiled = any(profile.phases[phase].compiled for phase in phases)
    return ops, [], COMPILED if compiled else COUNTED


def _terms(ops: Sequence[Op], overhead_ns: float, rates: Rates, peak: float) -> dict[str, float]:
    moving_s = sum(op.bytes / rates.bandwidth(op.bytes / op.times) for op in ops)
    computing_s = sum(op.flops for op in ops) / peak
    return dict(zip(TERMS, (overhead_ns, 1e9 * moving_s, 1e9 * computing_s), strict=True))


def _overhead_ns(case: Case, series: str, profile: StepProfile, rates: Rates) -> float:
    """The least time of the host; of a phase, only on a CPU.

    Elsewhere the host may launch a phase while the device runs the one before, so that only the
    whole step is bound by it.
    """
    if kind_of(case.device).asynchronous and series != WHOLE:
        return 0.0
    phases = profile.phases.values() if series == WHOLE else [profile.phases[series]]
    # Launches from C++ cost less than the measured one: they count only where the profile has
    # nothing else of the host, as for a captured step.
    return sum(
        phase.ops * rates.op_ns + phase.nodes * rates.node_ns or phase.launches * rates.launch_ns
        for phase in phases
    )
