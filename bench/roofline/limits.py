"""How far a step is from what its machine could do: the least time it can take, and why."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pandas as pd

from bench.matrix.case import PHASES, WHOLE, Case
from bench.matrix.ceiling import products_dtype
from bench.protocol.profile import PhaseProfile, StepProfile
from bench.records.run_file import CaseRecord, RunRecord
from bench.roofline.ceilings import Rates, Setting
from bench.roofline.costs import Op, as_run, fused, total

TERMS = ("overhead", "bandwidth", "compute")
"""What can bound a case."""
LIMITED = (*PHASES, WHOLE)

NO_CEILINGS = (
    "no ceilings of this machine with so many threads, or not all that limits need (copies, op and "
    "node): measure them with `run --ceilings`, or with `ceilings` and name that file too"
)
NO_PROFILE = "it was not profiled, which counts its operators: measure with `run --profile`"


class Terms(NamedTuple):
    """The least time that each thing a stretch of a step needs takes, nanoseconds."""

    overhead: float = 0.0
    """Giving out its operators, going through autograd's nodes, launching kernels."""
    bandwidth: float = 0.0
    """Moving each operator's operands at the bandwidth of a working set of that size."""
    compute: float = 0.0
    """All FLOP at the peak of the products' dtype."""

    @property
    def limit(self) -> float:
        """They can overlap, so the largest alone is sure to pass."""
        return max(self)

    @property
    def bound(self) -> str:
        return TERMS[self.index(self.limit)]


def limit_frame(
    runs: Sequence[RunRecord],
    labels: Sequence[str],
    frame: pd.DataFrame,
    known: dict[Setting, Rates],
) -> pd.DataFrame:
    """A row for each run, case and series of LIMITED that the case has; `frame` is the tidy one.

    Columns: run, case, the axes, series, status, flags, marks, measured_ns and measured_half
    (quiet), overhead_ns, bandwidth_ns, compute_ns, limit_ns (the largest of them), bound (its
    name), headroom (measured over limit), fused_ns and fused_headroom (the same were each phase one
    operator with the least traffic), flops, bytes, and reason, why there is no limit. NaN for what
    is not known.
    """
    timed = {(row["run"], row["case"], row["series"]): row for _, row in frame.iterrows()}
    rows: list[dict[str, Any]] = []
    for run, label in zip(runs, labels, strict=True):
        for record in run.cases:
            case = msgspec.convert(record.axes, Case)
            rates = known.get((label, case.device, case.threads))
            for series, limits in _limits(case, record, rates).items():
                row = timed[label, record.id, series]
                time = row["quiet_ns"]
                rows.append(
                    {
                        "run": label,
                        "case": record.id,
                        **record.axes,
                        "series": series,
                        "status": record.status,
                        "flags": row["flags"],
                        "marks": row["marks"],
                        "measured_ns": time,
                        "measured_half": row["quiet_half"],
                        **limits,
                        "headroom": time / limits["limit_ns"],
                        "fused_headroom": time / limits["fused_ns"],
                    }
                )
    return pd.DataFrame(rows)


def _limits(case: Case, record: CaseRecord, rates: Rates | None) -> dict[str, dict[str, Any]]:
    """Series to its limits."""
    series = [name for name in LIMITED if name in case.series]
    peak = None if rates is None else rates.peak(products_dtype(case.dtype))
    reason = None
    if record.status != "ok":
        reason = f"{record.status}: {record.reason}"
    elif rates is None:
        reason = NO_CEILINGS
    elif record.profile is None:
        reason = record.profile_reason or NO_PROFILE
    elif peak is None:
        reason = f"the ceilings lack products in {products_dtype(case.dtype)}"
    if reason is not None or rates is None or peak is None or record.profile is None:
        numbers = ("overhead_ns", "bandwidth_ns", "compute_ns", "limit_ns", "fused_ns")
        unknown = dict.fromkeys((*numbers, "flops", "bytes"), np.nan)
        return {name: {**unknown, "bound": None, "reason": reason} for name in series}
    profile = record.profile
    verified = record.prepared and record.prepared.verified
    own = as_run(case, verified.path if verified else "", profile.state_elements)
    least = fused(case, profile.state_elements)
    found: dict[str, dict[str, Any]] = {}
    for name in series:
        phases = PHASES if name == WHOLE else (name,)
        ops = [op for phase in phases for op in own[phase]]
        overhead_ns = _overhead_ns(case, name, profile, rates)
        terms = _terms(ops, overhead_ns, rates, peak)
        fewest = [op for phase in phases for op in least[phase]]
        one_each = min(len(phases) * rates.op_ns, overhead_ns)  # a captured step is one launch
        found[name] = {
            **{f"{term}_ns": value for term, value in zip(TERMS, terms, strict=True)},
            "limit_ns": terms.limit,
            "bound": terms.bound,
            "fused_ns": _terms(fewest, one_each, rates, peak).limit,
            "flops": total(ops).flops,
            "bytes": total(ops).bytes,
            "reason": None,
        }
    return found


def _terms(ops: Sequence[Op], overhead_ns: float, rates: Rates, peak: float) -> Terms:
    moving_s = sum(op.bytes / rates.bandwidth(op.bytes) for op in ops)
    return Terms(overhead_ns, 1e9 * moving_s, 1e9 * sum(op.flops for op in ops) / peak)


def _overhead_ns(case: Case, series: str, profile: StepProfile, rates: Rates) -> float:
    """What the host must do at least; a phase's, where the device waits for its host in each.

    Elsewhere the host may give a phase out while the device is at the one before, so that only the
    whole step is sure to take as long.
    """
    if case.kind != "cpu" and series != WHOLE:
        return 0.0
    phases = profile.phases.values() if series == WHOLE else [profile.phases[series]]
    return sum(_phase_overhead_ns(phase, rates) for phase in phases)


def _phase_overhead_ns(phase: PhaseProfile, rates: Rates) -> float:
    giving_out = phase.ops * rates.op_ns + phase.nodes * rates.node_ns
    # Launches from C++ cost less than the one that is priced: only where nothing else is seen of
    # what the host does, as of a captured step, do they count.
    return giving_out or phase.launches * rates.launch_ns
