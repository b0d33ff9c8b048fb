"""Any number of runs as one tidy frame: a row for each run, case and series."""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from ..devices import kind_of
from ..machine.circumstances import PLACE, PLAN, SYSTEM, VARIABLES, key
from ..matrix import default_step
from ..matrix.axes import Value, columns_of, word_of
from ..matrix.case import DISPATCH, THROUGHPUT, WHOLE, is_phase
from ..records.run_file import Blocks, CaseRecord, Drift, RunRecord
from . import estimates
from .drift import Means, estimated_drift
from .flags import flags
from .floors import Floors, floor_key, serving_floors

RUN = "run"
STATISTICS = tuple(estimates.DRIFT)
UNKNOWN = estimates.Estimate(math.nan, math.nan)
QUIET = "quiet"
FEW, BUSY, SLOW = "few", "busy", "slow"
"""Marks of a quiet time: see `_marks`."""
HOST_BOUND = 0.9
"""A device that is at work for less of a step than this may be waiting for its host."""
KEPT_BUSY = 0.5
"""A host that is busy for less of a step than this is not what is waited for.

A CUDA graph's kernels may leave gaps of their own.
"""


def tidy(runs: Sequence[RunRecord], labels: Sequence[str], *, pooled: bool = True) -> pd.DataFrame:
    """The frame. Times in nanoseconds, half-widths as logarithms; NaN where there is no estimate.

    Where enough of the runs are of one plan, their drift is estimated from them, unless `pooled`
    is False: then it is what each run's file has, else the assumption.

    A case whose status is not ok has no estimate, whatever was measured before it broke.

    Columns: run, machine, torch, environment, case, the axes, series, status, samples (examples
    that a step trains on; NaN where that is not known), reason, replicates, quiet_replicates (that
    came near the serving floor), quiet_share, quiet_ns, quiet_half,
    quiet_drift (standard deviation of the drift in it), quiet_drift_half (of an interval of drift
    alone), quiet_drift_runs (how many runs it is estimated from; 0 where it is assumed), the same
    for typical_, high_ns (the median block's 90th percentile), floors (those that serve its case,
    nanoseconds), slower (how many times slower than its best the machine was at those), marks (of
    the quiet time: see `_marks`), and of the whole case busy_ns (how long a step keeps its device
    at work), peak_bytes (the most memory that training takes), peak_reason (why that is not known),
    flags (word to sentence: what makes its times doubtful), joules (for a million samples),
    energy_reason (why there are none), energy_unchecked (why they may be wrong) and host_bound
    (None on a CPU, where host and device are one).
    """
    floors = serving_floors(runs)
    axes = columns_of(case.case.own_values for run in runs for case in run.cases)
    evidence = [_evidence(*each, axes) for each in zip(runs, labels, floors, strict=True)]
    rows: list[dict[str, Any]] = []
    measured = _measured_drifts(runs, floors, evidence) if pooled else {}
    assumed = {name: estimates.assumed_drift(name) for name in STATISTICS}
    for run, of_run in zip(runs, evidence, strict=True):
        sources = (measured.get(_plan(run), {}), run.drift, assumed)
        drifts = {
            name: max((of[name] for of in sources if name in of), key=lambda drift: drift.runs)
            for name in STATISTICS
        }
        for name in STATISTICS:
            found = estimates.estimates([row.pop(name) for row in of_run], drifts[name])
            for row, estimate in zip(of_run, found, strict=True):
                known = estimate if estimate is not None and row["status"] == "ok" else UNKNOWN
                row |= {
                    f"{name}_ns": known.time_ns,
                    f"{name}_half": known.half_width,
                    f"{name}_drift": drifts[name].deviation,
                    f"{name}_drift_half": estimates.drift_half(drifts[name]),
                    f"{name}_drift_runs": drifts[name].runs,
                }
        rows += of_run
    frame = pd.DataFrame(rows)
    frame["host_bound"] = _host_bound(frame)
    return frame


def varying(frame: pd.DataFrame, among: Sequence[str] | None = None) -> list[str]:
    """The dimensions in which the frame's cases differ; of any other frame, the columns `among`."""
    names = dimensions(frame) if among is None else among
    return [name for name in names if frame[name].nunique() > 1]


def dimensions(frame: pd.DataFrame) -> list[str]:
    """What the frame's cases can be compared by: their run and their axes."""
    return [RUN, *axes_in(frame)]


def axes_in(frame: pd.DataFrame) -> list[str]:
    """The axes of the frame's cases, which lie between `case` and `series`."""
    columns = list(frame.columns)
    return columns[columns.index("case") + 1 : columns.index("series")]


def sizes_in(frame: pd.DataFrame) -> list[str]:
    """The first of each step's own axes, such as the batch."""
    axes = axes_in(frame)
    return axes[axes.index("dtype") + 1 : axes.index("optimizer")]


