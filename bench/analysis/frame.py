"""Any number of runs as one tidy frame: a row for each run, case and series."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
import pandas as pd

from bench.analysis.health import doubts
from bench.analysis.stats import (
    DRIFT,
    MIN_BLOCKS,
    MIN_QUIET_BLOCKS,
    MIN_REPLICATES,
    Estimate,
    estimates,
    floor_of,
    quiet_blocks,
    slowness,
)
from bench.matrix.axes import Value
from bench.matrix.case import DISPATCH, WHOLE, Case
from bench.records.schema import Blocks, CaseRecord, RunRecord

STATISTICS = tuple(DRIFT)
HOST_BOUND = 0.9
"""A device that is at work for less of a step than this may be waiting for its host."""
KEPT_BUSY = 0.5
"""A host that is busy for less of a step than this is not what is waited for.

A CUDA graph's kernels may leave gaps of their own.
"""


def heard_floors(run: RunRecord) -> dict[str, int]:
    """This run's own floors, nanoseconds, by the metronome and what else its speed depends on."""
    heard: dict[str, list[int]] = {}

    def hear(workers: Iterable[Blocks], device: Value, threads: Value) -> None:
        for blocks in workers:
            for name, readings in blocks.readings_ns.items():
                key = floor_key(run, device, threads, name)
                heard.setdefault(key, []).extend(readings)

    for case in run.cases:
        for workers in case.blocks.values():
            hear(workers, case.axes["device"], case.axes["threads"])
    for above in run.ceilings:
        hear(above.blocks, above.ceiling.device, above.ceiling.threads)
    return {key: floor_of(values) for key, values in sorted(heard.items())}


def floor_key(run: RunRecord, device: Value, threads: Value, metronome: str) -> str:
    """What a floor is valid for, within one version of metronome and software."""
    key = f"{metronome}, t{threads}, {run.plan.environment}"
    return key if device == "cpu" else f"{key}, {device}"  # whose workers are not pinned


def software_key(run: RunRecord) -> tuple[object, ...]:
    """Runs of one key may share floors."""
    machine = run.machine
    return machine.name, machine.torch, machine.python, run.metronome_version


def tidy(runs: Sequence[RunRecord], labels: Sequence[str]) -> pd.DataFrame:
    """The frame. Times in nanoseconds, half-widths as logarithms; NaN where there is no estimate.

    A case whose status is not ok has no estimate, whatever was measured before it broke.

    Columns: run, machine, torch, environment, case, the axes, series, status, reason, replicates,
    quiet_replicates, quiet_share, quiet_ns, quiet_half, typical_ns, typical_half, high_ns (the
    median block's 90th percentile), and of the whole case busy_ns (how long a step keeps its device
    at work), doubts (word to sentence: what makes its times doubtful), joules (for a million
    samples), energy_reason and host_bound (None on a CPU, where host and device are one).
    """
    floors = shared_floors(runs)
    rows: list[dict[str, Any]] = []
    for run, label in zip(runs, labels, strict=True):
        rows += _rows_of(run, label, floors[software_key(run)])
    frame = pd.DataFrame(rows)
    frame["host_bound"] = _host_bound(frame)
    return frame


def shared_floors(runs: Iterable[RunRecord]) -> dict[tuple[object, ...], dict[str, int]]:
    """The best floor that any of these runs knew of, for each machine and software."""
    shared: dict[tuple[object, ...], dict[str, int]] = {}
    for run in runs:
        best = shared.setdefault(software_key(run), {})
        for known in (run.floors_ns, heard_floors(run)):
            for key, value in known.items():
                best[key] = min(value, best.get(key, value))
    return shared


@dataclass(frozen=True)
class Replicate:
    """One worker's evidence for one series, nanoseconds; `quiet_ns` is None if it got no quiet."""

    quiet_ns: float | None
    typical_ns: float
    high_ns: float
    quiet_share: float


def replicate_of(worker: Blocks, series: str, floors: dict[str, int], on_host: bool) -> Replicate:
    """The evidence of one worker's blocks; `floors` are those of the metronomes it heard.

    `on_host`: whether what slows the metronomes, which run on the host, slows the series.
    """
    slow = slowness(worker.readings_ns, floors)
    quiet = quiet_blocks(slow)
    percentiles = {name: np.asarray(v, float) for name, v in worker.percentiles_ns[series].items()}
    at_best_speed = percentiles["p10"][quiet] / (slow[quiet] if on_host else 1.0)
    return Replicate(
        quiet_ns=float(np.median(at_best_speed)) if quiet.sum() >= MIN_QUIET_BLOCKS else None,
        typical_ns=float(np.median(percentiles["p50"])),
        high_ns=float(np.median(percentiles["p90"])),
        quiet_share=float(quiet.mean()),
    )


