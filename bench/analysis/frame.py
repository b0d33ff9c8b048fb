"""Any number of runs as one tidy frame: a row for each run, case and series."""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.stats import (
    MIN_QUIET_BLOCKS,
    MIN_REPLICATES,
    Estimate,
    estimates,
    floor_of,
    quiet_blocks,
)
from bench.matrix.case import SERIES
from bench.records.schema import Blocks, CaseRecord, RunRecord

STATISTICS = ("quiet", "typical")


def heard_floors(run: RunRecord) -> dict[str, int]:
    """This run's own floors, nanoseconds, by the metronome and what else its speed depends on."""
    readings: dict[str, list[int]] = {}
    for case in run.cases:
        for blocks in case.blocks.values():
            for worker in blocks:
                heard = readings.setdefault(floor_key(run, case), [])
                heard += worker.before_ns + worker.after_ns
    return {key: floor_of(values) for key, values in sorted(readings.items())}


def floor_key(run: RunRecord, case: CaseRecord) -> str:
    """What a floor is valid for, within one version of metronome and software."""
    return f"{case.metronome}, t{case.axes['threads']}, {run.plan.environment}"


def software_key(run: RunRecord) -> tuple[object, ...]:
    """Runs of one key may share floors."""
    machine = run.machine
    return machine.name, machine.torch, machine.python, run.metronome_version


def tidy(runs: Sequence[RunRecord], labels: Sequence[str]) -> pd.DataFrame:
    """The frame. Times in nanoseconds, half-widths as logarithms; NaN where there is no estimate.

    Columns: run, machine, torch, environment, case, the axes, series, status, reason, replicates,
    quiet_replicates, quiet_share, quiet_ns, quiet_half, typical_ns, typical_half, high_ns (the
    median block's 90th percentile).
    """
    floors = _shared_floors(runs)
    rows: list[dict[str, Any]] = []
    for run, label in zip(runs, labels, strict=True):
        rows += _rows_of(run, label, floors[software_key(run)])
    return pd.DataFrame(rows)


def _shared_floors(runs: Iterable[RunRecord]) -> dict[tuple[object, ...], dict[str, int]]:
    """The best floor that any of these runs knew of, for each machine and software."""
    shared: dict[tuple[object, ...], dict[str, int]] = {}
    for run in runs:
        best = shared.setdefault(software_key(run), {})
        for known in (run.floors_ns, heard_floors(run)):
            for key, value in known.items():
                best[key] = min(value, best.get(key, value))
    return shared


def _rows_of(run: RunRecord, label: str, floors: dict[str, int]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    quiet: list[list[float]] = []
    typical: list[list[float]] = []
    for case in run.cases:
        kind_of = {s: ws for ws in case.blocks.values() for s in ws[0].percentiles_ns}
        for series in SERIES:
            workers = kind_of.get(series, [])
            masks = [
                quiet_blocks(w.before_ns, w.after_ns, floors[floor_key(run, case)]) for w in workers
            ]
            quiet.append(
                [
                    float(np.median(np.asarray(w.percentiles_ns[series]["p10"])[mask]))
                    for w, mask in zip(workers, masks, strict=True)
                    if mask.sum() >= MIN_QUIET_BLOCKS
                ]
            )
            typical.append([_median(w, series, "p50") for w in workers])
            high = [_median(w, series, "p90") for w in workers]
            rows.append(
                {
                    "run": label,
                    "machine": run.machine.name,
                    "torch": run.machine.torch,
                    "environment": run.plan.environment,
                    "case": case.id,
                    **case.axes,
                    "series": series,
                    "status": case.status,
                    "reason": case.reason,
                    "replicates": len(workers),
                    "quiet_replicates": len(quiet[-1]),
                    "quiet_share": float(np.concatenate(masks).mean()) if masks else np.nan,
                    "high_ns": float(np.exp(np.log(high).mean())) if high else np.nan,
                }
            )
    for name, replicates in (("quiet", quiet), ("typical", typical)):
        for row, estimate in zip(rows, estimates(replicates), strict=True):
            row |= _columns(name, estimate)
    return rows


def _median(worker: Blocks, series: str, percentile: str) -> float:
    return float(np.median(worker.percentiles_ns[series][percentile]))


def _columns(name: str, estimate: Estimate | None) -> dict[str, float]:
    if estimate is None:
        return {f"{name}_ns": np.nan, f"{name}_half": np.nan}
    return {f"{name}_ns": estimate.time_ns, f"{name}_half": estimate.half_width}


def missing_reason(row: "pd.Series[Any]") -> str:
    """Why a measured row has no quiet time."""
    if row["replicates"] < MIN_REPLICATES:
        return f"{row['replicates']} of the {MIN_REPLICATES} replicates an estimate needs"
    return (
        f"the machine was quiet in {row['quiet_replicates']} of {row['replicates']} replicates, "
        f"an estimate needs {MIN_REPLICATES}"
    )