def samples_axis(frame: pd.DataFrame) -> str | None:
    """The axis that says how many samples a step trains on; None where no axis does for all."""
    same = (name for name in axes_in(frame) if (frame[name] == frame["samples"]).all())
    return next(same, None)


def phases_in(frame: pd.DataFrame) -> list[str]:
    """The phases that any of the frame's cases has."""
    return [name for name in dict.fromkeys(frame["series"]) if is_phase(name)]


def drift_of(run: RunRecord, others: Sequence[RunRecord]) -> dict[str, Drift]:
    """The drift among the runs of this one's plan on its machine, itself the newest.

    Statistic to it; empty where the runs are too few.
    """
    runs = [*(other for other in others if _plan(other) == _plan(run)), run]
    floors = serving_floors(runs)
    evidence = [_evidence(each, "", of_run, ()) for each, of_run in zip(runs, floors, strict=True)]
    return _measured_drifts(runs, floors, evidence).get(_plan(run), {})


def steps(frame: pd.DataFrame, statistic: str) -> pd.DataFrame:
    """One row for each case that has a time: of a step among many, as training does them.

    On an asynchronous device that is its throughput, else the whole step.
    """
    chosen = frame[frame["series"].isin((WHOLE, THROUGHPUT)) & frame[f"{statistic}_ns"].notna()]
    order = chosen.assign(last=chosen["series"] == THROUGHPUT).sort_values("last", kind="stable")
    return order.drop_duplicates(["run", "case"], keep="last").drop(columns="last").sort_index()


Evidence = list[dict[str, Any]]
"""The rows of a run, in which each statistic is still the list of its replicates' times."""


def _plan(run: RunRecord) -> tuple[object, ...]:
    """Runs that agree in this have one drift."""
    return key(run, (*PLACE, *PLAN, *VARIABLES))


@dataclass(frozen=True)
class Replicate:
    """One worker's evidence for one series, nanoseconds.

    `quiet` says whether it came near the floor often enough; where it did not, `quiet_ns` is of
    the blocks in which it came nearest.
    """

    quiet: bool
    quiet_ns: float
    typical_ns: float
    high_ns: float
    quiet_share: float


def replicate_of(
    worker: Blocks, series: str, floors: Mapping[str, int], on_host: bool
) -> Replicate:
    """The evidence of one worker's blocks; `floors` are those of its reference loops.

    `on_host`: whether what slows the reference loops, which run on the host, slows the series.
    """
    slow = estimates.slowness(worker.readings_ns, floors)
    quiet = estimates.quiet_blocks(slow)
    enough = bool(quiet.sum() >= estimates.MIN_QUIET_BLOCKS)
    chosen = quiet if enough else estimates.quietest_blocks(slow)
    p10_ns = np.asarray(worker.p10_ns[series], float)[chosen]
    at_best_speed = p10_ns / (slow[chosen] if on_host else 1.0)
    return Replicate(
        quiet=enough,
        quiet_ns=float(np.median(at_best_speed)),
        typical_ns=worker.p50_ns[series],
        high_ns=worker.p90_ns[series],
        quiet_share=float(quiet.mean()),
    )


def _evidence(run: RunRecord, label: str, floors: Floors, axes: Sequence[str]) -> Evidence:
    """`axes` are those of all runs; a case has nothing for one that its step lacks."""
    rows: list[dict[str, Any]] = []
    for record in run.cases:
        case, ok = record.case, record.status == "ok"
        blocks = list(itertools.chain.from_iterable(record.blocks.values()))
        serving = {
            name: floors[floor_key(run, case, name)]
            for name in {name for worker in blocks for name in worker.readings_ns}
        }
        valid = {name: floor.serving_ns for name, floor in serving.items()}
        slower = estimates.geometric_mean([floor.slower for floor in serving.values()])
        at_s = [at / 1000 for worker in blocks for at in worker.at_ms]
        samples = samples_of(record)
        busy_ns = None if record.profile is None else record.profile.busy_ns
        identity = {
            "run": label,
            "machine": run.machine.label,
            "torch": run.machine.torch,
            "environment": run.plan.environment,
            "case": record.id,
            **{name: _cell(case.axes.get(name, "")) for name in axes},
        }
        of_case = {
            "status": record.status,
            "samples": np.nan if samples is None else float(samples),
            "floors": valid,
            "slower": slower,
            "busy_ns": np.nan if busy_ns is None else float(busy_ns),
            "peak_bytes": np.nan if record.peak_bytes is None else float(record.peak_bytes),
            "peak_reason": record.peak_reason,
            "flags": flags(run.health, at_s, run.machine.cores) if ok else {},
            "joules": _joules(record),
            "energy_reason": record.energy_reason,
            "energy_unchecked": record.energy and record.energy.unchecked,
        }
        for series in case.series:
            workers = [worker for worker in blocks if series in worker.p10_ns]
            whole = [worker for worker in workers if len(worker) >= estimates.MIN_BLOCKS]
            replicates = [
                replicate_of(worker, series, valid, on_host=not kind_of(case.device).asynchronous)
                for worker in whole or workers
            ]
            quiet = [r.quiet_ns for r in replicates if r.quiet]
            enough = len(quiet) >= estimates.MIN_REPLICATES
            rows.append(
                {
                    **identity,
                    "series": series,
                    **of_case,
                    "reason": _reason(record, series),
                    "replicates": len(replicates),
                    "quiet_replicates": len(quiet),
                    "quiet_share": _mean([r.quiet_share for r in replicates]),
                    "quiet": quiet if enough else [r.quiet_ns for r in replicates],
                    "typical": [r.typical_ns for r in replicates],
                    "high_ns": _mean([r.high_ns for r in replicates if ok]),
                    "marks": _marks(len(replicates), len(quiet), slower),
                }
            )
    return rows