def _rows_of(run: RunRecord, label: str, floors: dict[str, int]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    times: dict[str, list[list[float]]] = {name: [] for name in STATISTICS}
    for case in run.cases:
        kind_of = {s: ws for ws in case.blocks.values() for s in ws[0].percentiles_ns}
        device, threads = case.axes["device"], case.axes["threads"]
        valid = {name: floors[floor_key(run, device, threads, name)] for name in _heard(case)}
        on_host = device == "cpu"
        doubtful = (
            doubts(run.health, _moments(case), run.machine.cores) if case.status == "ok" else {}
        )
        for series in msgspec.convert(case.axes, Case).series:
            replicates = [
                replicate_of(worker, series, valid, on_host)
                for worker in kind_of.get(series, [])
                if len(worker.at_s) >= MIN_BLOCKS
            ]
            quiet = [r.quiet_ns for r in replicates if r.quiet_ns is not None]
            times["quiet"].append(quiet)
            times["typical"].append([r.typical_ns for r in replicates])
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
                    "replicates": len(replicates),
                    "quiet_replicates": len(quiet),
                    "quiet_share": _mean([r.quiet_share for r in replicates]),
                    "high_ns": _mean([r.high_ns for r in replicates if case.status == "ok"]),
                    "busy_ns": _busy_ns(case),
                    "doubts": doubtful,
                    "joules": _joules(case),
                    "energy_reason": case.energy_reason,
                }
            )
    for name, replicates_of in times.items():
        for row, estimate in zip(rows, estimates(replicates_of, DRIFT[name]), strict=True):
            row |= _columns(name, estimate if row["status"] == "ok" else None)
    return rows


def _host_bound(frame: pd.DataFrame) -> list[bool | None]:
    """For each row, whether its case's steps wait for the host; None where that is not known.

    The host must need about as long to give a step out as the device takes from the step's first
    kernel to its last; and where a profiler told, kernels must leave the device idle in between.
    """
    keys = list(zip(frame["run"], frame["case"], strict=True))
    span, dispatch = (
        {
            key: time
            for key, name, time in zip(keys, frame["series"], frame["typical_ns"], strict=True)
            if name == wanted
        }
        for wanted in (WHOLE, DISPATCH)
    )
    bound: dict[tuple[str, str], bool | None] = {}
    for key, busy in zip(keys, frame["busy_ns"], strict=True):
        if key in dispatch and not np.isnan([dispatch[key], span[key]]).any():
            idle = np.isnan(busy) or busy < HOST_BOUND * span[key]
            bound[key] = bool(idle and dispatch[key] > KEPT_BUSY * span[key])
    return [bound.get(key) for key in keys]


def _heard(case: CaseRecord) -> set[str]:
    return {name for workers in case.blocks.values() for w in workers for name in w.readings_ns}


def _moments(case: CaseRecord) -> list[float]:
    """When its blocks were measured, seconds since the run began."""
    return [at for workers in case.blocks.values() for worker in workers for at in worker.at_s]


def _joules(case: CaseRecord) -> float:
    """For a million samples."""
    spent = case.energy
    if spent is None:
        return np.nan
    return 1e6 * spent.joules / (spent.steps * int(case.axes["batch"]))


def _busy_ns(case: CaseRecord) -> float:
    busy = None if case.profile is None else case.profile.busy_ns
    return np.nan if busy is None else float(busy)


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else np.nan


def _columns(name: str, estimate: Estimate | None) -> dict[str, float]:
    if estimate is None:
        return {f"{name}_ns": np.nan, f"{name}_half": np.nan}
    return {f"{name}_ns": estimate.time_ns, f"{name}_half": estimate.half_width}


def missing_reason(row: "pd.Series[Any]") -> str:
    """Why a measured row has no quiet time."""
    if row["replicates"] < MIN_REPLICATES:
        return f"{row['replicates']} of the {MIN_REPLICATES} replicates an estimate needs"
    return (
        f"the machine was quiet, next to the best it has shown, in {row['quiet_replicates']} of "
        f"{row['replicates']} replicates; an estimate needs {MIN_REPLICATES}"
    )
