"""Whether compiling pays: what it costs once, and what it saves on every step after."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bench.matrix.axes import AXES, Value
from bench.records.run_file import CaseRecord, CompileTimes, RunRecord
from bench.stats.estimates import ratio_half
from bench.stats.frame import steps

NEVER = math.inf
UNCLEAR = math.nan
NO_EAGER_CASE = "no eager case"


def compile_frame(
    runs: Sequence[RunRecord], labels: Sequence[str], frame: pd.DataFrame
) -> pd.DataFrame:
    """A row for each compiled case whose compile times were measured, beside its eager twin.

    Columns: run, case, the axes, cold_s and warm_s (the first step with empty and with full caches,
    seconds), reason (why one is missing, or nothing), steady_ns and eager_ns (quiet times of a
    step, as ranks have it, nanoseconds), ratio and ratio_half (steady over eager), missing (which
    of the two has no time and why, or nothing), cold_steps and warm_steps (the steps after which
    compiling has paid: NEVER where a step is not faster, NaN where that is not known).
    """
    whole = steps(frame, "quiet")
    rows: list[dict[str, Any]] = []
    for run, label in zip(runs, labels, strict=True):
        of_run = whole[whole["run"] == label]
        cases = {tuple(case.axes[name] for name in AXES): case for case in run.cases}
        for case in run.cases:
            if case.compile_times is not None:
                eager = cases.get(tuple({**case.axes, "compile": "off"}[name] for name in AXES))
                rows.append({"run": label, **_row(case, case.compile_times, eager, of_run)})
    return pd.DataFrame(rows)


def _row(
    case: CaseRecord, times: CompileTimes, eager: CaseRecord | None, timed: pd.DataFrame
) -> dict[str, Any]:
    steady_ns, steady_half = _quiet(timed, case.axes)
    eager_ns, eager_half = _quiet(timed, {**case.axes, "compile": "off"})
    row: dict[str, Any] = {
        "case": case.id,
        **case.axes,
        "cold_s": math.nan if times.cold is None else times.cold.first_step_ns / 1e9,
        "warm_s": math.nan if times.warm is None else times.warm.first_step_ns / 1e9,
        "reason": times.reason or "",
        "steady_ns": steady_ns,
        "eager_ns": eager_ns,
        "ratio": steady_ns / eager_ns,
        "ratio_half": ratio_half(steady_half, eager_half),
        "missing": _missing(case, steady_ns, eager, eager_ns),
    }
    for name in ("cold", "warm"):
        row[f"{name}_steps"] = break_even(row[f"{name}_s"], row)
    return row


def _missing(case: CaseRecord, steady_ns: float, eager: CaseRecord | None, eager_ns: float) -> str:
    if eager is None:
        return NO_EAGER_CASE
    for name, record, time_ns in (("eager", eager, eager_ns), ("compiled", case, steady_ns)):
        if record.status != "ok":
            return f"{name} case {record.status}"
        if math.isnan(time_ns):
            return f"no {name} time"
    return ""


def _quiet(timed: pd.DataFrame, axes: Mapping[str, Value]) -> tuple[float, float]:
    """The quiet time of the case with these axes, nanoseconds, and its half-width; NaN without."""
    found = timed[(timed[list(AXES)] == pd.Series(axes)[list(AXES)]).all(axis=1)]
    if found.empty:
        return math.nan, math.nan
    return float(found["quiet_ns"].iloc[0]), float(found["quiet_half"].iloc[0])


def break_even(compile_s: float, row: dict[str, Any]) -> float:
    """Steps until compiling has saved the time it took: at least one, NEVER, or UNCLEAR.

    UNCLEAR where either time is unknown, or their ratio could be 1 within its interval.
    """
    if math.isnan(compile_s) or math.isnan(row["ratio"]):
        return UNCLEAR
    if not abs(math.log(row["ratio"])) > row["ratio_half"]:  # nor is it clear where that is NaN
        return UNCLEAR
    if row["ratio"] > 1:
        return NEVER
    return max(1.0, compile_s * 1e9 / float(row["eager_ns"] - row["steady_ns"]))