def _cell(value: Value) -> Value:
    """A value of an axis, of one that is true or false the word."""
    return word_of(value) if isinstance(value, bool) else value


def _reason(record: CaseRecord, series: str) -> str | None:
    """Why a case's series has no time, where the run knows."""
    if record.status == "ok" and is_phase(series) and record.phases_reason is not None:
        return f"no phases: {record.phases_reason}"
    return record.reason


def _marks(replicates: int, quiet: int, slower: float) -> tuple[str, ...]:
    """What a reader has to know of a quiet time.

    FEW: it has fewer than MIN_REPLICATES replicates. BUSY: in fewer than that, or not in all of
    those few, the machine came near the speed that it refers to. SLOW: that speed is not the best
    it has shown.
    """
    found = {
        FEW: 0 < replicates < estimates.MIN_REPLICATES,
        BUSY: quiet < min(replicates, estimates.MIN_REPLICATES),
        SLOW: slower > 1,
    }
    return tuple(mark for mark, holds in found.items() if holds)


def _measured_drifts(
    runs: Sequence[RunRecord], floors: Sequence[Floors], evidence: Sequence[Evidence]
) -> dict[object, dict[str, Drift]]:
    """Plan to statistic to the drift among its complete runs, where they are enough.

    Runs of another code, operating system or state of the machine may differ by that: each set
    has a drift of its own.
    """
    plans: dict[object, dict[object, list[Evidence]]] = {}
    for run, of_run, rows in zip(runs, floors, evidence, strict=True):
        if run.complete:
            speed = tuple(sorted((name, floor.serving_ns) for name, floor in of_run.items()))
            alike = plans.setdefault(_plan(run), {})
            alike.setdefault((key(run, ("code", *SYSTEM)), speed), []).append(rows)
    found: dict[object, dict[str, Drift]] = {}
    for plan, groups in plans.items():
        for name in STATISTICS:
            means = [[_means(rows, name) for rows in group] for group in groups.values()]
            if drift := estimated_drift(
                [list(filter(None, runs_of)) for runs_of in means], estimates.assumed_drift(name)
            ):
                found.setdefault(plan, {})[name] = drift
    return found


def _means(rows: Evidence, statistic: str) -> Means:
    """Each series' mean log time and its variance, where replicates are enough for it."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for row in rows:
        times = np.log(np.asarray(row[statistic], float))
        usable = row["status"] == "ok" and len(times) >= estimates.MIN_REPLICATES
        if statistic == QUIET:
            usable &= BUSY not in row["marks"]
        if usable:
            variance = float(times.var(ddof=1)) / len(times)
            found[row["case"], row["series"]] = float(times.mean()), variance
    return found


def _host_bound(frame: pd.DataFrame) -> list[bool | None]:
    """For each row, whether its case's steps wait for the host; None where that is not known.

    The host must need about as long to launch a step as the device takes from the step's first
    kernel to its last; and where a profiler saw them, kernels must leave the device idle between.
    """
    names = list(zip(frame["run"], frame["case"], strict=True))
    times = dict(zip(zip(names, frame["series"], strict=True), frame["typical_ns"], strict=True))
    bound: list[bool | None] = []
    for name, busy in zip(names, frame["busy_ns"], strict=True):
        dispatch, span = (times.get((name, series), math.nan) for series in (DISPATCH, WHOLE))
        idle = math.isnan(busy) or busy < HOST_BOUND * span
        known = not math.isnan(dispatch + span)
        bound.append(bool(idle and dispatch > KEPT_BUSY * span) if known else None)
    return bound


def _joules(case: CaseRecord) -> float:
    """For a million samples."""
    spent, samples = case.energy, samples_of(case)
    if spent is None or samples is None:
        return math.nan
    return 1e6 * spent.joules / (spent.steps * samples)


def samples_of(record: CaseRecord) -> int | None:
    """Examples that a step of the case trains on; None where its step does not say."""
    verified = record.prepared and record.prepared.verified
    if verified and verified.samples:
        return verified.samples
    # Runs from before steps said so are of the default step.
    return default_step.samples(record.case) if default_step.is_known(record.case) else None


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else np.nan
